package tds

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
)

// session serves one connection.
type session struct {
	server     *Server
	record     *Session // guarded by Server.mu
	raw        net.Conn
	conn       net.Conn // raw, or TLS within it
	packetSize int
	xact       uint64 // the transaction; 0: none
	xacts      uint64 // how many there were
}

func (x *session) note(f func(*Session)) {
	x.server.mu.Lock()
	defer x.server.mu.Unlock()
	f(x.record)
}

func (x *session) reply(tokens []byte) error {
	return writeMessage(x.conn, typeReply, tokens, x.packetSize)
}

func (x *session) serve() error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer x.raw.Close()
	if err := x.login(); err != nil {
		return err
	}
	// Somebody has to listen for attention while a query runs.
	heard, over := make(chan *message), make(chan struct{})
	defer close(over)
	var failed error
	wg.Go(func() {
		defer close(heard)
		for {
			m, err := readMessage(x.conn, maxMessageSize)
			if err != nil {
				failed = err
				return
			}
			select {
			case heard <- m:
			case <-over:
				return
			}
		}
	})
	for m := range heard {
		if err := x.serveMessage(m, heard); err != nil {
			return err
		}
	}
	if failed == io.EOF {
		return nil
	}
	return failed
}

// login goes from the first byte to the login.
func (x *session) login() error {
	client, err := readPrelogin(x.conn)
	if err != nil {
		return err
	}
	encryption := x.server.answer(client)
	x.note(func(r *Session) { r.ClientEncryption, r.Encryption = client, encryption })
	if err := x.reply(preloginReply(encryption)); err != nil {
		return err
	}
	if encryption != NotSupported {
		t, err := startTLS(x.raw, x.server.TLS)
		if err != nil {
			return err
		}
		x.note(func(r *Session) { r.TLSVersion = t.ConnectionState().Version })
		x.conn = t
	}
	first := x.conn
	if encryption == Off { // TLS is for the first packet alone
		x.conn = x.raw
	}
	l, err := readLogin(first, x.conn)
	if err != nil {
		return err
	}
	x.note(func(r *Session) { r.Login = *l })
	user, err := x.authenticate(l)
	if err != nil {
		return errors.Join(err, x.refuse(nil, l))
	}
	if d := x.server.Databases; d != nil && l.Database != "" && l.Database != "master" && !slices.Contains(d, l.Database) {
		err := &Error{Number: 4060, State: 1, Class: 11, Message: fmt.Sprintf("Cannot open database \"%s\" requested by the login. The login failed.", l.Database)}
		return errors.Join(err, x.refuse(appendError(nil, err), l))
	}
	x.note(func(r *Session) { r.User = user })
	size := l.PacketSize
	if _, ok := x.conn.(*tls.Conn); ok {
		size = min(size, 16383) // [MS-TDS] 2.2.6.4: a TLS record holds it
	}
	database := l.Database
	if database == "" {
		database = "master"
	}
	b := appendEnvText(nil, envDatabase, database, "master")
	b = appendLoginAck(b)
	b = appendPacketSize(b, size)
	err = x.reply(appendDone(b, 0, 0))
	x.packetSize = size
	return err
}

// refuse refuses a login, after what b says about it.
func (x *session) refuse(b []byte, l *Login) error {
	failure := &Error{Number: 18456, State: 1, Class: 14, Message: fmt.Sprintf("Login failed for user '%s'.", l.User)}
	return x.reply(appendDone(appendError(b, failure), doneError, 0))
}

// authenticate returns who has logged in.
func (x *session) authenticate(l *Login) (user string, err error) {
	if l.SSPI == nil {
		password, ok := x.server.Users[l.User]
		if x.server.Users != nil && (!ok || password != l.Password) {
			return "", errors.New("the user or the password is wrong")
		}
		return l.User, nil
	}
	if x.server.SSPI == nil {
		return "", errors.New("an SSPI login, and no SSPI in the Server")
	}
	for token := l.SSPI; ; {
		reply, user, err := x.server.SSPI(token)
		if err != nil {
			return "", fmt.Errorf("SSPI: %w", err)
		}
		if len(reply) > 0 || user == "" {
			if err := x.reply(appendSized(nil, tokenSSPI, reply)); err != nil {
				return "", err
			}
		}
		if user != "" {
			return user, nil
		}
		m, err := readMessage(x.conn, maxLoginSize)
		if err != nil {
			return "", err
		}
		if m.kind != typeSSPI {
			return "", fmt.Errorf("a message of type %#02x instead of an SSPI token", m.kind)
		}
		token = m.data
	}
}

