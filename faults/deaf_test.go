package faults_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// A function of WithDialFunc that does not look at its context, as one that calls
// Dial of an SSH client: a Dial ends with its caller's context, and by another
// address if there is one.
func TestADialFuncThatIgnoresItsContextHoldsNobodyUp(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: threeAddrs}, func(t *testing.T, w *world) {
		end := make(chan struct{})
		defer close(end)
		deaf := cloudsqlconn.WithDialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
			if host, _, _ := net.SplitHostPort(addr); host == publicHost {
				<-end
				return nil, errors.New("at last")
			}
			return w.DialContext(ctx, network, addr)
		})
		if d := took(func() { w.wantDial(deaf) }); d != stagger {
			t.Errorf("Dial took %v", d)
		}
		if d := took(func() { w.wantError(context.DeadlineExceeded, time.Second, deaf, cloudsqlconn.WithPublicIP()) }); d > time.Second+10*time.Millisecond {
			t.Errorf("a Dial with 1 s took %v", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if d := took(func() { _, _ = w.dialer.Check(ctx, testInstance, deaf) }); d > 2*time.Second+10*time.Millisecond {
			t.Errorf("a Check with 2 s took %v", d)
		}
	})
}

// The same for a Resolver.
func TestAResolverThatIgnoresItsContextHoldsNobodyUp(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		end := make(deafResolver)
		defer close(end)
		_ = w.dialer.Close()
		w.dialer = w.newDialer(cloudsqlconn.WithResolver(end))
		if d := took(func() { w.wantError(context.DeadlineExceeded, time.Second) }); d > time.Second+10*time.Millisecond {
			t.Errorf("a Dial with 1 s took %v", d)
		}
	})
}

// deafResolver answers when it is closed.
type deafResolver chan struct{}

func (r deafResolver) Resolve(context.Context, string) (cloudsqlconn.Resolution, error) {
	<-r
	return cloudsqlconn.Resolution{}, errors.New("at last")
}

// The same for a DNS of the program's: neither a Dial nor Close waits for it.
func TestADNSThatIgnoresItsContextHoldsNobodyUp(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		end := make(deafDNS)
		defer close(end)
		d := w.newDialer(cloudsqlconn.WithDNSResolver(end))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		took1 := took(func() {
			if _, err := d.Dial(ctx, testDomain); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
		if took1 > time.Second+10*time.Millisecond {
			t.Errorf("a Dial with 1 s took %v", took1)
		}
		if d := took(func() { _ = d.Close() }); d > 10*time.Millisecond {
			t.Errorf("Close took %v", d)
		}
	})
}

// deafDNS answers when it is closed.
type deafDNS chan struct{}

var errAtLast = errors.New("at last")

func (d deafDNS) LookupTXT(context.Context, string) ([]string, error) {
	<-d
	return nil, errAtLast
}

func (d deafDNS) LookupCNAME(context.Context, string) (string, error) {
	<-d
	return "", errAtLast
}

func (d deafDNS) LookupHost(context.Context, string) ([]string, error) {
	<-d
	return nil, errAtLast
}

// The same for a key that signs somewhere else, in a KMS for example.
func TestAKeyThatDoesNotSignHoldsNobodyUp(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		deaf := deafKey{key, make(chan struct{})}
		defer close(deaf.end)
		_ = w.dialer.Close()
		w.dialer = w.newDialer(cloudsqlconn.WithPrivateKey(deaf))
		if d := took(func() { w.wantError(context.DeadlineExceeded, time.Second, cloudsqlconn.WithPublicIP()) }); d > time.Second+10*time.Millisecond {
			t.Errorf("a Dial with 1 s took %v", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if d := took(func() { _, _ = w.dialer.Check(ctx, testInstance) }); d > time.Second+50*time.Millisecond {
			t.Errorf("a Check with 1 s took %v", d)
		}
	})
}

// deafKey signs when it is to end.
type deafKey struct {
	*rsa.PrivateKey
	end chan struct{}
}

func (k deafKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	<-k.end
	return nil, errAtLast
}
