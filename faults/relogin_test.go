package faults_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// loginServer is a PostgreSQL that keeps the first message of each client, and
// whether that has taken its leave. It answers as it is told.
type loginServer struct {
	mu     sync.Mutex // guards all
	answer string
	logins []string
	left   int
}

var iamStartup = message(3<<16, []byte("user\x00me@example.com\x00\x00")...)

const (
	welcome        = "R\x00\x00\x00\x08\x00\x00\x00\x00Z\x00\x00\x00\x05I"
	asksForToken   = "R\x00\x00\x00\x08\x00\x00\x00\x03" // which is a password in clear text
	asksForAnswer  = "R\x00\x00\x00\x17\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"
	databaseIsFull = "E\x00\x00\x00\x0cC53300\x00\x00"
)

func (s *loginServer) serve(c net.Conn) {
	next := func(head int) []byte {
		b := make([]byte, head+4)
		if _, err := io.ReadFull(c, b); err != nil {
			return nil
		}
		m := make([]byte, binary.BigEndian.Uint32(b[head:])-4)
		if _, err := io.ReadFull(c, m); err != nil {
			return nil
		}
		return append(b[:head], m...)
	}
	m := next(0)
	if m == nil {
		return
	}
	s.mu.Lock()
	s.logins = append(s.logins, string(m))
	answer := s.answer
	s.mu.Unlock()
	_, _ = io.WriteString(c, answer)
	for m := next(1); m != nil; m = next(1) {
		switch m[0] {
		case 'p':
			_, _ = io.WriteString(c, welcome)
		case 'X':
			s.mu.Lock()
			s.left++
			s.mu.Unlock()
			return
		}
	}
}

// take returns the logins since the last call, and how many clients have taken their
// leave since then. From now on the answer is this one.
func (s *loginServer) take(answer string) (logins []string, left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	logins, left = s.logins, s.left
	s.answer, s.logins, s.left = answer, nil, 0
	return logins, left
}

