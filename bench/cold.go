package bench

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	peer "cloud.google.com/go/cloudsqlconn"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// coldTask is what a child process does: NewDialer and one Dial, in a process
// that has done nothing before. Keys and connections are made once in a
// process, so that each sample needs one.
type coldTask struct {
	Subject string
	Target  target
	Key     *rsa.PrivateKey // nil: it makes its own
	ADC     bool            // NewDialer only, with Application Default Credentials

	// Bare and BareKey are for the subject bare.
	Bare    material
	BareKey *rsa.PrivateKey
}

// coldTimes is what the child has measured.
type coldTimes struct {
	NewDialer, Total, CPU time.Duration // Total and CPU include NewDialer
}

func coldChild(in io.Reader, out io.Writer) error {
	var task coldTask
	if err := json.NewDecoder(in).Decode(&task); err != nil {
		return err
	}
	if task.ADC {
		times, err := coldADC(task.Subject)
		return errors.Join(err, json.NewEncoder(out).Encode(times))
	}
	var times coldTimes
	cpu, start := cpuTime(), time.Now()
	s, err := coldSubject(task)
	if err != nil {
		return err
	}
	times.NewDialer = time.Since(start)
	if err := dialOnce(context.Background(), s); err != nil {
		return err
	}
	times.Total, times.CPU = time.Since(start), cpuTime()-cpu
	s.Close()
	return json.NewEncoder(out).Encode(times)
}

func coldSubject(task coldTask) (subject, error) {
	if task.Subject != bareName {
		return connector(task.Subject, task.Target, task.Key)
	}
	if err := coldFloor(task); err != nil {
		return nil, err
	}
	return bareOf(task.Bare, task.BareKey)
}

// coldFloor is what has to come before the handshake, whoever does it: a key,
// and one call of the API, which needs it. The other call can go beside it.
func coldFloor(task coldTask) (err error) {
	if task.Key == nil {
		if task.Key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return err
		}
	}
	_, err = fetchCert(task.Target, task.Key.Public())
	return err
}

func coldADC(name string) (times coldTimes, err error) {
	start := time.Now()
	switch name {
	case oursName:
		_, err = cloudsqlconn.NewDialer(context.Background())
	case peerName:
		_, err = peer.NewDialer(context.Background(), peer.WithBuiltInMetrics(false))
	}
	times.NewDialer = time.Since(start)
	if name == peerName {
		err = nil // it finds no credentials, and that is what takes its time
	}
	return times, err
}

func runCold(task coldTask, env ...string) (times coldTimes, err error) {
	cmd, err := child(roleCold)
	if err != nil {
		return times, err
	}
	cmd.Env = append(cmd.Env, env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return times, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return times, err
	}
	if err := cmd.Start(); err != nil {
		return times, err
	}
	err = errors.Join(json.NewEncoder(in).Encode(task), in.Close(), json.NewDecoder(out).Decode(&times))
	return times, errors.Join(err, cmd.Wait())
}

var connectorNames = []string{oursName, peerName}

// cold measures the first Dial of a process, and NewDialer.
func cold(_ context.Context, r *run) error {
	t, err := r.kit.add(InstanceSpec{Names: []string{r.nextInstance()}})
	if err != nil {
		return err
	}
	defer func() { _ = r.kit.setAPI(0, 0) }()
	m, err := fetchMaterial(t, r.key)
	if err != nil {
		return err
	}
	r.section("Cold Dial", `NewDialer, Dial and the server's first byte in a fresh process, in milliseconds of wall time. "Key made" is the usual
case; "key given" leaves out the making of the RSA key, whose time varies a lot. Google's makes its key inside NewDialer. Here "bare" is what
has to come one after the other, whoever does it: the key, one call of the API by net/http, and crypto/tls.`)
	tab := table{head: []string{"API call takes", "key", "", "NewDialer", "to the first byte", "CPU"}}
	var (
		groups []group
		lesson string
	)
	newDialer := map[string][]float64{}
	for _, delay := range []time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond} {
		if err := r.kit.setAPI(delay, 0); err != nil {
			return err
		}
		for _, key := range []*rsa.PrivateKey{nil, r.key} {
			costs, err := coldRounds(r, coldTask{Target: t, Key: key, Bare: m, BareKey: r.key})
			if err != nil {
				return err
			}
			kind := "made"
			if key != nil {
				kind = "given"
			}
			bars := group{name: fmt.Sprintf("API %d ms,\nkey %s", delay.Milliseconds(), kind)}
			for _, name := range subjectNames {
				first, total, cpu := coldFigures(costs[name])
				if key == nil {
					newDialer[name] = append(newDialer[name], first...)
				}
				row := []string{delay.String(), kind, name, with(spreadOf(first), "ms"), with(spreadOf(total), "ms"), with(spreadOf(cpu), "ms")}
				if name == bareName {
					row[3] = ""
				}
				tab.rows = append(tab.rows, row)
				bars.bars = append(bars.bars, bar{name, spreadOf(total)})
				var whole []cost
				for _, c := range costs[name] {
					whole = append(whole, cost{wall: c.Total, cpu: c.CPU})
				}
				r.lines(fmt.Sprintf("ColdDial/api=%v/key=%s", delay, kind), 1, map[string][]cost{name: whole})
			}
			groups = append(groups, bars)
			if delay == 50*time.Millisecond && key != nil {
				coldBar(r, costs)
				lesson = coldSentence(costs)
			}
		}
	}
	r.text(lesson)
	r.plot(barPlot{"cold", "Cold Dial: from NewDialer to the server's first byte", "ms", groups})
	r.table(tab)
	return newDialerAlone(r, newDialer)
}

