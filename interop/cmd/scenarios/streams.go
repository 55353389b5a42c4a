package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	google "cloud.google.com/go/cloudsqlconn"
	"golang.org/x/oauth2"

	ours "github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// streamCommand is the first argument of a process that runs one stream scenario
// with one subject, which the next two name.
const streamCommand = "run-stream"

// streamWorld is the emulated SQL Data service, and an instance behind it.
type streamWorld struct {
	kit     *cloudsqltest.Server
	service *cloudsqltest.SQLData
	proxy   *cloudsqltest.Proxy
	dialer  dialer
}

// openStreams starts the service, and the subject's Dialer with SQL Data for all
// Dials. The process trusts the service's CA from then on: neither Dialer needs
// an option for that.
func openStreams(ctx context.Context, subject string, s streamScenario) (*streamWorld, func(), error) {
	w := &streamWorld{kit: cloudsqltest.NewServer()}
	w.kit.Logger = slog.New(slog.DiscardHandler)
	w.service = w.kit.ServeSQLData(cloudsqltest.SQLDataConfig{TLS: true, MaxStreams: s.maxStreams})
	s.instance.SQLData = !s.unserved
	w.proxy = w.kit.AddInstance(oldInstance, s.instance)
	dir, err := os.MkdirTemp("", "streams-*")
	if err != nil {
		return nil, nil, err
	}
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, []byte(w.service.CA()), 0o600); err != nil {
		return nil, nil, err
	}
	if err := os.Setenv("SSL_CERT_FILE", ca); err != nil { // it is read at the first handshake
		return nil, nil, err
	}
	_, port, _ := net.SplitHostPort(w.service.Addr().String())
	endpoint := "localhost:" + port
	token := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: w.kit.Token(), Expiry: time.Now().Add(time.Hour)})
	if subject == subjects[0].name {
		var d *ours.Dialer
		d, err = ours.NewDialer(ctx,
			ours.WithAdminAPIEndpoint(w.kit.URL()), ours.WithSQLDataEndpoint(endpoint), ours.WithTokenSource(token),
			ours.WithDialFunc(w.kit.DialContext), ours.WithSQLData(ours.SQLDataPrefer))
		w.dialer = oursDialer{d}
	} else {
		var d *google.Dialer
		d, err = google.NewDialer(ctx,
			google.WithAdminAPIEndpoint(w.kit.URL()), google.WithSQLDataEndpoint(endpoint), google.WithTokenSource(token),
			google.WithDialFunc(w.kit.DialContext), google.WithDefaultDialOptions(google.WithSQLData()), google.WithBuiltInMetrics(false))
		w.dialer = googleDialer{d}
	}
	if err != nil {
		return nil, nil, err
	}
	return w, func() {
		_ = w.dialer.Close()
		w.kit.Close()
		_ = os.RemoveAll(dir)
	}, nil
}

// dial dials, for no longer than a while.
func (w *streamWorld) dial(limit time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return w.dialer.Dial(ctx, oldInstance)
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

// runStreams runs all stream scenarios, one process after the other.
func runStreams(ctx context.Context, log io.Writer) ([]streamRow, error) {
	var rows []streamRow
	for _, s := range streamScenarios {
		row := streamRow{scenario: s}
		for _, sub := range subjects {
			text, err := runStream(ctx, s, sub)
			if err != nil {
				return nil, err
			}
			row.results = append(row.results, text)
			fmt.Fprintf(log, "%s, %s: %s\n", s.name, sub.name, text)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// runStream runs one stream scenario in a process of its own.
func runStream(ctx context.Context, s streamScenario, sub subject) (text string, err error) {
	program, err := os.Executable()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, childTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, streamCommand, s.name, sub.name)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s, %s: %w\n%s", s.name, sub.name, err, stderr.String())
	}
	return text, json.Unmarshal(stdout.Bytes(), &text)
}

// streamChild runs one stream scenario with one subject and prints the result.
func streamChild(scenarioName, subjectName string) (exitCode int) {
	for _, s := range streamScenarios {
		if s.name != scenarioName {
			continue
		}
		w, end, err := openStreams(context.Background(), subjectName, s)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		text := s.run(w)
		_ = json.NewEncoder(os.Stdout).Encode(text)
		if !strings.HasPrefix(text, "nothing for") { // what hangs is left to the end of the process
			end()
		}
		return 0
	}
	fmt.Fprintln(os.Stderr, "no such scenario")
	return 2
}

// streamsTitle begins the section of INTEROP.md.
const streamsTitle = "## SQL Data"

// streamSection is that section.
func streamSection(rows []streamRow) string {
	var b strings.Builder
	fmt.Fprintf(&b, `%s

Written by %[2]sgo run -C interop ./cmd/scenarios -streams%[2]s on %[3]s: both connectors in processes of their own, with SQL Data
and a fall-back to an address, in front of the service that %[2]scloudsqltest%[2]s emulates, over TLS.

| scenario | ours | Google's |
|---|---|---|
`, streamsTitle, "`", time.Now().UTC().Format(time.DateOnly))
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.scenario.name, cell(r.results[0]), cell(r.results[1]))
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
