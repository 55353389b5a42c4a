package main

import (
	"fmt"
	"html"
	"image/color"
	"math"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn/internal/tools/look"
)

// In points, from the left and the top.
const (
	plotLeft     = 66              // names are left of it
	plotRight    = look.Width - 46 // figures are right of it
	plotTop      = 48              // the first panel
	panelHead    = 18              // a panel's title
	laneHeight   = 15              // a client
	panelGap     = 6               // below a panel
	axisHeight   = 34              // its figures and its name
	legendHeight = 22              // at the bottom

	thick = 5 // a Dial's line
	cross = 5 // a Dial that fails
	dot   = 7 // one that works
	call  = 4 // the height of a call
)

// ticks are those of the axis, from end to end.
var ticks = []struct {
	at   millis
	name string
}{{1, "1 ms"}, {10, "10 ms"}, {100, "100 ms"}, {1000, "1 s"}, {10e3, "10 s"}, {60e3, "1 min"}}

// place is where a time is on the axis, to half a point. What is sooner than the
// axis begins is at its beginning.
func place(t millis) float64 {
	first, last := ticks[0].at, ticks[len(ticks)-1].at
	share := math.Log(float64(min(max(t, first), last)/first)) / math.Log(float64(last/first))
	return math.Round(2*(plotLeft+(plotRight-plotLeft)*share)) / 2
}

// svg is the picture of panels.
func (p *picture) svg(panels []panel) string {
	height := panelHead + laneHeight*len(subjects) + panelGap
	bottom := float64(plotTop + height*len(panels))
	var d drawing
	d.begin(bottom+axisHeight+legendHeight, p.title)
	for _, t := range ticks {
		x := place(t.at)
		d.path("grid", grid, 0.5, []string{fmt.Sprintf("M%.1f,%dV%.1f", x, plotTop-2, bottom)})
		d.text(x, plotTop-8, "middle", t.name)
		d.text(x, bottom+10, "middle", t.name)
	}
	d.text((plotLeft+plotRight)/2, bottom+24, "middle", "since the fault, or since the client was made (logarithmic)")
	for i, p := range panels {
		d.panel(float64(plotTop+height*i), p)
	}
	d.legend(bottom + axisHeight + legendHeight/2)
	d.WriteString("</svg>\n")
	return d.String()
}

var (
	grid  = color.RGBA{0xdd, 0xdd, 0xdd, 0xff}
	black = color.RGBA{A: 0xff}
)

// drawing is an SVG picture in the making.
type drawing struct{ strings.Builder }

func (d *drawing) begin(height float64, title string) {
	fmt.Fprintf(d, `<svg width="%[1]gpt" height="%[2]gpt" viewBox="0 0 %[1]g %[2]g" xmlns="http://www.w3.org/2000/svg" role="img" style="font-family:%[3]s;font-size:%[4]dpx">
<title>%[5]s</title>
<rect width="100%%" height="100%%" fill="%[6]s"/>
<text x="%[7]g" y="18" text-anchor="middle" style="font-size:%[8]dpx">%[5]s</text>
`, round(look.Width), height, look.Fonts, look.TextSize, html.EscapeString(title), hex(look.Page), round(look.Width/2), look.TitleSize)
}

func (d *drawing) text(x, y float64, anchor, text string) {
	fmt.Fprintf(d, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, html.EscapeString(text))
}

// path draws marks of one class by their outlines; nothing if there are none.
func (d *drawing) path(class string, c color.RGBA, width float64, marks []string) {
	if len(marks) == 0 {
		return
	}
	style := ""
	switch class {
	case "dial":
		style = ` stroke-opacity="0.35"`
	case "worked":
		style = ` stroke-linecap="round"`
	case "over":
		style = ` stroke-dasharray="2"`
	}
	fmt.Fprintf(d, "<path class=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"%g\"%s d=\"%s\"/>\n", class, hex(c), width, style, strings.Join(marks, ""))
}

// panel draws a scenario.
func (d *drawing) panel(top float64, p panel) {
	d.text(plotLeft, top+panelHead-5, "start", fmt.Sprintf("%d. %s", p.number, p.scenario.name))
	for i, r := range p.results {
		y := top + panelHead + laneHeight*(float64(i)+0.5)
		fmt.Fprintf(d, "<g>\n<title>%s</title>\n", html.EscapeString(laneName(p.scenario, subjects[i])))
		d.text(plotLeft-8, y+4, "end", subjects[i].name)
		d.path("grid", grid, 0.5, []string{fmt.Sprintf("M%d,%.1fH%.1f", plotLeft, y+1.5, round(plotRight))})
		d.lane(y, colorOf(i), r.Marks)
		figure := "not run"
		if r.ran() {
			figure = r.Marks.figure()
		}
		d.text(plotRight+8, y+4, "start", figure)
		d.WriteString("</g>\n")
	}
}

