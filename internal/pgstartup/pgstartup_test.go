package pgstartup_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cloudsqlconn/cloudsqlconn/internal/pgstartup"
)

// login logs in to a server that says something, and then ends the connection or
// goes on silently.
func login(said []byte, silent bool) (again bool, heard []byte, err error) {
	client, server := net.Pipe()
	done := make(chan []byte)
	go func() {
		backend := pgproto3.NewBackend(server, server)
		_, _ = backend.ReceiveStartupMessage()
		go func() {
			_, _ = server.Write(said)
			if !silent {
				_ = server.Close()
			}
		}()
		b, _ := io.ReadAll(server)
		done <- b
	}()
	name, f := pgstartup.Again("app", "shop")
	again, err = f(client)
	_ = client.Close()
	_ = server.Close()
	if name != "user=app database=shop" {
		err = errors.New(name)
	}
	return again, <-done, err
}

func says(messages ...pgproto3.BackendMessage) (b []byte) {
	for _, m := range messages {
		var err error
		if b, err = m.Encode(b); err != nil {
			panic(err)
		}
	}
	return b
}

func TestLogin(t *testing.T) {
	t.Parallel()
	ok, ready := &pgproto3.AuthenticationOk{}, &pgproto3.ReadyForQuery{TxStatus: 'I'}
	refusal := func(code string) []byte {
		return says(&pgproto3.ErrorResponse{Severity: "FATAL", Code: code, Message: "no"})
	}
	for name, tt := range map[string]struct {
		said  []byte
		again bool
		err   string // "": none
	}{
		"good":           {says(ok, &pgproto3.ParameterStatus{Name: "a", Value: "b"}, &pgproto3.BackendKeyData{}, ready), true, ""},
		"by token":       {says(&pgproto3.AuthenticationCleartextPassword{}, ok, ready), true, ""},
		"by password":    {says(&pgproto3.AuthenticationMD5Password{}), false, "password"},
		"no user":        {refusal("28000"), false, "SQLSTATE 28000"},
		"no database":    {refusal("3D000"), false, "no (SQLSTATE 3D000)"},
		"pooler":         {refusal("08P01"), true, "08P01"},
		"refused late":   {append(says(ok), refusal("57P03")...), true, "57P03"},
		"another server": {[]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), true, "none of PostgreSQL's"},
		"no size":        {[]byte{'Z', 0, 0, 0, 3}, true, "none of PostgreSQL's"},
		"no method":      {[]byte{'R', 0, 0, 0, 5, 0}, true, "EOF"},
		"nothing":        {nil, true, "EOF"},
		"half a message": {says(ok)[:7], true, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			again, heard, err := login(tt.said, tt.err == "")
			if again != tt.again || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, %v", again, err)
			}
			if leave := strings.HasSuffix(string(heard), "X\x00\x00\x00\x04"); leave != (tt.err == "") {
				t.Errorf("the server has heard %q after the startup", heard)
			}
		})
	}
}

// A server that does not end the session is waited for no longer than half a second.
func TestLoginEndsSoonAfterItsLeave(t *testing.T) {
	t.Parallel()
	said := says(&pgproto3.AuthenticationOk{}, &pgproto3.ReadyForQuery{TxStatus: 'I'})
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if _, _, err := login(said, true); err != nil || time.Since(start) != 500*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestParameters(t *testing.T) {
	t.Parallel()
	encode := func(m pgproto3.FrontendMessage) string {
		b, err := m.Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	startup := func(version uint32, parameters ...string) string {
		m := &pgproto3.StartupMessage{ProtocolVersion: version, Parameters: map[string]string{}}
		for i := 0; i < len(parameters); i += 2 {
			m.Parameters[parameters[i]] = parameters[i+1]
		}
		return encode(m)
	}
	for _, tt := range []struct{ message, user, database string }{
		{startup(3<<16, "user", "app", "database", "shop", "options", "-c x=y"), "app", "shop"},
		{startup(3<<16+2, "user", "app"), "app", "app"},
		{startup(3<<16, "database", "shop"), "", ""},
		{startup(2<<16, "user", "app"), "", ""},
		{encode(&pgproto3.CancelRequest{SecretKey: []byte("abcd")}), "", ""},
		{encode(&pgproto3.SSLRequest{}), "", ""},
		{startup(3<<16, "user", "app")[:12], "", ""},
		{"", "", ""},
	} {
		user, database, ok := pgstartup.Parameters([]byte(tt.message))
		if ok != (tt.user != "") || ok && (user != tt.user || database != tt.database) {
			t.Errorf("%q: got %q, %q, %v", tt.message, user, database, ok)
		}
	}
}

// It reads what pgproto3 reads.
func FuzzParameters(f *testing.F) {
	f.Add("user\x00app\x00database\x00shop\x00\x00")
	f.Add("user\x00app\x00")
	f.Fuzz(func(t *testing.T, parameters string) {
		if len(parameters) > 1<<12 || !strings.HasSuffix(parameters, "\x00") {
			return
		}
		size := len(parameters) + 8
		message := append([]byte{0, 0, byte(size >> 8), byte(size), 0, 3, 0, 0}, parameters...)
		user, database, ok := pgstartup.Parameters(message)
		var want pgproto3.StartupMessage
		if want.Decode(message[4:]) != nil || strings.Count(parameters, "\x00")%2 == 0 {
			return
		}
		if _, empty := want.Parameters[""]; empty {
			return
		}
		if u := want.Parameters["user"]; ok != (u != "") || ok && user != u || ok && want.Parameters["database"] != "" && database != want.Parameters["database"] {
			t.Errorf("%q: got %q, %q, %v, want %v", parameters, user, database, ok, want.Parameters)
		}
	})
}

func FuzzLogin(f *testing.F) {
	f.Add(says(&pgproto3.AuthenticationOk{}, &pgproto3.ReadyForQuery{TxStatus: 'I'}))
	f.Add([]byte("E\x00\x00\x00\x05C"))
	f.Fuzz(func(_ *testing.T, said []byte) { _, _, _ = login(said, false) })
}
