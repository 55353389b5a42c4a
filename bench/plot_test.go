package bench

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Whatever the quartiles are, all that is drawn is within the picture: the end of
// an error bar, and the figure above it.
func TestPlotsKeepEverythingInside(t *testing.T) {
	t.Parallel()
	wide := func(name string) group {
		return group{name, []bar{{oursName, spread{10, 1, 400}}, {peerName, spread{100, 50, 1e4}}, {bareName, spread{5, 5, 5}}, {floorName, spread{math.NaN(), math.NaN(), math.NaN()}}}}
	}
	counts := make([]float64, 180)
	counts[55], counts[179] = 2000, 2000
	for _, p := range []plotter{
		barPlot{"bars", "One group", "ms", []group{wide("all")}},
		barPlot{"many", "Six groups", "ms", []group{wide("a"), wide("b"), wide("c"), wide("d"), wide("e"), wide("f,\nof two lines")}},
		linePlot{"lines", "Curves", "minutes", "calls", 30, []line{{oursName, make([]float64, 180)}, {peerName, counts}}},
	} {
		file := filepath.Join(t.TempDir(), p.file()+".svg")
		wantNil(t, save(p, file))
		svg, err := os.ReadFile(file)
		wantNil(t, err)
		texts, points := partsOfSVG(t, string(svg))
		if b, ok := p.(barPlot); ok { // a figure stands at the end of an error bar, and is left out where that is cut off
			for _, figure := range []string{"10.0", "100", "5.00"} {
				if n := strings.Count("\n"+texts, "\n"+figure+"\n"); n != len(b.groups) {
					t.Errorf("%s: %d times the figure %s", p.file(), n, figure)
				}
			}
		}
		for _, name := range p.subjects() {
			if !strings.Contains(texts, name) {
				t.Errorf("%s: no %q in the legend", p.file(), name)
			}
		}
		if len(points) < 20 {
			t.Errorf("%s: %d points", p.file(), len(points))
		}
		for _, pt := range points {
			if pt[0] < 0 || pt[0] > plotWidth.Points()+0.01 || pt[1] < 0 || pt[1] > plotHeight.Points()+0.01 {
				t.Errorf("%s: %v is outside", p.file(), pt)
			}
		}
	}
}

// partsOfSVG returns the texts of a plot, and the points of its paths and texts
// that are not turned, with y upwards.
func partsOfSVG(t *testing.T, svg string) (texts string, points [][2]float64) {
	t.Helper()
	var turned []bool // for each element that is open
	decoder := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return texts, points
		}
		wantNil(t, err)
		switch e := token.(type) {
		case xml.StartElement:
			attr := map[string]string{}
			for _, a := range e.Attr {
				attr[a.Name.Local] = a.Value
			}
			inside := len(turned) > 0 && turned[len(turned)-1]
			turned = append(turned, inside || strings.Contains(attr["transform"], "rotate"))
			switch {
			case turned[len(turned)-1]:
			case e.Name.Local == "text":
				points = append(points, [2]float64{number(t, attr["x"]), -number(t, attr["y"])})
			case e.Name.Local == "path":
				for _, pair := range strings.FieldsFunc(attr["d"], func(r rune) bool { return r == 'M' || r == 'L' || r == 'Z' }) {
					x, y, _ := strings.Cut(pair, ",")
					points = append(points, [2]float64{number(t, x), number(t, y)})
				}
			}
		case xml.EndElement:
			turned = turned[:len(turned)-1]
		case xml.CharData:
			texts += strings.TrimSpace(string(e)) + "\n"
		}
	}
}

func number(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	wantNil(t, err)
	return v
}
