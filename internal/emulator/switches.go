package emulator

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// switches are what was switched on at an instance, to be shown.
type switches struct {
	mu         sync.Mutex // guards everything below, and what is switched
	behavior   cloudsqltest.Behavior
	until      int    // the connection, counted from the first, after which it is Healthy; 0: never
	serverCert string // as alteration calls it
	certTTL    time.Duration
}

// behave says what happens to the next n connections; zero means to all.
func (i *running) behave(b cloudsqltest.Behavior, n int) {
	i.on.mu.Lock()
	defer i.on.mu.Unlock()
	i.on.behavior, i.on.until = b, 0
	if n > 0 {
		i.on.until = i.Accepted() + n
	}
	i.SetBehaviorFor(n, b)
}

func (i *running) enter(state string) error {
	to := cloudsqltest.State(strings.ToUpper(state))
	if all := cloudsqltest.States(); !slices.Contains(all, to) {
		return fmt.Errorf("unknown state %q; want one of %v", state, all)
	}
	return asError(func() { i.SetState(to) })
}

func (i *running) alterServerCert(is string) error {
	alter, err := alteration(is)
	if err != nil {
		return err
	}
	i.on.mu.Lock()
	defer i.on.mu.Unlock()
	i.on.serverCert = is
	i.AlterServerCert(alter)
	return nil
}

func (i *running) setCertTTL(life time.Duration) {
	i.on.mu.Lock()
	defer i.on.mu.Unlock()
	i.on.certTTL = life
	i.SetCertTTL(life)
}

// show completes a status by what is not as it is by default.
func (i *running) show(s *status) {
	i.on.mu.Lock()
	defer i.on.mu.Unlock()
	left := max(i.on.until-i.Accepted(), 0)
	if i.on.behavior != cloudsqltest.Healthy && (left > 0 || i.on.until == 0) {
		s.Behavior, s.Connections = i.on.behavior.String(), left
	}
	if state := i.State(); state != cloudsqltest.Runnable {
		s.State = string(state)
	}
	if i.on.serverCert != "good" {
		s.ServerCertificate = i.on.serverCert
	}
	if i.on.certTTL != 0 {
		s.CertificateLife = i.on.certTTL.String()
	}
}
