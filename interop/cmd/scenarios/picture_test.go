package main

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/tools/look"
)

const top = "../../.." // the repository

// checkedIn returns the results that are checked in, and INTEROP.md.
func checkedIn(t *testing.T) (rows []row, page string) {
	t.Helper()
	rows, err := readRecords(filepath.Join(top, resultsFile))
	if err != nil {
		t.Fatal(err)
	}
	return rows, textOf(t, filepath.Join(top, "INTEROP.md"))
}

// textOf is a file of text.
func textOf(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

// Each client has been put through each scenario, or there is a reason; and the
// results are those of the table.
func TestTheResultsAreThoseOfTheTable(t *testing.T) {
	t.Parallel()
	rows, page := checkedIn(t)
	for i, r := range rows {
		cells := regexp.MustCompile(fmt.Sprintf(`(?m)^\| %d \| %s \| (.*) \|$`, i+1, regexp.QuoteMeta(r.scenario.name))).FindStringSubmatch(page)
		if cells == nil {
			t.Errorf("the table has no line %d, %s", i+1, r.scenario.name)
			continue
		}
		for j, cell := range strings.Split(cells[1], " | ") {
			got := r.results[j]
			if !got.ran() {
				continue
			}
			if got.cell() != cell {
				t.Errorf("%s: the results have %q, the table %q", laneName(r.scenario, subjects[j]), got.cell(), cell)
			}
			checkMarks(t, laneName(r.scenario, subjects[j]), got)
		}
	}
}

// checkMarks checks that the marks of a result are what it counts.
func checkMarks(t *testing.T, name string, r result) {
	t.Helper()
	m := r.Marks
	// A Dial that only makes the scenario is a mark, and does not count.
	if len(m.Calls) != r.Calls || len(m.Worked) != r.Dials-r.Failed || len(m.Failed) < r.Failed || r.Dials == 0 {
		t.Errorf("%s: %d calls, %d Dials have failed, %d worked; the marks are %d, %d, %d",
			name, r.Calls, r.Failed, r.Dials-r.Failed, len(m.Calls), len(m.Failed), len(m.Worked))
	}
	const tenth = 100 * time.Microsecond // times are rounded
	for _, s := range m.Worked {
		if s[0] < 0 || s[1] < s[0] || s[1].duration() > r.Time+m.Over.duration()+tenth {
			t.Errorf("%s: a Dial works from %g ms to %g ms; the end is %v after %g ms", name, s[0], s[1], r.Time, m.Over)
		}
	}
}

func TestThePicturesAreThoseOfTheResults(t *testing.T) {
	t.Parallel()
	rows, page := checkedIn(t)
	if section := pictureSection(rows); !strings.Contains(page, section+"\n"+detailsTitle) {
		t.Errorf("INTEROP.md has another text about the pictures: -draw writes\n%s", section)
	}
	dir := t.TempDir()
	if err := drawAll(rows, dir); err != nil {
		t.Fatal(err)
	}
	drawn, there := svgsIn(t, dir), svgsIn(t, top)
	if len(drawn) == 0 || len(there) != len(drawn) {
		t.Errorf("there are %d pictures, and %d of the results", len(there), len(drawn))
	}
	for name, svg := range drawn {
		if there[name] != svg {
			t.Errorf("%s is not of the results: -draw draws it", name)
		}
	}
}

// svgsIn returns the pictures below a folder.
func svgsIn(t *testing.T, root string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, picturesInDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, file := range files {
		all[filepath.Base(file)] = textOf(t, file)
	}
	return all
}

// extremes are results with everything that a picture can have.
func extremes() (rows []row) {
	for _, s := range scenarios {
		r := row{scenario: s}
		for i := range subjects {
			m := marks{Over: millis(2000 * i), Calls: []millis{-0.1, 0, 0.4, 7, 44_999.9, 70_000}}
			for at := millis(0); at < 60_000; at += 49.3 {
				m.Failed = append(m.Failed, span{at, at + 49.2})
			}
			if i > 0 {
				m.Worked = []span{{0, 0.2}, {10_000, 60_123}, {70_000, 80_000}}
			}
			r.results = append(r.results, result{Dials: 1, Marks: m})
		}
		r.results[3] = result{Lacks: "a reason"}
		rows = append(rows, r)
	}
	return rows
}

// Each mark is a time of the results, and each time has a mark.
func TestEveryMarkIsInTheResults(t *testing.T) {
	t.Parallel()
	real, _ := checkedIn(t)
	for _, rows := range [][]row{real, extremes()} {
		for _, p := range pictures {
			panels := p.panels(rows)
			lanes := lanesOf(t, p.svg(panels))
			if len(lanes) != len(panels)*len(subjects) {
				t.Errorf("%s: %d lanes of %d scenarios", p.file, len(lanes), len(panels))
			}
			for _, panel := range panels {
				for i, r := range panel.results {
					name := laneName(panel.scenario, subjects[i])
					m := r.Marks
					var dials []millis
					for _, s := range slices.Concat(m.Failed, m.Worked) {
						dials = append(dials, s[:]...)
					}
					sameTimes(t, name+": calls", lanes[name]["call"], m.Calls)
					sameTimes(t, name+": Dials", lanes[name]["dial"], dials)
					sameTimes(t, name+": failed Dials", lanes[name]["failed"], ends(m.Failed))
					sameTimes(t, name+": working Dials", lanes[name]["worked"], ends(m.Worked))
					if m.Over > 0 {
						sameTimes(t, name+": the fault's end", lanes[name]["over"], []millis{m.Over})
					}
				}
			}
		}
	}
}

func ends(spans []span) (list []millis) {
	for _, s := range spans {
		list = append(list, s[1])
	}
	return list
}

// sameTimes checks that places on the axis are those of times, but for what is
// narrower than a line.
func sameTimes(t *testing.T, what string, drawn []float64, times []millis) {
	t.Helper()
	var want []float64
	for _, at := range times {
		share := math.Log10(min(max(float64(at), 1), 60_000)) / math.Log10(60_000)
		want = append(want, plotLeft+share*(plotRight-plotLeft))
	}
	near := func(list []float64, x float64) bool {
		return slices.ContainsFunc(list, func(other float64) bool { return math.Abs(other-x) <= 0.26 })
	}
	for _, x := range drawn {
		if !near(want, x) {
			t.Errorf("%s: a mark at %g, where the results have nothing", what, x)
		}
	}
	for i, x := range want {
		if !near(drawn, x) {
			t.Errorf("%s: no mark for %g ms", what, times[i])
		}
	}
}

var (
	starts = regexp.MustCompile(`M([0-9.]+),`)
	tos    = regexp.MustCompile(`H([0-9.]+)`)
)

// lanesOf returns, for each lane of a picture and each class of its marks, where
// they begin and end.
func lanesOf(t *testing.T, svg string) map[string]map[string][]float64 {
	t.Helper()
	type path struct {
		Class string `xml:"class,attr"`
		D     string `xml:"d,attr"`
	}
	var picture struct {
		Lanes []struct {
			Title string `xml:"title"`
			Paths []path `xml:"path"`
		} `xml:"g"`
	}
	if err := xml.Unmarshal([]byte(svg), &picture); err != nil {
		t.Fatal(err)
	}
	lanes := map[string]map[string][]float64{}
	for _, l := range picture.Lanes {
		lanes[l.Title] = map[string][]float64{}
		for _, p := range l.Paths {
			for _, m := range slices.Concat(starts.FindAllStringSubmatch(p.D, -1), tos.FindAllStringSubmatch(p.D, -1)) {
				lanes[l.Title][p.Class] = append(lanes[l.Title][p.Class], number(t, m[1]))
			}
		}
	}
	return lanes
}

func number(t *testing.T, text string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Whatever the results are, all marks and words are within the picture, and no
// words are upon others.
func TestPicturesKeepEverythingInside(t *testing.T) {
	t.Parallel()
	for _, p := range pictures {
		svg := p.svg(p.panels(extremes()))
		if svg != p.svg(p.panels(extremes())) {
			t.Errorf("%s: drawn otherwise the second time", p.file)
		}
		words, points := partsOf(t, svg)
		height := words[0].bottom // that of the picture
		for _, pt := range points {
			if pt[0] < plotLeft-cross || pt[0] > plotRight+cross || pt[1] < plotTop-cross || pt[1] > height {
				t.Errorf("%s: a mark at %v is outside", p.file, pt)
			}
		}
		words = words[1:]
		for i, a := range words {
			if a.left < 0 || a.right > look.Width || a.top < 0 || a.bottom > height {
				t.Errorf("%s: %+v is outside of %g", p.file, a, height)
			}
			for _, b := range words[i+1:] {
				if a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom {
					t.Errorf("%s: %+v is upon %+v", p.file, a, b)
				}
			}
		}
	}
}

// words are a text, and where it is; its width is estimated.
type words struct {
	text                     string
	left, right, top, bottom float64
}

// partsOf returns the texts of a picture, after its own size, and the points that
// its marks begin at.
func partsOf(t *testing.T, svg string) (texts []words, points [][2]float64) {
	t.Helper()
	begins := regexp.MustCompile(`M([0-9.]+),([0-9.]+)`)
	legend := math.Inf(1) // where marks are outside of the plot
	for dec := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return texts, points
		}
		if err != nil {
			t.Fatal(err)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		attr := map[string]string{}
		for _, a := range e.Attr {
			attr[a.Name.Local] = a.Value
		}
		switch e.Name.Local {
		case "svg":
			texts = append(texts, words{bottom: number(t, strings.TrimSuffix(attr["height"], "pt"))})
			legend = texts[0].bottom - legendHeight
		case "text":
			var text string
			if err := dec.DecodeElement(&text, &e); err != nil {
				t.Fatal(err)
			}
			x, y := number(t, attr["x"]), number(t, attr["y"])
			size := number(t, cmp.Or(strings.Trim(attr["style"], "font-size:px"), "10"))
			width := 0.52 * size * float64(len(text))
			left := map[string]float64{"start": x, "middle": x - width/2, "end": x - width}[attr["text-anchor"]]
			texts = append(texts, words{text, left, left + width, y - 0.75*size, y + 0.2*size})
		case "path":
			for _, m := range begins.FindAllStringSubmatch(attr["d"], -1) {
				if y := number(t, m[2]); y < legend {
					points = append(points, [2]float64{number(t, m[1]), y})
				}
			}
		}
	}
}

// A picture's sentence counts what its lanes show.
func TestTheTakeawayCountsLanes(t *testing.T) {
	t.Parallel()
	works := func(after millis, calls int) result {
		return result{Until: true, Dials: 1, Calls: calls, Marks: marks{Worked: []span{{0, after}}}}
	}
	none := result{Until: true, Dials: 1, Failed: 1, Calls: 888}
	for _, c := range []struct {
		panels []panel
		want   string
	}{
		{[]panel{
			{1, row{results: []result{works(12, 2), works(104, 0), none}}},
			{2, row{results: []result{works(2034, 4), {Lacks: "a reason"}, works(30_011, 2)}}},
		}, "Ours is served in 2 of 2 lanes, after 2.0 s at the latest, with 2 to 4 calls of the Admin API in each. Google's clients are served in 2 of 3 lanes, after 30.0 s at the latest, with 0 to 888 calls of the Admin API in each."},
		{[]panel{{1, row{results: []result{none, works(7, 1)}}}}, "Ours is served in 0 of 1 lanes, with 888 calls of the Admin API in each. Google's clients are served in 1 of 1 lanes, after 7 ms at the latest, with 1 call of the Admin API in each."},
	} {
		if got := takeaway(c.panels); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestRecordsAreReadAsWritten(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "results.jsonl")
	want := extremes()
	if err := writeRecords(file, want); err != nil {
		t.Fatal(err)
	}
	got, err := readRecords(file)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range got {
		if r.scenario.name != want[i].scenario.name || fmt.Sprint(r.results) != fmt.Sprint(want[i].results) {
			t.Errorf("%s: %v\nwas written, and %v read", want[i].scenario.name, want[i].results, r.results)
		}
	}
	if err := writeRecords(file, want[1:]); err != nil {
		t.Fatal(err)
	}
	if _, err := readRecords(file); err == nil || !strings.Contains(err.Error(), want[0].scenario.name) {
		t.Errorf("without %q: %v", want[0].scenario.name, err)
	}
}
