package bench

import (
	"bytes"
	"image/color"
	"math"
	"os"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	gonum "gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/cloudsqlconn/cloudsqlconn/internal/tools/look"
)

// colors are those of the subjects, in all plots.
var colors = map[string]color.Color{
	oursName:      look.Ours,
	peerName:      look.Google,
	authProxyName: look.Google,
	bareName:      look.Bare,
	floorName:     look.Bare,
	directName:    look.Direct,
}

// plotter is a plot of the report.
type plotter interface {
	file() string
	caption() string
	subjects() []string // as the legend has them
	draw(*plot.Plot) error
}

const (
	plotWidth, plotHeight = vg.Length(look.Width), 9 * vg.Centimeter
	legendHeight          = 0.8 * vg.Centimeter
)

// save writes p as SVG.
func save(p plotter, file string) error {
	plt := plot.New()
	for _, f := range []*font.Font{&plt.Title.TextStyle.Font, &plt.X.Label.TextStyle.Font, &plt.Y.Label.TextStyle.Font, &plt.X.Tick.Label.Font, &plt.Y.Tick.Label.Font} {
		f.Variant, f.Size = "Sans", look.TextSize
	}
	plt.Title.Text, plt.Title.Padding, plt.Title.TextStyle.Font.Size = p.caption(), 10, look.TitleSize
	if err := p.draw(plt); err != nil {
		return err
	}
	canvas := vgsvg.New(plotWidth, plotHeight)
	c := draw.New(canvas)
	c.SetColor(look.Page)
	c.Fill(c.Path())
	const margin = 0.3 * vg.Centimeter
	plt.BackgroundColor = nil
	plt.Draw(draw.Crop(c, margin, -margin, legendHeight, -margin))
	drawLegend(c, plt.X.Label.TextStyle, p.subjects())
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return err
	}
	// Few have the fonts that the sizes are computed with.
	svg := bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:"+look.Fonts))
	return os.WriteFile(file, svg, 0o644)
}

// drawLegend draws the subjects' names and colours in a line at the bottom.
func drawLegend(c draw.Canvas, style text.Style, subjects []string) {
	const box, gap = 10, 20
	style.XAlign, style.YAlign = draw.XLeft, draw.YCenter
	width := vg.Length(-gap)
	for _, s := range subjects {
		width += box + 4 + style.Width(s) + gap
	}
	x, y := (c.Min.X+c.Max.X-width)/2, c.Min.Y+legendHeight/2
	for _, s := range subjects {
		c.SetColor(colors[s])
		c.Fill(vg.Rectangle{Min: vg.Point{X: x, Y: y - box/2}, Max: vg.Point{X: x + box, Y: y + box/2}}.Path())
		c.FillText(style, vg.Point{X: x + box + 4, Y: y}, s)
		x += box + 4 + style.Width(s) + gap
	}
}

// bar is one subject's figure, and its quartiles.
type bar struct {
	subject string
	spread
}

// group is bars side by side.
type group struct {
	name string
	bars []bar
}

// barPlot is a plot of bars.
type barPlot struct {
	name, title, unit string
	groups            []group
}

func (p barPlot) file() string    { return p.name }
func (p barPlot) caption() string { return p.title }

func (p barPlot) subjects() (names []string) {
	for _, g := range p.groups {
		for _, b := range g.bars {
			if !slices.Contains(names, b.subject) {
				names = append(names, b.subject)
			}
		}
	}
	return names
}

