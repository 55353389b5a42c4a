package mysqlserver

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
)

// Capabilities, as MySQL names them.
const (
	longPassword     = 1 << 0
	foundRows        = 1 << 1
	longFlag         = 1 << 2
	connectWithDB    = 1 << 3
	protocol41       = 1 << 9
	transactions     = 1 << 13
	secureConnection = 1 << 15
	pluginAuth       = 1 << 19
	connectAttrs     = 1 << 20
	pluginAuthLenenc = 1 << 21

	capabilities = longPassword | foundRows | longFlag | connectWithDB | protocol41 | transactions |
		secureConnection | pluginAuth | connectAttrs | pluginAuthLenenc
)

// nonceSize is the size of the server's part of a scramble.
const nonceSize = 20

// serverKey is the RSA key of all servers in the process.
var serverKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// newNonce returns random bytes without zeros.
func newNonce() []byte {
	b := make([]byte, nonceSize)
	_, _ = rand.Read(b)
	for i := range b {
		b[i] = '!' + b[i]%90
	}
	return b
}

// greeting is the packet that opens the conversation: HandshakeV10.
func greeting(plugin Plugin, nonce []byte) []byte {
	b := append([]byte{10}, "8.4.0-scripted\x00"...)
	b = append(b, 1, 0, 0, 0) // connection id
	b = append(b, nonce[:8]...)
	b = append(b, 0)
	b = binary.LittleEndian.AppendUint16(b, capabilities&0xffff)
	b = append(b, 255)  // utf8mb4
	b = append(b, 2, 0) // autocommit
	b = binary.LittleEndian.AppendUint16(b, capabilities>>16)
	b = append(b, nonceSize+1)
	b = append(b, make([]byte, 10)...)
	b = append(b, nonce[8:]...)
	b = append(b, 0)
	return append(b, string(plugin)+"\x00"...)
}

// loginRequest is a HandshakeResponse41.
type loginRequest struct {
	user, database string
	proof          []byte
	plugin         Plugin
}

func parseLogin(b []byte) (r loginRequest, err error) {
	s := scanner{rest: b}
	flags := s.uint32()
	s.take(4 + 1 + 23) // maximum packet size, character set, filler
	r.user = s.text()
	switch {
	case flags&protocol41 == 0:
		return r, fmt.Errorf("%w: an old protocol", errMalformed)
	case flags&pluginAuthLenenc != 0:
		r.proof = s.counted()
	case flags&secureConnection != 0:
		r.proof = s.take(uint64(s.byte()))
	default:
		r.proof = []byte(s.text())
	}
	if flags&connectWithDB != 0 {
		r.database = s.text()
	}
	r.plugin = NativePassword
	if flags&pluginAuth != 0 {
		r.plugin = Plugin(s.text())
	}
	return r, s.err
}

var errDenied = errors.New("access denied")

// login leads a session to where it can execute commands.
func (s *Server) login(ss *session) error {
	nonce := newNonce()
	plugin := cmp.Or(s.Greeting, CachingSHA2)
	if err := ss.write(greeting(plugin, nonce)); err != nil {
		return err
	}
	b, err := ss.read()
	if err != nil {
		return err
	}
	r, err := parseLogin(b)
	if err != nil {
		_ = ss.fail(1043, "08S01", "Bad handshake")
		return err
	}
	told, _ := ss.conn.(interface{ ClientProtocolType() string })
	l := Login{User: r.user, Database: r.database, Secure: s.Secure || told != nil && told.ClientProtocolType() == "TLS"}
	err = s.check(ss, r, nonce, &l)
	l.OK = err == nil
	s.mu.Lock()
	s.logins = append(s.logins, l)
	s.mu.Unlock()
	if err != nil {
		_ = ss.fail(1045, "28000", fmt.Sprintf("Access denied for user %q (scripted server: %s)", r.user, l.Path))
		return err
	}
	return ss.write(okPacket)
}

