package faults_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

// F40
func TestNoSecretInErrorsAndPrintedValues(t *testing.T) {
	for name, arrange := range map[string]func(w *world){
		"unauthorised": func(w *world) { w.fault.Store(status(401)) },
		"forbidden":    func(w *world) { w.fault.Store(status(403)) },
		"API down":     func(w *world) { w.fault.Store(&cloudsqltest.Fault{ResetAt: cloudsqltest.AtStart}) },
		"garbage": func(w *world) {
			w.fault.Store(&cloudsqltest.Fault{Alter: func(b []byte) []byte { return b[:len(b)/2] }})
		},
		"API hangs":   func(w *world) { w.fault.Store(&cloudsqltest.Fault{Hang: true}) },
		"unreachable": func(w *world) { w.instance.Stop() },
		"unverified":  func(w *world) { w.instance.RotateServerCA(); w.fault.Store(status(503)) },
		"refused":     func(w *world) { w.instance.RotateClientCA(); w.fault.Store(status(503)) },
		"closed":      func(w *world) { _ = w.dialer.Close() },
		"token not found": func(w *world) {
			w.withLogin(tokenFunc(func() (*oauth2.Token, error) { return nil, errors.New("no token") }))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
				w.withLogin(lasting(w.LoginToken(), 0))
				if name == "unverified" || name == "refused" {
					w.wantDial()
				}
				arrange(w)
				err := w.dial(5 * time.Second)
				if err == nil {
					t.Fatal("the fault did not happen")
				}
				var e *cloudsqlconn.Error
				errors.As(err, &e)
				printed := []string{fmt.Sprintf("%v %+v %#v", err, err, err), fmt.Sprintf("%+v", w.dialer), fmt.Sprintf("%+v", w.dialer.Instances())}
				if e != nil {
					printed = append(printed, e.Hint)
				}
				for _, s := range printed {
					for what, secret := range secrets(t, w) {
						if strings.Contains(s, secret) {
							t.Errorf("%s appears in %q", what, s)
						}
					}
				}
			})
		})
	}
}

func TestADialerPrintsNoKey(t *testing.T) {
	t.Parallel()
	_, key, err := ed25519.GenerateKey(rand.Reader) // a slice: fmt prints its bytes
	if err != nil {
		t.Fatal(err)
	}
	d, err := cloudsqlconn.NewDialer(t.Context(), cloudsqlconn.WithPrivateKey(key))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb, d); got != "cloudsqlconn.Dialer" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
}

// secrets are texts that nothing may print.
func secrets(t *testing.T, w *world) map[string]string {
	t.Helper()
	texts := map[string]string{
		"the API token":   w.Token(),
		"the login token": w.LoginToken(),
		"a private key":   "PRIVATE KEY",
		"a password":      "hunter2",
	}
	for i, secret := range authtest.Secrets() {
		texts[fmt.Sprintf("secret %d of credentials", i)] = secret
	}
	return texts
}

// The public key that is sent is the only half that leaves the process.
func TestOnlyThePublicKeyIsSent(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.wantDial()
		for _, r := range w.Requests() {
			if r.Call != cloudsqltest.GenerateEphemeralCert {
				continue
			}
			_, text, _ := strings.Cut(string(r.Body), `-----BEGIN`)
			block, _ := pem.Decode([]byte("-----BEGIN" + strings.ReplaceAll(text, `\n`, "\n")))
			if block == nil {
				t.Fatalf("no PEM in %s", r.Body)
			}
			if _, err := x509.ParsePKIXPublicKey(block.Bytes); err != nil {
				t.Error(err)
			}
			if strings.Contains(string(r.Body), "PRIVATE") {
				t.Error("a private key was sent")
			}
		}
	})
}
