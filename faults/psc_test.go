package faults_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// F33: the first name does not resolve, or leads to where nobody answers.
func TestTheSecondPSCNameIsTried(t *testing.T) {
	const (
		dead = "dead.europe-west1.sql-psc.goog"
		good = "good.europe-west1.sql-psc.goog"
	)
	for _, fault := range []string{"NXDOMAIN", "hangs"} {
		t.Run(fault, func(t *testing.T) {
			addrs := map[cloudsqlconn.IPType]string{cloudsqlconn.PSC: good}
			inWorld(t, cloudsqltest.Instance{Addrs: addrs}, func(t *testing.T, w *world) {
				w.fault.Store(&cloudsqltest.Fault{Alter: func(body []byte) []byte {
					entry := `{"name":"%s.","connectionType":"PRIVATE_SERVICE_CONNECT","dnsScope":"INSTANCE"},`
					return bytes.Replace(body, []byte(`"dnsNames":[`), fmt.Appendf(nil, `"dnsNames":[`+entry, dead), 1)
				}})
				var mu sync.Mutex
				var dialled []string
				dialFunc := cloudsqlconn.WithDialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
					mu.Lock()
					dialled = append(dialled, addr)
					mu.Unlock()
					switch {
					case strings.HasPrefix(addr, good):
						return w.DialContext(ctx, network, addr)
					case fault == "hangs":
						<-ctx.Done()
						return nil, ctx.Err()
					}
					return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{Err: "no such host", Name: dead, IsNotFound: true}}
				})
				d := took(func() { w.wantDial(cloudsqlconn.WithPSC(), dialFunc) })
				if got := strings.Join(dialled, " "); got != dead+":3307 "+good+":3307" {
					t.Errorf("dialled %s", got)
				}
				if fault == "NXDOMAIN" && d > 0 || d > 250*time.Millisecond {
					t.Errorf("Dial took %v", d)
				}
				w.wantFaults()
			})
		})
	}
}

// The name leads to another instance's server.
func TestAPrivateServiceConnectNameProvesNothing(t *testing.T) {
	addrs := map[cloudsqlconn.IPType]string{cloudsqlconn.PSC: "a.b.europe-west1.sql-psc.goog"}
	inWorld(t, cloudsqltest.Instance{Addrs: addrs}, func(t *testing.T, w *world) {
		other := w.AddInstance(otherInstance, cloudsqltest.Instance{})
		forged := cloudsqlconn.WithDialFunc(func(ctx context.Context, network, _ string) (net.Conn, error) {
			return w.DialContext(ctx, network, net.JoinHostPort(other.Addrs()[cloudsqlconn.PrivateIP], "3307"))
		})
		w.wantError(cloudsqlconn.ErrUnverified, 20*time.Second, cloudsqlconn.WithPSC(), forged)
		if other.Counts().Distrusted == 0 {
			t.Error("the other server was not met")
		}
	})
}

func TestIPv6(t *testing.T) {
	addrs := map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "2001:db8::1", cloudsqlconn.PrivateIP: "fd00::1"}
	inWorld(t, cloudsqltest.Instance{Addrs: addrs}, func(t *testing.T, w *world) {
		var dialled string
		dialFunc := cloudsqlconn.WithDialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
			dialled = addr
			return w.DialContext(ctx, network, addr)
		})
		w.wantDial(cloudsqlconn.WithPrivateIP(), dialFunc)
		if dialled != "[fd00::1]:3307" {
			t.Errorf("dialled %s", dialled)
		}
		w.wantDial(cloudsqlconn.WithPublicIP(), dialFunc)
		if dialled != "[2001:db8::1]:3307" {
			t.Errorf("dialled %s", dialled)
		}
	})
}

// What a server has to do with OUTGOING is nothing: it is where the instance's
// own connections come from.
func TestOutgoingAddressesAreNeverDialled(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.fault.Store(&cloudsqltest.Fault{Alter: func(body []byte) []byte {
			body = bytes.ReplaceAll(body, []byte(`"PRIMARY"`), []byte(`"OUTGOING"`))
			return bytes.ReplaceAll(body, []byte(`"PRIVATE"`), []byte(`"OUTGOING"`))
		}})
		e := w.wantError(cloudsqlconn.ErrNoAddress, time.Second)
		if e.Hint == "" {
			t.Error("no hint")
		}
		w.wantFaults()
		if n := w.instance.Accepted(); n != 0 {
			t.Errorf("%d connections", n)
		}
	})
}
