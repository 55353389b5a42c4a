package cloudsqltest

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"time"
)

// Fault is what goes wrong with one Admin API request. Of Hang, ResetAt and
// Status the first that is set counts; Delay comes before all of them.
type Fault struct {
	// Delay passes before the request is answered.
	Delay time.Duration

	// Hang never answers. The request ends when the client gives up or the
	// Server is closed.
	Hang bool

	// ResetAt cuts the connection with a TCP reset at this point.
	ResetAt Point

	// CutAt ends the connection at this point as if the answer were over, so
	// that the client sees an unexpected EOF.
	CutAt Point

	// Status, Header and Body replace the answer. A Status without Body gets
	// the API's error envelope.
	Status int
	Header http.Header
	Body   string

	// Alter changes the body of the genuine answer.
	Alter func(body []byte) []byte
}

// Point is a place in an answer.
type Point int

// The places where a connection can break.
const (
	Nowhere   Point = iota
	AtStart         // before the first byte
	InHeaders       // in the middle of the headers
	InBody          // in the middle of the body
)

// apply answers r with genuine, altered as the fault says.
func (f *Fault) apply(w http.ResponseWriter, r *http.Request, genuine http.Handler, closing <-chan struct{}) {
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		case <-closing:
			return
		}
	}
	if f.Hang {
		select {
		case <-r.Context().Done():
		case <-closing:
		}
		panic(http.ErrAbortHandler)
	}

	answer := httptest.NewRecorder()
	switch {
	case f.Status != 0 && f.Body == "":
		writeError(answer, f.Status, http.StatusText(f.Status), "injected")
	case f.Status != 0:
		answer.WriteHeader(f.Status)
		_, _ = answer.WriteString(f.Body)
	default:
		genuine.ServeHTTP(answer, r)
	}
	body := answer.Body.Bytes()
	if f.Alter != nil {
		body = f.Alter(body)
	}
	for k, v := range f.Header {
		answer.Header()[k] = v
	}
	if f.ResetAt != Nowhere || f.CutAt != Nowhere {
		f.breakOff(w, answer, body)
		return
	}
	for k, v := range answer.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(body)
}

// breakOff writes the answer up to the point where it breaks.
func (f *Fault) breakOff(w http.ResponseWriter, answer *httptest.ResponseRecorder, body []byte) {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	writeUntil(buf.Writer, max(f.ResetAt, f.CutAt), answer, body)
	if f.ResetAt != Nowhere {
		reset(conn)
		return
	}
	_ = conn.Close()
}

func writeUntil(w *bufio.Writer, p Point, answer *httptest.ResponseRecorder, body []byte) {
	if p == AtStart {
		return
	}
	fmt.Fprintf(w, "HTTP/1.1 %d %s\r\nContent-Length: %d\r\n", answer.Code, http.StatusText(answer.Code), len(body))
	if p == InBody {
		fmt.Fprint(w, "Content-Type: application/json\r\n\r\n")
		_, _ = w.Write(body[:len(body)/2])
	}
	_ = w.Flush()
}

// reset closes c so that the other side sees a reset and not an end.
func reset(c net.Conn) {
	switch c := c.(type) {
	case interface{ Reset() }:
		c.Reset()
	case *net.TCPConn:
		_ = c.SetLinger(0)
		_ = c.Close()
	default:
		_ = c.Close()
	}
}
