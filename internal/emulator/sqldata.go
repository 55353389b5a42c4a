package emulator

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// sqlData is the service, and the file with its CA.
type sqlData struct {
	*cloudsqltest.SQLData
	file      string // "" without TLS
	temporary bool
}

func serveSQLData(api *cloudsqltest.Server, cfg *config) (*sqlData, error) {
	addr, inClear := strings.CutPrefix(cfg.SQLData, "http://")
	addr = strings.TrimPrefix(addr, "https://")
	l, err := listen("-sql-data", addr, cfg.AllowRemote)
	if err != nil {
		return nil, err
	}
	s := &sqlData{SQLData: api.ServeSQLData(cloudsqltest.SQLDataConfig{Listener: l, TLS: !inClear})}
	if inClear {
		return s, nil
	}
	s.file, s.temporary = cfg.SQLDataCA, cfg.SQLDataCA == ""
	if s.temporary {
		f, err := os.CreateTemp("", "cloudsql-emulator-*.pem")
		if err != nil {
			return nil, err
		}
		s.file = f.Name()
		_ = f.Close()
	}
	if err := os.WriteFile(s.file, []byte(s.CA()), 0o644); err != nil {
		return nil, errors.Join(err, s.forget())
	}
	return s, nil
}

// forget removes the file, if that is a temporary one.
func (s *sqlData) forget() error {
	if !s.temporary {
		return nil
	}
	return os.Remove(s.file)
}

// stream is a stream of SQL Data as the control endpoint shows it.
type stream struct {
	Time      time.Time `json:"time"`
	Instance  string    `json:"instance"` // projects/PROJECT/instances/NAME
	IAM       bool      `json:"iam"`
	UserAgent string    `json:"userAgent"`
	Received  int64     `json:"received"`
	Sent      int64     `json:"sent"`
	End       string    `json:"end"` // the status, or what the client did; empty while it is open
	Fault     bool      `json:"fault"`
}

// streams returns the last streams, newest first, at most so many of them if
// that is not zero.
func (e *emulator) streams(most int) []stream {
	list := []stream{}
	if e.sqlData == nil {
		return list
	}
	for _, r := range slices.Backward(e.sqlData.Streams()) {
		one := stream{Time: r.Time, Instance: r.Instance, IAM: r.AuthenticationType == 2, UserAgent: strings.Join(r.Header["user-agent"], ", "),
			Received: r.Received, Sent: r.Sent, Fault: r.Fault != nil}
		switch {
		case r.Status != nil:
			one.End = strings.TrimSuffix(r.Status.Code().String()+": "+r.Status.Message(), ": ")
		case r.Lost:
			one.End = "the TCP connection has ended"
		case r.Canceled:
			one.End = "the client has cancelled it"
		}
		list = append(list, one)
		if len(list) == most {
			break
		}
	}
	return list
}

// serveSQLDataFault does something to the service's TCP connections.
func (e *emulator) serveSQLDataFault(w http.ResponseWriter, r *http.Request) {
	var what struct {
		Reset bool
		Grace time.Duration
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxControlBody))
	if err == nil {
		err = decodeOptional(body, &what)
	}
	name := r.PathValue("fault")
	switch {
	case e.sqlData == nil:
		err = cmp.Or(err, errors.New("SQL Data is off; -sql-data turns it on"))
	case name != "cut" && name != "go-away" && name != "black-hole":
		replyError(w, http.StatusNotFound, errors.New("no such fault; want cut, go-away or black-hole"))
		return
	}
	if err != nil {
		replyError(w, http.StatusBadRequest, err)
		return
	}
	n := 0
	switch name {
	case "cut":
		n = e.sqlData.CutConnections(what.Reset)
	case "go-away":
		n = e.sqlData.GoAway(what.Grace)
	case "black-hole":
		n = e.sqlData.BlackHole()
	}
	reply(w, http.StatusOK, map[string]int{"connections": n})
}