func (p barPlot) draw(plt *plot.Plot) error {
	places := 0
	for _, g := range p.groups {
		places += len(g.bars) + 1 // with the space between groups
	}
	width := min(1.4*vg.Centimeter, 15*vg.Centimeter/vg.Length(places))
	var (
		ticks  plot.ConstantTicks
		labels gonum.XYLabels
		x, top float64
	)
	for _, g := range p.groups {
		ticks = append(ticks, plot.Tick{Value: x + float64(len(g.bars)-1)/2, Label: g.name})
		for _, b := range g.bars {
			if math.IsNaN(b.median) { // what this system does not tell
				x++
				continue
			}
			column, err := gonum.NewBarChart(gonum.Values{b.median}, width*9/10)
			if err != nil {
				return err
			}
			column.XMin, column.Color, column.LineStyle.Width = x, colors[b.subject], 0
			quartiles, err := gonum.NewYErrorBars(errorBar{x, b.spread})
			if err != nil {
				return err
			}
			quartiles.CapWidth = width / 4
			plt.Add(column, quartiles)
			labels.XYs = append(labels.XYs, gonum.XY{X: x, Y: b.high})
			labels.Labels = append(labels.Labels, digits(b.median))
			x, top = x+1, max(top, b.high)
		}
		x++
	}
	figures, err := gonum.NewLabels(labels)
	if err != nil {
		return err
	}
	for i := range figures.TextStyle {
		s := &figures.TextStyle[i]
		s.Font.Variant, s.Font.Size, s.XAlign, s.YAlign = "Sans", min(9, 9*width/vg.Centimeter+2), draw.XCenter, draw.YBottom
	}
	figures.Offset.Y = 2
	plt.Add(figures)
	plt.X.Tick.Marker, plt.X.Tick.Length, plt.X.Width = ticks, 0, 0
	plt.X.Min, plt.X.Max = -1, x-1
	plt.Y.Min, plt.Y.Max, plt.Y.Label.Text = 0, top*1.1, p.unit // the figures need the space
	return nil
}

// errorBar is a bar's quartiles as gonum wants them.
type errorBar struct {
	x float64
	spread
}

func (e errorBar) Len() int                    { return 1 }
func (e errorBar) XY(int) (x, y float64)       { return e.x, e.median }
func (e errorBar) YError(int) (low, h float64) { return e.median - e.low, e.high - e.median }

// barsOf is a group of one figure of the subjects' costs.
func barsOf(name string, names []string, costs map[string][]cost, pick func(cost) float64) group {
	g := group{name: name}
	for _, subject := range names {
		if c := costs[subject]; c != nil {
			g.bars = append(g.bars, bar{subject, spreadOf(values(c, pick))})
		}
	}
	return g
}

// barsFor is a group of figures.
func barsFor(name string, names []string, figures map[string]spread) group {
	g := group{name: name}
	for _, subject := range names {
		g.bars = append(g.bars, bar{subject, figures[subject]})
	}
	return g
}

// line is a subject's curve.
type line struct {
	subject string
	values  []float64
}

// linePlot is a plot of curves.
type linePlot struct {
	name, title, x, y string
	step              int // of the ticks of x
	lines             []line
}

func (p linePlot) file() string    { return p.name }
func (p linePlot) caption() string { return p.title }

func (p linePlot) subjects() (names []string) {
	for _, l := range p.lines {
		names = append(names, l.subject)
	}
	return names
}

func (p linePlot) draw(plt *plot.Plot) error {
	end := 0
	for _, l := range slices.Backward(p.lines) { // ours is above the others
		points := make(gonum.XYs, len(l.values))
		for x, y := range l.values {
			points[x] = gonum.XY{X: float64(x), Y: y}
		}
		curve, err := gonum.NewLine(points)
		if err != nil {
			return err
		}
		curve.Color, curve.Width = colors[l.subject], 1.5
		plt.Add(curve)
		end = max(end, len(l.values))
	}
	var ticks plot.ConstantTicks
	for x := 0; x <= end; x += p.step {
		ticks = append(ticks, plot.Tick{Value: float64(x), Label: strconv.Itoa(x)})
	}
	plt.X.Tick.Marker, plt.X.Max = ticks, float64(end)
	plt.Y.Min, plt.Y.Max = 0, math.Ceil(plt.Y.Max*1.05)
	plt.X.Label.Text, plt.Y.Label.Text = p.x, p.y
	return nil
}