// laneName says whose lane of what it is.
func laneName(s scenario, sub subject) string { return s.name + ", " + sub.name }

// figure says when the first Dial worked, if one did.
func (m marks) figure() string {
	if at, ok := m.served(); ok {
		return figure(at.duration())
	}
	return "none"
}

// colorOf is the colour of a subject: ours is the first one.
func colorOf(subject int) color.RGBA {
	if subject == 0 {
		return look.Ours
	}
	return look.Google
}

// lane draws the marks of a client around y. Those that would cover each other are
// drawn once.
func (d *drawing) lane(y float64, c color.RGBA, m marks) {
	if m.Over > 0 {
		d.path("over", black, 1, []string{overAt(place(m.Over), y)})
	}
	var calls, dials, failed, worked once
	for _, t := range m.Calls {
		calls.add(callAt(place(t), y))
	}
	for _, s := range m.Failed {
		dials.add(dialAt(place(s[0]), place(s[1]), y))
		failed.add(failedAt(place(s[1]), y))
	}
	for _, s := range m.Worked {
		dials.add(dialAt(place(s[0]), place(s[1]), y))
		worked.add(workedAt(place(s[1]), y))
	}
	d.path("call", black, 1, calls.list)
	d.path("dial", c, thick, dials.list)
	d.path("failed", c, 1, failed.list)
	d.path("worked", c, dot, worked.list)
}

// once keeps each of the marks in a row that are different.
type once struct{ list []string }

func (o *once) add(mark string) {
	if n := len(o.list); n == 0 || o.list[n-1] != mark {
		o.list = append(o.list, mark)
	}
}

// The outlines of marks at a lane's y.
func callAt(x, y float64) string     { return fmt.Sprintf("M%.1f,%.1fv%d", x, y-6, call) }
func dialAt(x, to, y float64) string { return fmt.Sprintf("M%.1f,%.1fH%.1f", x, y+1.5, to) }
func failedAt(x, y float64) string {
	return fmt.Sprintf("M%.1f,%.1fm-%[3]g,-%[3]gl%[4]d,%[4]dm-%[4]d,0l%[4]d,-%[4]d", x, y+1.5, cross/2., cross)
}
func workedAt(x, y float64) string { return fmt.Sprintf("M%.1f,%.1fh0.01", x, y+1.5) }
func overAt(x, y float64) string {
	return fmt.Sprintf("M%.1f,%.1fv%d", x, y-laneHeight/2., laneHeight)
}

// legend explains colours and marks, in a line around y.
func (d *drawing) legend(y float64) {
	const letter = 4.9 // the width of a usual one
	x := 33.
	entry := func(width float64, name string, sign func()) {
		sign()
		d.text(x+width+4, y+4, "start", name)
		x += width + 4 + letter*float64(len(name)) + 12
	}
	box := func(c color.RGBA) func() {
		return func() {
			fmt.Fprintf(d, "<rect x=\"%.1f\" y=\"%.1f\" width=\"10\" height=\"10\" fill=\"%s\"/>\n", x, y-5, hex(c))
		}
	}
	entry(10, "ours", box(look.Ours))
	entry(10, "Google's", box(look.Google))
	entry(2, "API call", func() { d.path("call", black, 1, []string{callAt(x+1, y+4)}) })
	entry(14, "a Dial", func() { d.path("dial", look.Bare, thick, []string{dialAt(x, x+14, y-1.5)}) })
	entry(cross, "that fails", func() { d.path("failed", black, 1, []string{failedAt(x+cross/2., y-1.5)}) })
	entry(dot, "that works", func() { d.path("worked", black, dot, []string{workedAt(x+dot/2., y-1.5)}) })
	entry(2, "the fault ends", func() { d.path("over", black, 1, []string{overAt(x+1, y)}) })
}

// hex is a colour as SVG has it.
func hex(c color.RGBA) string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }

// round is a length to a hundredth.
func round(v float64) float64 { return math.Round(100*v) / 100 }