// check checks the proof of who the user is.
func (s *Server) check(ss *session, r loginRequest, nonce []byte, l *Login) error {
	account, ok := s.Accounts[r.user]
	if !ok {
		return errDenied
	}
	plugin := cmp.Or(account.Plugin, CachingSHA2)
	if r.plugin != plugin {
		change := append([]byte{0xfe}, string(plugin)+"\x00"...)
		change = append(append(change, nonce...), 0)
		if err := ss.write(change); err != nil {
			return err
		}
		b, err := ss.read()
		if err != nil {
			return err
		}
		r.proof = b
	}
	switch plugin {
	case ClearPassword:
		l.Path = Clear
		return same(r.proof, append([]byte(account.Password), 0))
	case NativePassword, CachingSHA2:
	default:
		return fmt.Errorf("%w: unknown plugin %s", errDenied, plugin)
	}
	if len(account.Password) == 0 || len(bytes.Trim(r.proof, "\x00")) == 0 {
		l.Path = NoPassword
		return same([]byte(account.Password), bytes.Trim(r.proof, "\x00"))
	}
	if plugin == NativePassword {
		l.Path = Scrambled
		return same(r.proof, scrambleNative(account.Password, nonce))
	}
	return s.checkSHA2(ss, r, account.Password, nonce, l)
}

// checkSHA2 is caching_sha2_password.
func (s *Server) checkSHA2(ss *session, r loginRequest, password string, nonce []byte, l *Login) error {
	s.mu.Lock()
	cached := s.cached[r.user]
	s.mu.Unlock()
	if cached && same(r.proof, scrambleSHA2(password, nonce)) == nil {
		l.Path = Fast
		return ss.write([]byte{1, 3})
	}
	if err := ss.write([]byte{1, 4}); err != nil { // full authentication, please
		return err
	}
	b, err := ss.read()
	if err != nil {
		return err
	}
	if l.Path = FullClear; !l.Secure {
		l.Path = FullRSA
		if b, err = ss.decrypted(b, nonce); err != nil {
			return err
		}
	}
	if err := same(b, append([]byte(password), 0)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cached == nil {
		s.cached = map[string]bool{}
	}
	s.cached[r.user] = true
	return nil
}

// decrypted returns the password that b is, or that comes after b has asked for
// the server's key.
func (ss *session) decrypted(b, nonce []byte) ([]byte, error) {
	key, err := serverKey()
	if err != nil {
		return nil, err
	}
	if len(b) == 1 && b[0] == 2 {
		der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		if err != nil {
			return nil, err
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		if err := ss.write(append([]byte{1}, text...)); err != nil {
			return nil, err
		}
		if b, err = ss.read(); err != nil {
			return nil, err
		}
	}
	if b, err = rsa.DecryptOAEP(sha1.New(), nil, key, b, nil); err != nil {
		return nil, err
	}
	for i := range b {
		b[i] ^= nonce[i%len(nonce)]
	}
	return b, nil
}

func same(a, b []byte) error {
	if !bytes.Equal(a, b) {
		return errDenied
	}
	return nil
}

// scrambleNative is SHA1(password) XOR SHA1(nonce + SHA1(SHA1(password))).
func scrambleNative(password string, nonce []byte) []byte {
	once := sha1.Sum([]byte(password))
	twice := sha1.Sum(once[:])
	mask := sha1.Sum(append(bytes.Clone(nonce), twice[:]...))
	subtle.XORBytes(mask[:], mask[:], once[:])
	return mask[:]
}

// scrambleSHA2 is SHA256(password) XOR SHA256(SHA256(SHA256(password)) + nonce).
func scrambleSHA2(password string, nonce []byte) []byte {
	once := sha256.Sum256([]byte(password))
	twice := sha256.Sum256(once[:])
	mask := sha256.Sum256(append(twice[:], nonce...))
	subtle.XORBytes(mask[:], mask[:], once[:])
	return mask[:]
}
