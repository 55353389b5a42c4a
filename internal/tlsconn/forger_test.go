//go:build unix

package tlsconn_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"math/big"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsconn"
)

// Content types of TLS 1.3, and messages.
const (
	alert     = 21
	handshake = 22
	data      = 23
)

var (
	newSessionTicket = []byte{4, 0, 0, 17, 0, 0, 14, 16, 1, 2, 3, 4, 1, 0, 0, 3, 'a', 'b', 'c', 0, 0}
	keyUpdate        = []byte{24, 0, 0, 1, 0}
	keyUpdateWanted  = []byte{24, 0, 0, 1, 1} // the client, too
	closeNotify      = []byte{1, 0}
	internalError    = []byte{2, 80}
)

// forger is a server that can send what crypto/tls never sends: it encrypts the
// records itself. Reading is crypto/tls's.
type forger struct {
	*tls.Conn
	t   testing.TB
	raw net.Conn

	mu     sync.Mutex // guards everything below
	hash   func() hash.Hash
	keyLen int
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

// pair returns a client and a server that have shaken hands, over loopback, and
// the client's socket.
func pair(t testing.TB) (*tlsconn.Conn, *forger, *net.TCPConn) {
	t.Helper()
	return pairOf(t, tlsconn.Client)
}

// pairOf is pair with a client that newClient makes.
func pairOf(t testing.TB, newClient func(net.Conn, *tls.Config) *tlsconn.Conn) (*tlsconn.Conn, *forger, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	wantNil(t, err)
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	wantNil(t, err)
	server, err := l.Accept()
	wantNil(t, err)
	var keys bytes.Buffer
	f := &forger{t: t, raw: server}
	f.Conn = tls.Server(server, &tls.Config{
		Certificates: []tls.Certificate{certificate(t)}, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true, KeyLogWriter: &keys,
	})
	c := newClient(client, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
	})
	var wg sync.WaitGroup
	wg.Go(func() { wantNil(t, c.Handshake()) })
	wantNil(t, f.Handshake())
	wg.Wait()
	f.takeOver(keys.String())
	return c, f, client.(*net.TCPConn)
}

// takeOver takes the key for what the server sends from the key log. The server
// must not have sent anything with it.
func (f *forger) takeOver(keys string) {
	f.t.Helper()
	switch suite := f.ConnectionState().CipherSuite; suite {
	case tls.TLS_AES_128_GCM_SHA256:
		f.hash, f.keyLen = sha256.New, 16
	case tls.TLS_AES_256_GCM_SHA384:
		f.hash, f.keyLen = sha512.New384, 32
	default:
		f.t.Skipf("%s has been negotiated, and the test knows AES only", tls.CipherSuiteName(suite))
	}
	for line := range strings.Lines(keys) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == "SERVER_TRAFFIC_SECRET_0" {
			secret, err := hex.DecodeString(words[2])
			wantNil(f.t, err)
			f.setSecret(secret)
		}
	}
}

func (f *forger) setSecret(secret []byte) {
	f.secret, f.seq = secret, 0
	block, err := aes.NewCipher(f.expand("key", f.keyLen))
	wantNil(f.t, err)
	f.aead, err = cipher.NewGCM(block)
	wantNil(f.t, err)
	f.iv = f.expand("iv", f.aead.NonceSize())
}

// expand is HKDF-Expand-Label with an empty context.
func (f *forger) expand(label string, n int) []byte {
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(info, byte(len("tls13 ")+len(label)))
	info = append(append(info, "tls13 "+label...), 0)
	b, err := hkdf.Expand(f.hash, f.secret, string(info), n)
	wantNil(f.t, err)
	return b
}

// record returns a record, encrypted.
func (f *forger) record(contentType byte, payload []byte) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	plain := append(bytes.Clone(payload), contentType)
	header := binary.BigEndian.AppendUint16([]byte{data, 3, 3}, uint16(len(plain)+f.aead.Overhead()))
	nonce := bytes.Clone(f.iv)
	for i, b := range binary.BigEndian.AppendUint64(nil, f.seq) {
		nonce[len(nonce)-8+i] ^= b
	}
	f.seq++
	b := f.aead.Seal(header, nonce, plain, header)
	if contentType == handshake && payload[0] == keyUpdate[0] {
		f.setSecret(f.expand("traffic upd", f.hash().Size()))
	}
	return b
}

// send sends records in one segment.
func (f *forger) send(records ...[]byte) {
	f.t.Helper()
	_, err := f.raw.Write(bytes.Join(records, nil))
	wantNil(f.t, err)
}

// Write sends data.
func (f *forger) Write(b []byte) (int, error) {
	if _, err := f.raw.Write(f.record(data, b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// waitHeard waits until there is something to read from the socket.
func waitHeard(t testing.TB, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	wantNil(t, err)
	wantNil(t, raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		return err != syscall.EAGAIN
	}))
}

func wantNil(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	wantNil(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	wantNil(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
