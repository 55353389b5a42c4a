package cloudsqltest

import (
	"fmt"
	"log"
	"maps"
	"slices"
	"strings"
	"time"
)

// Close stops the Admin API and all instances, cuts their connections, and
// waits until every connection, Handler and OnRequest has ended. What keeps it
// waiting for more than five seconds is logged. It can be called again, and
// concurrently: every call waits. It must not be called from a Handler or from
// OnRequest.
func (s *Server) Close() {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	instances := slices.Collect(maps.Values(s.instances))
	s.mu.Unlock()
	if again {
		<-s.done
		return
	}
	defer close(s.done)
	defer complain("Server.Close", s.blame)()

	close(s.closing)
	_ = s.api.Close()
	if d := s.served(); d != nil {
		d.Close()
	}
	for _, p := range instances {
		p.halt(true)
	}
	for _, p := range instances {
		p.halt(true)()
	}
	s.client.CloseIdleConnections()
	s.wg.Wait()
}

// blame lists the requests that are not answered and the connections that have
// not ended.
func (s *Server) blame() (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sqlData != nil {
		list = s.sqlData.blame()
	}
	for _, p := range s.instances {
		list = append(list, p.blame()...)
	}
	for r := range s.serving {
		list = append(list, fmt.Sprintf("Admin API: %s %s from %s", r.Method, r.URL.Path, r.RemoteAddr))
	}
	return list
}

// closePatience is how long Close and Stop wait before they say for what.
const closePatience = 5 * time.Second

// complain logs what is waited for, should it take long. The function that it
// returns ends that.
func complain(who string, blame func() []string) func() {
	timer := time.AfterFunc(closePatience, func() {
		if list := blame(); len(list) > 0 {
			slices.Sort(list)
			log.Printf("cloudsqltest: %s blocked after %v, waiting for:\n\t%s", who, closePatience, strings.Join(list, "\n\t"))
		}
	})
	return func() { timer.Stop() }
}
