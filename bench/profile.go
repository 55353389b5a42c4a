package bench

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/google/pprof/profile"
)

// parts are what CPU time goes to. A sample belongs to the first part that any
// function of its stack matches.
var parts = []struct {
	name  string
	match *regexp.Regexp
}{
	{"memory: allocation and garbage collection", regexp.MustCompile(`^runtime\.(mallocgc|gc|bgsweep|bgscavenge|sweepone|\(\*mheap\))`)},
	{"verification of the server's certificate and signature", regexp.MustCompile(`^crypto/(x509|ecdsa)\.|^crypto/rsa\.Verify|/tlsverify\.`)},
	{"signature with the client's RSA key", regexp.MustCompile(`^crypto/rsa\.`)},
	{"key exchange (X25519MLKEM768)", regexp.MustCompile(`^crypto/(ecdh|mlkem)\.`)},
	{"encryption of records", regexp.MustCompile(`^crypto/tls\.\(\*(prefixNonceAEAD|xorNonceAEAD)\)|^crypto/internal/fips140/aes/gcm\.`)},
	{"network: system calls, poller", regexp.MustCompile(`^(net|internal/poll|syscall)\.|^runtime\.netpoll`)},
	{"the rest of crypto/tls", regexp.MustCompile(`^crypto/tls\.`)},
	{ownPart, regexp.MustCompile(`^github\.com/cloudsqlconn/cloudsqlconn(/internal/\w+)?\.`)},
	{"scheduler, benchmark and the rest", regexp.MustCompile(``)},
}

const ownPart = "this library's own code"

// work is what is profiled.
type work struct {
	name    string
	subject subject
	n       int // operations
	run     func() error
}

// profiles says where the client's CPU time goes.
func profiles(ctx context.Context, r *run) error {
	var list []work
	for _, handshake := range []string{"full", "resumed"} {
		subjects, err := r.subjects(InstanceSpec{NoTickets: handshake == "full"})
		if err != nil {
			return err
		}
		defer closeAll(subjects)
		for _, s := range subjects {
			if s.Name() == peerName {
				continue
			}
			n := r.pick(500, 3000)
			list = append(list, work{handshake + " handshake", s, n, func() error {
				for range n {
					if err := dialOnce(ctx, s); err != nil {
						return err
					}
				}
				return nil
			}})
		}
		if handshake == "full" {
			continue
		}
		c, err := subjects[0].Dial(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := greet(c); err != nil {
			return err
		}
		buf, n := make([]byte, 16<<10), r.pick(256, 2048)
		list = append(list,
			work{"1 MiB up", subjects[0], n, func() error { return upload(c, buf, n*mib) }},
			work{"1 MiB down", subjects[0], n, func() error { return download(c, buf, n*mib) }})
	}
	r.section("Where the CPU goes", `Profiles (runtime/pprof) of the client's process, in µs of CPU for one operation: a Dial with the server's first byte and
Close, or one MiB in pieces of 16 KiB. A sample belongs to the first line that any function of its stack matches.`)
	tab := table{head: []string{""}}
	rows := make([][]string, len(parts)+1)
	rows[0] = []string{"all"}
	for i, p := range parts {
		rows[i+1] = []string{p.name}
	}
	var own []string
	for _, w := range list {
		shares, c, err := profiled(w)
		if err != nil {
			return err
		}
		tab.head = append(tab.head, w.name+", "+w.subject.Name())
		rows[0] = append(rows[0], digits(cpuOf(c)))
		for i, share := range shares {
			if parts[i].name == ownPart && w.subject.Name() == oursName {
				own = append(own, fmt.Sprintf("%.1f %% (%s)", 100*share, w.name))
			}
			rows[i+1] = append(rows[i+1], digits(share*cpuOf(c)))
		}
	}
	tab.rows = rows
	r.text("Of the CPU, this library's own code takes " + strings.Join(own, ", ") + ".")
	r.table(tab)
	return nil
}

// profiled returns what share of its CPU time each part takes.
func profiled(w work) (shares []float64, c cost, err error) {
	if c, err = measure(w.n, w.run); err != nil { // warms up, too
		return nil, c, err
	}
	var text bytes.Buffer
	if err := pprof.StartCPUProfile(&text); err != nil {
		return nil, c, err
	}
	c, err = measure(w.n, w.run)
	pprof.StopCPUProfile()
	if err != nil {
		return nil, c, err
	}
	p, err := profile.Parse(&text)
	if err != nil {
		return nil, c, err
	}
	shares = sharesOf(p)
	if shares == nil {
		return nil, c, fmt.Errorf("%s: no samples in %v of CPU", w.name, c.cpu*time.Duration(w.n))
	}
	return shares, c, nil
}

func sharesOf(p *profile.Profile) []float64 {
	counts, all := make([]float64, len(parts)), 0.0
	for _, s := range p.Sample {
		counts[partOf(s)] += float64(s.Value[0])
		all += float64(s.Value[0])
	}
	if all == 0 {
		return nil
	}
	for i := range counts {
		counts[i] /= all
	}
	return counts
}

func partOf(s *profile.Sample) int {
	for i, part := range parts {
		for _, l := range s.Location {
			for _, f := range l.Line {
				if part.match.MatchString(f.Function.Name) {
					return i
				}
			}
		}
	}
	return len(parts) - 1
}
