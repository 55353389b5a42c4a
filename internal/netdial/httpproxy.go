package netdial

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsconn"
)

// maxResponse bounds a proxy's response to CONNECT.
const maxResponse = 64 << 10

// connect asks an HTTP proxy to connect to addr. Nothing is read from conn that
// comes after the response.
func connect(conn net.Conn, addr string, user *url.Userinfo) error {
	req := &http.Request{
		Method: http.MethodConnect,
		URL:    &url.URL{Opaque: addr},
		Host:   addr,
		Header: http.Header{"User-Agent": {"cloudsqlconn"}},
	}
	if user != nil {
		password, _ := user.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := req.Write(conn); err != nil {
		return err
	}
	head := &headReader{r: conn, left: maxResponse}
	resp, err := http.ReadResponse(bufio.NewReader(head), req)
	switch {
	case head.err != nil:
		return head.err
	case err != nil:
		return fmt.Errorf("the answer is not HTTP: %.100q", err.Error()) // it comes from outside
	case resp.StatusCode == http.StatusProxyAuthRequired && user == nil:
		return errors.New("407 Proxy Authentication Required: put user:password@ into the proxy's URL")
	case resp.StatusCode == http.StatusProxyAuthRequired:
		return errors.New("407 Proxy Authentication Required: the user name or the password in the proxy's URL is wrong, or the proxy does not take Basic authentication")
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("the proxy refuses: %.100q", resp.Status)
	}
	return nil
}

// headReader reads byte by byte, so that a bufio.Reader over it takes no more
// than it needs.
type headReader struct {
	r    io.Reader
	left int   // bytes until the response is too long
	err  error // the first
}

func (h *headReader) Read(p []byte) (int, error) {
	if h.left == 0 {
		h.err = fmt.Errorf("the response has more than %d bytes", maxResponse)
		return 0, h.err
	}
	n, err := h.r.Read(p[:min(1, len(p))])
	h.left -= n
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	h.err = err
	return n, err
}

// secure makes conn a TLS connection to the proxy, whose socket can be asked.
func (p *Proxy) secure(conn net.Conn) (net.Conn, error) {
	tc := tlsconn.Outer(conn, &tls.Config{ServerName: p.host, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12})
	if err := tc.Handshake(); err != nil {
		// A caller must not take the proxy's alert for one of the instance.
		return nil, fmt.Errorf("TLS: %w", tlsconn.HideAlert(err))
	}
	return tc, nil
}