// coldBar is about the Dials with a key given: the time of making one varies by
// more than all the rest takes.
func coldBar(r *run, costs map[string][]coldTimes) {
	over := make([]float64, len(costs[oursName]))
	for i := range over {
		over[i] = ms(costs[oursName][i].Total - costs[bareName][i].Total)
	}
	_, total, _ := coldFigures(costs[bareName])
	more := spreadOf(over)
	r.bar("cold Dial, API at 50 ms a call", "≤ one API round trip + what is left of key making + TLS",
		fmt.Sprintf("one round trip and TLS (bare: %s), and %+.1f (%+.1f–%+.1f) ms", with(spreadOf(total), "ms"), more.median, more.low, more.high),
		more.median <= 5)
}

// coldSentence is about the same Dials.
func coldSentence(costs map[string][]coldTimes) string {
	return sentenceOf("With an API at 50 ms a call and a key given, our time to the first byte", func(other string) spread {
		_, mine, _ := coldFigures(costs[oursName])
		_, theirs, _ := coldFigures(costs[other])
		return confidence(quotients(mine, theirs))
	}, peerName, bareName)
}

// coldFigures returns each figure by itself, in milliseconds.
func coldFigures(costs []coldTimes) (first, total, cpu []float64) {
	for _, c := range costs {
		first, total, cpu = append(first, ms(c.NewDialer)), append(total, ms(c.Total)), append(cpu, ms(c.CPU))
	}
	return first, total, cpu
}

func coldRounds(r *run, task coldTask) (map[string][]coldTimes, error) {
	all := map[string][]coldTimes{}
	for range r.pick(5, 21) {
		for _, task.Subject = range subjectNames {
			times, err := runCold(task)
			if err != nil {
				return nil, err
			}
			all[task.Subject] = append(all[task.Subject], times)
		}
	}
	return all, nil
}

// newDialerAlone also measures NewDialer with Application Default Credentials
// and a metadata server that accepts connections and says nothing.
func newDialerAlone(r *run, fresh map[string][]float64) error {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer silent.Close()
	home, err := os.MkdirTemp("", "cloudsqlconn-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(home)
	adc := map[string][]float64{}
	for range r.pick(2, 5) {
		for _, name := range connectorNames {
			times, err := runCold(coldTask{Subject: name, ADC: true},
				"GCE_METADATA_HOST="+silent.Addr().String(), "HOME="+home, "GOOGLE_APPLICATION_CREDENTIALS=")
			if err != nil {
				return err
			}
			adc[name] = append(adc[name], ms(times.NewDialer))
		}
	}
	r.section("NewDialer", "In a fresh process. The silent metadata server is one that accepts connections and never answers, with Application Default Credentials.")
	r.text(fmt.Sprintf("With a token source, ours returns after %s and Google's after %s.",
		with(spreadOf(fresh[oursName]), "ms"), with(spreadOf(fresh[peerName]), "ms")))
	tab := table{head: []string{"", "with a token source", "with a silent metadata server"}}
	for _, name := range connectorNames {
		tab.rows = append(tab.rows, []string{name, with(spreadOf(fresh[name]), "ms"), with(spreadOf(adc[name]), "ms")})
	}
	r.table(tab)
	mine, silentMine := spreadOf(fresh[oursName]), spreadOf(adc[oursName])
	r.bar("NewDialer", "< 1 ms, no network, no key made on the caller's time",
		fmt.Sprintf("%s; with a silent metadata server %s (Google's %s, %s)", with(mine, "ms"), with(silentMine, "ms"),
			with(spreadOf(fresh[peerName]), "ms"), with(spreadOf(adc[peerName]), "ms")),
		mine.median < 1 && silentMine.median < 1)
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }
