package cloudsqltest_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// scriptedPostgres reads a startup message, and is ready for a query.
func scriptedPostgres(c net.Conn) {
	size := make([]byte, 4)
	if _, err := io.ReadFull(c, size); err != nil {
		return
	}
	if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(size))-4); err != nil {
		return
	}
	_, _ = io.WriteString(c, "R\x00\x00\x00\x08\x00\x00\x00\x00Z\x00\x00\x00\x05I")
	_, _ = io.Copy(io.Discard, c)
}

// Programs that had been idle for an hour got 08P01 from managed connection
// pooling at their next IAM login, and never after it.
func TestThePoolerRefusesALoginWhenTheTokenThatItKeepsHasExpired(t *testing.T) {
	expiry := map[string]time.Time{}
	cfg := cloudsqltest.Instance{Handler: scriptedPostgres, Pooler: &cloudsqltest.Pooler{Expiry: func(token string) time.Time { return expiry[token] }}}
	inMemory(t, cfg, func(t *testing.T, c *client) {
		c.s.Principals = map[string]string{"first": ann, "second": ann, "third": ann}
		login := func(token, database, want string) {
			t.Helper()
			conn, err := c.connect(withCertificate(c.certificate("access_token", token), c.config()))
			wantNil(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, postgresMessage(postgresVersion, "database\x00"+database+"\x00user\x00"+ann+"\x00\x00"))
			wantNil(t, err)
			answer := make([]byte, 1024)
			n, err := conn.Read(answer)
			wantNil(t, err)
			got := "ready"
			if answer[0] == 'E' && bytes.Contains(answer[:n], []byte("C08P01\x00")) {
				got = "refused"
			} else if answer[0] != 'R' {
				got = string(answer[:n])
			}
			if got != want {
				t.Errorf("login to %s with the token %s: %s, want %s", database, token, got, want)
			}
		}
		for i, token := range []string{"first", "second", "third"} {
			expiry[token] = time.Now().Add(time.Duration(i+1) * time.Hour)
		}
		login("first", "shop", "ready")
		login("first", "stock", "ready")
		time.Sleep(58 * time.Minute)
		login("second", "shop", "ready") // as a client does after a refresh
		time.Sleep(2 * time.Minute)
		login("second", "shop", "ready")
		login("second", "stock", "refused") // nobody has told the pooler there
		login("second", "stock", "ready")
		login("second", "new", "ready")
		time.Sleep(time.Hour)
		login("third", "shop", "refused")
		login("third", "shop", "ready")
		if got := c.p.Counts(); got.Expired != 2 || got.Denied != 0 {
			t.Errorf("counted %+v", got)
		}
	})
}

// What the pooler keeps is the token of a login that it has answered.
func TestALoginThatIsNotAnsweredDoesNotChangeThePooler(t *testing.T) {
	var silent atomic.Bool
	expiry := map[string]time.Time{}
	handler := func(c net.Conn) {
		if silent.Load() {
			_, _ = io.Copy(io.Discard, c)
			return
		}
		scriptedPostgres(c)
	}
	cfg := cloudsqltest.Instance{Handler: handler, Pooler: &cloudsqltest.Pooler{Expiry: func(token string) time.Time { return expiry[token] }}}
	inMemory(t, cfg, func(t *testing.T, c *client) {
		c.s.Principals = map[string]string{"first": ann, "second": ann, "third": ann}
		for i, token := range []string{"first", "second", "third"} {
			expiry[token] = time.Now().Add(time.Duration(i+1) * time.Hour)
		}
		login := func(token string) net.Conn {
			t.Helper()
			conn, err := c.connect(withCertificate(c.certificate("access_token", token), c.config()))
			wantNil(t, err)
			_, err = io.WriteString(conn, startup(ann))
			wantNil(t, err)
			return conn
		}
		answer := func(conn net.Conn) byte {
			t.Helper()
			defer conn.Close()
			b := make([]byte, 1)
			_, err := conn.Read(b)
			wantNil(t, err)
			return b[0]
		}
		if answer(login("first")) != 'R' {
			t.Error("the first login was refused")
		}
		silent.Store(true)
		conn := login("second")
		synctest.Wait()
		_ = conn.Close()
		silent.Store(false)
		time.Sleep(time.Hour)
		if answer(login("third")) != 'E' || answer(login("third")) != 'R' {
			t.Error("a token was kept of a login that was not answered")
		}
	})
}

func TestThePoolerTakesTokensToLiveForAnHour(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{Handler: scriptedPostgres, Pooler: &cloudsqltest.Pooler{}}, func(t *testing.T, c *client) {
		for range 4 {
			conn, err := c.connect(withCertificate(c.certificate("access_token", c.s.LoginToken()), c.config()))
			wantNil(t, err)
			_, err = io.WriteString(conn, startup(ann))
			wantNil(t, err)
			_, err = conn.Read(make([]byte, 1))
			wantNil(t, err)
			_ = conn.Close()
			time.Sleep(25 * time.Minute)
		}
		if n := c.p.Counts().Expired; n != 1 {
			t.Errorf("%d logins refused, want the last alone", n)
		}
	})
}