// The logins of Serve's clients are repeated by what their StartupMessages say, and
// those that do not go well are not for long.
func TestLoginsOfServesClientsAreRepeated(t *testing.T) {
	asked := message(3<<16+2, []byte("application_name\x00psql\x00user\x00me@example.com\x00database\x00shop\x00\x00")...)
	repeated := "\x00\x03\x00\x00user\x00me@example.com\x00database\x00shop\x00\x00"
	for name, tt := range map[string]struct {
		answer string
		count  map[string]int64
		again  bool
		opts   []cloudsqlconn.ServeOption
	}{
		"good":     {welcome, map[string]int64{"success": 1}, true, nil},
		"token":    {asksForToken, map[string]int64{"success": 1}, true, nil},
		"password": {asksForAnswer, map[string]int64{"_OTHER failure": 1}, false, nil},
		"off":      {welcome, nil, false, []cloudsqlconn.ServeOption{cloudsqlconn.WithLoginAfterRefresh(false)}},
		"no IAM":   {welcome, nil, false, []cloudsqlconn.ServeOption{cloudsqlconn.WithIAMAuthN(false)}},
	} {
		t.Run(name, func(t *testing.T) {
			db := &loginServer{answer: tt.answer}
			inWorld(t, cloudsqltest.Instance{Handler: db.serve}, func(t *testing.T, w *world) {
				s := w.serve(testInstance, tt.opts...)
				c := s.say(asked)
				defer c.Close()
				if _, err := c.Read(make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
				if logins, _ := db.take(tt.answer); len(logins) != 1 {
					t.Fatalf("logins: %q", logins)
				}
				time.Sleep(59 * time.Minute)
				logins, left := db.take(tt.answer)
				if want := len(tt.count); len(logins) != want || want > 0 && logins[0] != repeated || tt.again && left != want {
					t.Errorf("repeated: %q, %d of them took their leave; want %d", logins, left, want)
				}
				if tt.count != nil {
					w.told.wantSum("cloudsqlconn.repeated_login.count", tt.count)
					records := w.told.records(slog.LevelDebug)
					if !slices.ContainsFunc(records, func(r map[string]any) bool { return r["login"] == "user=me@example.com database=shop" }) {
						t.Error("the log does not tell of it")
					}
				}
				time.Sleep(3 * time.Hour)
				if logins, _ := db.take(tt.answer); len(logins) > 0 != tt.again {
					t.Errorf("later: %q", logins)
				}
				s.stop()
			}, cloudsqlconn.WithIAMAuthN(true))
		})
	}
}

// An attempt that has failed for now is followed by others.
func TestARepeatedLoginThatFailsIsCounted(t *testing.T) {
	db := &loginServer{answer: welcome}
	inWorld(t, cloudsqltest.Instance{Handler: db.serve}, func(t *testing.T, w *world) {
		s := w.serve(testInstance)
		defer s.say(iamStartup).Close()
		time.Sleep(time.Minute)
		db.take(databaseIsFull)
		time.Sleep(54 * time.Minute)
		if logins, _ := db.take(welcome); len(logins) == 0 {
			t.Fatal("the fault did not happen")
		} else {
			time.Sleep(time.Minute)
			w.told.wantSum("cloudsqlconn.repeated_login.count", map[string]int64{"_OTHER failure": int64(len(logins)), "success": 1})
		}
		s.stop()
	}, cloudsqlconn.WithIAMAuthN(true))
}

// Users who are none of IAM's have passwords, without which a login would be refused.
func TestLoginsOfBuiltInUsersAreNotRepeated(t *testing.T) {
	db := &loginServer{answer: welcome}
	inWorld(t, cloudsqltest.Instance{Handler: db.serve}, func(t *testing.T, w *world) {
		s := w.serve(testInstance)
		defer s.say(startup).Close()
		time.Sleep(3 * time.Hour)
		if logins, _ := db.take(welcome); len(logins) != 1 {
			t.Errorf("logins: %q, want the client's own", logins)
		}
		s.stop()
	}, cloudsqlconn.WithIAMAuthN(true))
}

// A login by a DNS name ends when that leads to another instance, even if the connection
// stays, and not when the name cannot be looked up.
func TestLoginsEndWhenTheirDNSNameLeadsElsewhere(t *testing.T) {
	down := errors.New("the resolver is down")
	for name, tt := range map[string]struct {
		leadsTo string
		err     error
		again   bool
	}{
		"here":       {testInstance, nil, true},
		"elsewhere":  {otherInstance, nil, false},
		"no look-up": {testInstance, down, true},
	} {
		t.Run(name, func(t *testing.T) {
			n, db, other := &names{}, &loginServer{answer: welcome}, &loginServer{answer: welcome}
			n.set(testInstance, nil)
			inWorld(t, cloudsqltest.Instance{Handler: db.serve}, func(t *testing.T, w *world) {
				w.AddInstance(otherInstance, cloudsqltest.Instance{Handler: other.serve})
				s := w.serve(testDomain)
				defer s.say(iamStartup).Close()
				time.Sleep(time.Minute)
				if logins, _ := db.take(welcome); len(logins) != 1 {
					t.Fatalf("logins: %q", logins)
				}
				n.set(tt.leadsTo, tt.err)
				time.Sleep(58 * time.Minute)
				if logins, _ := db.take(welcome); (len(logins) == 1) != tt.again {
					t.Errorf("repeated: %q", logins)
				}
				n.set(testInstance, nil)
				time.Sleep(3 * time.Hour)
				if logins, _ := db.take(welcome); len(logins) > 0 != tt.again {
					t.Errorf("later: %q", logins)
				}
				if logins, _ := other.take(welcome); len(logins) > 0 {
					t.Errorf("at the other instance: %q", logins)
				}
				s.stop()
			}, cloudsqlconn.WithIAMAuthN(true), cloudsqlconn.WithResolver(n), cloudsqlconn.WithFailoverPeriod(-1))
		})
	}
}

// A Dialer with many instances forgets the logins to those that nobody dials, and with
// them the instances, whose certificates the logins have kept fresh.
func TestADialerWithManyInstancesForgetsLogins(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		var logins atomic.Int64
		login := func(i int) {
			name := fmt.Sprintf("my-project:europe-west1:db-%d", i)
			w.AddInstance(name, cloudsqltest.Instance{Handler: cloudsqltest.Echo})
			c, err := w.dialer.Dial(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			info, _ := cloudsqlconn.InfoOf(c)
			info.RepeatLogin("me", nil, func(c net.Conn) (bool, error) {
				logins.Add(1)
				return true, echo(c)
			})
		}
		const many = 70
		for i := range many {
			login(i)
		}
		time.Sleep(150 * time.Minute)
		if n := logins.Swap(0); n < 2*many {
			t.Fatalf("%d logins to %d instances in two hours and a half", n, many)
		}
		time.Sleep(time.Hour)
		for i := range many {
			login(many + i) // a Dialer looks when it has twice as many as after the last look
		}
		logins.Store(0)
		if n := len(w.dialer.Instances()); n >= 2*many {
			t.Errorf("the Dialer has %d instances", n)
		}
		time.Sleep(65 * time.Minute)
		if n := int(logins.Load()); n < many || n > len(w.dialer.Instances()) {
			t.Errorf("%d logins in an hour, of %d instances", n, len(w.dialer.Instances()))
		}
	}, cloudsqlconn.WithIAMAuthN(true))
}

// The DNS name of a read pool can have an address that no metadata has: logins are
// repeated by that which the name has then.
func TestLoginsByTheAddressOfADNSNameAreRepeated(t *testing.T) {
	const first, second = "198.51.100.1", "198.51.100.2"
	for name, nodes := range map[string][]cloudsqltest.Node{"instance": nil, "read pool": make([]cloudsqltest.Node, 2)} {
		t.Run(name, func(t *testing.T) {
			db, dns := &loginServer{answer: welcome}, cloudsqltest.NewDNS()
			dns.SetTXT(testDomain, testInstance)
			dns.SetHost(testDomain, first)
			inWorld(t, cloudsqltest.Instance{Handler: db.serve, Nodes: nodes, Addrs: map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "203.0.113.7"}}, func(t *testing.T, w *world) {
				var mu sync.Mutex
				dials := map[string]int{}
				w.dialer = w.newDialer(cloudsqlconn.WithIAMAuthN(true), cloudsqlconn.WithDNSResolver(dns), cloudsqlconn.WithDialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
					mu.Lock()
					defer mu.Unlock()
					dials[addr]++
					return w.DialContext(ctx, network, "203.0.113.7:3307")
				}))
				defer func() { _ = w.dialer.Close() }()
				s := w.serve(testDomain)
				defer s.say(iamStartup).Close()
				time.Sleep(time.Minute)
				dns.SetHost(testDomain, second)
				time.Sleep(58 * time.Minute)
				if logins, _ := db.take(welcome); len(logins) != 2 {
					t.Errorf("logins: %q, want the client's own, and one more", logins)
				}
				mu.Lock()
				if dials[first+":3307"] != 1 || dials[second+":3307"] != 1 || len(dials) != 2 {
					t.Errorf("addresses: %v, want each of the name's once", dials)
				}
				mu.Unlock()
				s.stop()
			})
		})
	}
}