// serveMessage answers a message. While it does, others come from heard.
func (x *session) serveMessage(m *message, heard <-chan *message) error {
	var b []byte
	if m.reset {
		x.xact = 0
		x.note(func(r *Session) { r.Resets++ })
		b = appendEnvBytes(b, envReset, nil, nil)
	}
	var q Query
	var err error
	switch m.kind {
	case typeAttention: // came after the answer
		x.note(func(r *Session) { r.Attentions++ })
		return x.reply(appendDone(b, doneAttention, 0))
	case typeTransact:
		return x.transact(m.data, b)
	case typeBatch:
		q, err = parseBatch(m.data)
	case typeRPC:
		q, err = parseRPC(m.data)
	case typeBulk:
		return x.bulk(m.data, b)
	default:
		return fmt.Errorf("a message of type %#02x, which is not known here", m.kind)
	}
	if err != nil {
		return errors.Join(err, x.reply(appendDone(appendError(b, err), doneError, 0)))
	}
	q.InTransaction = x.xact != 0
	x.note(func(r *Session) { r.Queries = append(r.Queries, q) })
	return x.query(q, b, heard)
}

// bulk takes the rows of a bulk copy, of which INSERT BULK has been answered.
func (x *session) bulk(data, b []byte) error {
	rows, err := parseBulk(data)
	if err != nil {
		return errors.Join(err, x.reply(appendDone(appendError(b, err), doneError, 0)))
	}
	x.note(func(r *Session) { r.BulkRows = append(r.BulkRows, rows...) })
	return x.reply(appendDone(b, doneCount, int64(len(rows))))
}

// query runs q and sends b and what comes of it, or that it was cancelled.
func (x *session) query(q Query, b []byte, heard <-chan *message) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var tokens []byte
	var result Result
	var failed error
	done := make(chan struct{})
	go func() { // ends before query does
		defer close(done)
		if result, failed = x.server.run(ctx, q); failed == nil {
			tokens, failed = result.tokens()
		}
	}()
	select {
	case <-done:
	case m, ok := <-heard:
		cancel()
		<-done
		switch {
		case !ok:
			return nil
		case m.kind != typeAttention:
			return fmt.Errorf("a message of type %#02x while a query runs", m.kind)
		}
		x.note(func(r *Session) { r.Attentions++ })
		return x.reply(appendDone(b, doneAttention, 0))
	}
	status := uint16(0)
	if x.xact != 0 {
		status |= doneInXact
	}
	if failed != nil {
		return x.reply(appendDone(appendError(b, failed), status|doneError, 0))
	}
	rows := result.RowsAffected
	if len(result.Columns) > 0 {
		rows = int64(len(result.Rows))
	}
	return x.reply(appendDone(append(b, tokens...), status|doneCount, rows))
}

// transact begins or ends a transaction.
func (x *session) transact(data, b []byte) error {
	request, err := parseTransact(data)
	if err == nil && (request == xactBegin) == (x.xact != 0) {
		err = &Error{Number: 3902, State: 1, Message: "The transaction request does not fit the session."}
	}
	if err != nil {
		return x.reply(appendDone(appendError(b, err), doneError, 0))
	}
	id := binary.LittleEndian.AppendUint64(nil, x.xact)
	switch request {
	case xactBegin:
		x.xacts++
		x.xact = x.xacts
		x.note(func(r *Session) { r.Begun++ })
		b = appendEnvBytes(b, envBegin, binary.LittleEndian.AppendUint64(nil, x.xact), nil)
		return x.reply(appendDone(b, doneInXact, 0))
	case xactCommit:
		x.note(func(r *Session) { r.Committed++ })
		b = appendEnvBytes(b, envCommit, nil, id)
	case xactRollback:
		x.note(func(r *Session) { r.RolledBack++ })
		b = appendEnvBytes(b, envRollback, nil, id)
	default:
		err := fmt.Errorf("the transaction request %d is not known here", request)
		return x.reply(appendDone(appendError(b, err), doneError, 0))
	}
	x.xact = 0
	return x.reply(appendDone(b, 0, 0))
}
