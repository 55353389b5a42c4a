package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
	"github.com/cloudsqlconn/cloudsqlconn/interop/internal/clients"
)

// streamWorld is the emulated SQL Data service, and an instance behind it.
type streamWorld struct {
	kit      *cloudsqltest.Server
	service  *cloudsqltest.SQLData
	endpoint string // host:port of the service
	emulated *cloudsqltest.EmulatedInstance
	target   clients.Target // for clients that are no Dialer
	client   streamClient
}

// openStreams starts the service, and the subject with SQL Data. The process
// trusts the service's CA from then on: no Dialer needs an option for that.
func openStreams(ctx context.Context, sub subject, s streamScenario, db database) (*streamWorld, error) {
	w := &streamWorld{kit: cloudsqltest.NewServer()}
	w.kit.Logger = slog.New(slog.DiscardHandler)
	w.service = w.kit.ServeSQLData(cloudsqltest.SQLDataConfig{TLS: true, MaxStreams: s.maxStreams})
	s.instance.SQLData = !s.unserved
	s.instance.ListenOn3307 = sub.peer != nil || sub.name == "Auth Proxy" // they have no dial function
	if s.database {
		s.instance.DatabaseVersion, s.instance.Backend = "POSTGRES_15", db.TCP
	}
	w.emulated = w.kit.AddInstance(oldInstance, s.instance)
	_, port, _ := net.SplitHostPort(w.service.Addr().String())
	w.endpoint = "localhost:" + port // Node.js has no server name for an address
	if err := w.setTarget(); err != nil {
		return nil, err
	}
	if err := os.Setenv("SSL_CERT_FILE", w.target.SQLDataCA); err != nil { // it is read at the first handshake
		return nil, err
	}
	var err error
	w.client, err = sub.streams(ctx, w)
	return w, err
}

// setTarget tells clients that are no Dialer of the instance.
func (w *streamWorld) setTarget() error {
	dir, err := os.MkdirTemp("", "streams-*")
	if err != nil {
		return err
	}
	w.target = clients.Target{
		Endpoint:  w.kit.URL(),
		Instance:  oldInstance,
		User:      databaseUser,
		Password:  databasePassword,
		Database:  databaseName,
		SQLData:   w.endpoint,
		SQLDataCA: filepath.Join(dir, "ca.pem"),
	}
	w.target.Credentials = filepath.Join(dir, "credentials.json")
	tokens := authtest.NewServer(w.kit.Token(), w.kit.LoginToken())
	return errors.Join(
		os.WriteFile(w.target.SQLDataCA, []byte(w.service.CA()), 0o600),
		os.WriteFile(w.target.Credentials, tokens.ExternalAccount(""), 0o600),
	)
}

// dial dials, for no longer than a while.
func (w *streamWorld) dial(limit time.Duration) (io.ReadWriteCloser, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return w.client.Dial(ctx)
}

// within waits for f for a while, and tells how it ended.
func within(limit time.Duration, f func() string) string {
	done := make(chan string, 1)
	go func() { done <- f() }()
	select {
	case text := <-done:
		return text
	case <-time.After(limit):
		return fmt.Sprintf("nothing for %s", inWords(limit))
	}
}

// streamRow is a stream scenario and what came of it with each subject.
type streamRow struct {
	scenario streamScenario
	results  []string
}

// withStreams are the subjects that have SQL Data.
func withStreams() (list []subject) {
	for _, s := range subjects {
		if s.streams != nil {
			list = append(list, s)
		}
	}
	return list
}

// runStreams runs all stream scenarios, one process after the other; those that
// are idle with all subjects at once.
func runStreams(ctx context.Context, db database, log io.Writer) ([]streamRow, error) {
	var rows []streamRow
	for _, s := range streamScenarios {
		with := withStreams()
		row := streamRow{s, make([]string, len(with))}
		errs := make([]error, len(with))
		var wg sync.WaitGroup
		for i, sub := range with {
			wg.Go(func() {
				j := job{Scenario: s.name, Subject: sub.name, Stream: true, Database: db}
				if errs[i] = j.do(ctx, &row.results[i]); errs[i] != nil {
					errs[i] = fmt.Errorf("%s, %s: %w", s.name, sub.name, errs[i])
				}
			})
			if !s.idle {
				wg.Wait()
			}
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return nil, err
		}
		for i, sub := range with {
			fmt.Fprintf(log, "%s, %s: %s\n", s.name, sub.name, row.results[i])
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// runStreamScenario runs one with one subject. It does not tidy up: the process
// ends.
func runStreamScenario(s streamScenario, sub subject, db database) (string, error) {
	w, err := openStreams(context.Background(), sub, s, db)
	if err != nil {
		return "", err
	}
	return s.run(w), nil
}

// streamsTitle begins the section of INTEROP.md.
const streamsTitle = "## SQL Data"

// streamSection is that section.
func streamSection(rows []streamRow) string {
	var b strings.Builder
	fmt.Fprintf(&b, `%s

Written by %[2]sgo run -C interop ./cmd/scenarios -streams%[2]s on %[3]s: each client in a process of its own, with SQL Data
and a fall-back to an address, in front of the service that %[2]scloudsqltest%[2]s emulates, over TLS. With the Auth Proxy a
connection is one to the proxy, and in Node it is the socket of %[2]sgetOptions%[2]s. Python's connector has SQL Data too, but gives out no
connection but a driver's, and is not in this table.

`, streamsTitle, "`", time.Now().UTC().Format(time.DateOnly))
	b.WriteString("| scenario |")
	for _, s := range withStreams() {
		fmt.Fprintf(&b, " %s |", s.name)
	}
	fmt.Fprintf(&b, "\n|---|%s\n", strings.Repeat("---|", len(withStreams())))
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s |", r.scenario.name)
		for _, text := range r.results {
			fmt.Fprintf(&b, " %s |", cell(text))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "- **%s.** %s\n", r.scenario.name, r.scenario.what)
	}
	return b.String()
}

// cell is text in a table.
func cell(text string) string {
	text = port.ReplaceAllString(text, "127.0.0.1:port")
	return strings.NewReplacer("\n", "; ", "|", "/").Replace(text)
}
