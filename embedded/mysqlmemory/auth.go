package mysqlmemory

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"net"

	"github.com/dolthub/go-mysql-server/sql"
	"github.com/dolthub/vitess/go/mysql"
)

// login is who may log in.
type login struct{ user, password string }

// authServer checks logins as the address of a connection wants them.
type authServer struct{}

// AuthMethods returns the ways to log in. The first is for those who have asked for none of them.
func (a authServer) AuthMethods() []mysql.AuthMethod {
	return []mysql.AuthMethod{
		mysql.NewMysqlNativeAuthMethod(a, a), cachingSHA2{mysql.NewSha2CachingAuthMethod(a, a, a)}, mysql.NewMysqlClearAuthMethod(a, a),
	}
}

// cachingSHA2 is caching_sha2_password without TLS. That is needed only where the server must see the password itself.
type cachingSHA2 struct{ mysql.AuthMethod }

// HandleUser lets everybody try.
func (cachingSHA2) HandleUser(*mysql.Conn, string) bool { return true }

// DefaultAuthMethodDescription is what the greeting offers.
func (a authServer) DefaultAuthMethodDescription() mysql.AuthMethodDescription {
	return mysql.MysqlNativePassword
}

// HandleUser lets everybody try.
func (a authServer) HandleUser(string, net.Addr) bool { return true }

// check calls right for the password of the user, if a password is needed. The response to an empty one is empty.
func check(user string, from net.Addr, response []byte, right func(password []byte) bool) (mysql.Getter, error) {
	a, ok := from.(addr)
	allowed := ok
	switch {
	case !ok || a.login == nil:
	case user != a.login.user:
		allowed = false
	case a.login.password == "":
		allowed = len(bytes.TrimRight(response, "\x00")) == 0
	default:
		allowed = right([]byte(a.login.password))
	}
	if !allowed {
		return nil, mysql.NewSQLError(mysql.ERAccessDeniedError, mysql.SSAccessDeniedError, "Access denied for user '%s'@'localhost'", user)
	}
	return sql.MysqlConnectionUser{User: user, Host: "localhost"}, nil
}

// UserEntryWithHash is for mysql_native_password.
func (a authServer) UserEntryWithHash(_ []*x509.Certificate, salt []byte, user string, response []byte, from net.Addr) (mysql.Getter, error) {
	return check(user, from, response, func(password []byte) bool {
		once := sha1.Sum(password)
		twice := sha1.Sum(once[:])
		return mysql.VerifyHashedMysqlNativePassword(response, salt, twice[:])
	})
}

// UserEntryWithCacheHash is for caching_sha2_password, which never needs more than this.
func (a authServer) UserEntryWithCacheHash(_ []*x509.Certificate, salt []byte, user string, response []byte, from net.Addr) (mysql.Getter, mysql.CacheState, error) {
	getter, err := check(user, from, response, func(password []byte) bool {
		once := sha256.Sum256(password)
		twice := sha256.Sum256(once[:])
		return mysql.VerifyHashedCachingSha2Password(response, salt, twice[:])
	})
	if err != nil {
		return nil, mysql.AuthRejected, err
	}
	return getter, mysql.AuthAccepted, nil
}

// UserEntryWithPassword is for mysql_clear_password.
func (a authServer) UserEntryWithPassword(_ []*x509.Certificate, user, password string, from net.Addr) (mysql.Getter, error) {
	return check(user, from, []byte(password), func(want []byte) bool { return password == string(want) })
}
