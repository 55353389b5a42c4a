package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// subjectNames is the order of tables and plots.
var subjectNames = []string{oursName, peerName, bareName}

// Report is what a run has found.
type Report struct {
	Quick  bool
	Before string // a commit; "": none
	Start  time.Time
	Took   time.Duration

	bars    [][]string
	reasons []string // why bars are missed
	body    strings.Builder
	raw     bytes.Buffer // in the format of go test -bench
	plots   []plotter    // in the sections
}

// Whether a bar is met.
const yes, no = "yes", "**no**"

// bar adds a line about a bar that DESIGN sets.
func (r *Report) bar(work, bar, measured string, met bool) {
	verdict := yes
	if !met {
		verdict = no
	}
	r.bars = append(r.bars, []string{work, bar, measured, verdict})
}

// unmeasured adds a line about a bar that this run cannot say anything about.
func (r *Report) unmeasured(work, bar, why string) {
	r.bars = append(r.bars, []string{work, bar, "not measured in this run: " + why, ""})
}

// reason says why a bar is missed.
func (r *Report) reason(text string) { r.reasons = append(r.reasons, text) }

func (r *Report) section(title, text string) {
	fmt.Fprintf(&r.body, "\n## %s\n\n%s\n", title, text)
}

func (r *Report) text(s string) { fmt.Fprintf(&r.body, "\n%s\n", s) }

// plotsFolder is the plots' folder as seen from the report.
const plotsFolder = "bench/plots"

// plot shows a plot here.
func (r *Report) plot(p plotter) {
	r.plots = append(r.plots, p)
	r.text(fmt.Sprintf("![%s](%s/%s.svg)", p.caption(), plotsFolder, p.file()))
}

// table is a table of the report.
type table struct {
	head []string
	rows [][]string
}

func (r *Report) table(t table) { fmt.Fprint(&r.body, "\n", t) }

// String returns the table in Markdown.
func (t table) String() string {
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(t.head)
	line(strings.Split(strings.Repeat("---|", len(t.head)-1)+"---", "|"))
	for _, row := range t.rows {
		line(row)
	}
	return b.String()
}

// figure is a column of a table of costs.
type figure struct {
	name, unit string
	of         func(cost) float64
}

// costTable adds a table: each subject's costs, and their ratios to bare.
func (r *Report) costTable(costs map[string][]cost, columns ...func(cost) float64) {
	r.costTableTo(bareName, subjectNames, costs, columns...)
}

// costTableTo adds a table: the costs of subjects, and their ratios to those of
// one of them.
func (r *Report) costTableTo(base string, names []string, costs map[string][]cost, columns ...func(cost) float64) {
	figures := []figure{{"wall", "µs", wallOf}, {"client CPU", "µs", cpuOf}, {"allocations", "", allocsOf}, {"allocated", "B", bytesOf}}[:len(columns)]
	t := table{head: []string{""}}
	for _, f := range figures {
		t.head = append(t.head, f.name, "÷ "+base)
	}
	for _, name := range names {
		c := costs[name]
		if c == nil {
			continue
		}
		row := []string{name}
		for i, f := range figures {
			row = append(row, with(spreadOf(values(c, columns[i])), f.unit), times(ratio(c, costs[base], columns[i])))
		}
		t.rows = append(t.rows, row)
	}
	r.table(t)
}

// lines adds results in the format of go test -bench, for benchstat.
func (r *Report) lines(name string, n int, costs map[string][]cost) {
	for _, subject := range slices.Concat(subjectNames, []string{beforeName, authProxyName, floorName}) {
		for _, c := range costs[subject] {
			fmt.Fprintf(&r.raw, "Benchmark%s/subject=%s %d %d ns/op %d cpu-ns/op %.0f B/op %.0f allocs/op\n",
				dashed(name), dashed(subject), n, c.wall.Nanoseconds(), c.cpu.Nanoseconds(), c.bytes, c.allocs)
		}
	}
}

// dashed is a name as benchstat takes it.
func dashed(name string) string {
	return strings.NewReplacer(" ", "-", `"`, "", "'s", "").Replace(name)
}

// times prints a ratio with its quartiles.
func times(s spread) string { return fmt.Sprintf("%.3f × (%.3f–%.3f)", s.median, s.low, s.high) }

// with prints a figure with its quartiles, to three digits.
func with(s spread, unit string) string {
	text := digits(s.median)
	if s.low != s.high {
		text += fmt.Sprintf(" (%s–%s)", digits(s.low), digits(s.high))
	}
	return strings.TrimSpace(text + " " + unit)
}

func digits(v float64) string {
	switch {
	case v >= 100 || v <= -100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10 || v <= -10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// Markdown returns the report.
func (r *Report) Markdown() string {
	var b strings.Builder
	kind, command := "full", "go run -C bench ./cmd/report"
	if r.Quick {
		kind, command = "quick", command+" -quick"
	}
	before := ""
	if r.Before != "" {
		command += " -before " + r.Before
		before = fmt.Sprintf("- \"%s\" is this library at the commit %s, built in this run.\n", beforeName, r.Before)
	}
	fmt.Fprintf(&b, `# Benchmarks

What this library costs, beside cloud.google.com/go/cloudsqlconn ("Google's") and beside crypto/tls alone with the same
certificates and the same verification ("bare"). Written by

`+"```sh\n%s\n```"+`

on %s, in %.0f minutes (a %s run).

- Machine: %s. It is shared: compare ratios, not times.
- Versions: %s.
%s- The emulated Cloud SQL (cloudsqltest) runs in a process of its own. CPU and allocations are those of the client's
  process alone (getrusage, runtime.MemStats).
- The subjects take turns within one process, in rounds. Figures are medians over the rounds with their quartiles;
  ratios are formed within each round. In the plots, bars and the figures on them are medians, and lines go from quartile
  to quartile.
- A sentence above a table calls a figure less or more than another only if the 95 %% interval of their ratio has no 1
  in it.
- Every sample is in bench/results.txt: `+"`benchstat -col /subject bench/results.txt`"+`. The same operations are ordinary
  benchmarks: `+"`go test -C bench -bench .`"+`

## Bars

`, command, r.Start.UTC().Format(time.DateOnly), r.Took.Minutes(), kind, machine(), strings.Join(versions(), ", "), before)
	met, missed := 0, 0
	for _, line := range r.bars {
		switch line[len(line)-1] {
		case yes:
			met++
		case no:
			missed++
		}
	}
	fmt.Fprintf(&b, "%d of %d that were measured are met.\n\n", met, met+missed)
	fmt.Fprint(&b, table{[]string{"work", "bar", "measured", "met"}, r.bars})
	for _, text := range r.reasons {
		fmt.Fprintf(&b, "\n%s\n", text)
	}
	b.WriteString(r.body.String())
	return b.String()
}

// Write writes BENCHMARKS.md into a folder, that of the repository usually, and
// the plots and the samples into its folder bench.
func (r *Report) Write(root string) error {
	plots := filepath.Join(root, plotsFolder)
	old, err := filepath.Glob(filepath.Join(plots, "*.svg"))
	if err != nil {
		return err
	}
	for _, name := range old { // this report may have other plots
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(plots, 0o755); err != nil {
		return err
	}
	for _, p := range r.plots {
		if err := save(p, filepath.Join(plots, p.file()+".svg")); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(root, "bench", "results.txt"), r.raw.Bytes(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, "BENCHMARKS.md"), []byte(r.Markdown()), 0o644)
}
