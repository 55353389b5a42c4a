package bench

import (
	"image/color"
	"os"

	"gonum.org/v1/plot"
	gonum "gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// plotter is a plot of the report.
type plotter interface {
	file() string
	caption() string
	draw(*plot.Plot) error
}

// save writes p as SVG.
func save(p plotter, file string) error {
	plt := plot.New()
	plt.Title.Text = p.caption()
	plt.BackgroundColor = color.White
	if err := p.draw(plt); err != nil {
		return err
	}
	canvas := vgsvg.New(18*vg.Centimeter, 9*vg.Centimeter)
	plt.Draw(draw.New(canvas))
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err := canvas.WriteTo(f); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// group is a bar and the quartiles on it.
type group struct {
	name string
	spread
}

// barPlot is a plot of bars.
type barPlot struct {
	name, title, unit string
	groups            []group
}

func (p barPlot) file() string    { return p.name }
func (p barPlot) caption() string { return p.title }

func (p barPlot) draw(plt *plot.Plot) error {
	var heights gonum.Values
	var names []string
	for _, g := range p.groups {
		heights, names = append(heights, g.median), append(names, g.name)
	}
	bars, err := gonum.NewBarChart(heights, 14*vg.Centimeter/vg.Length(2*len(heights)))
	if err != nil {
		return err
	}
	bars.Color = color.RGBA{0x4c, 0x78, 0xa8, 0xff}
	errorBars, err := gonum.NewYErrorBars(quartiles(p.groups))
	if err != nil {
		return err
	}
	plt.Add(bars, errorBars)
	plt.NominalX(names...)
	plt.X.Min, plt.X.Max = -0.6, float64(len(names))-0.4 // or the last name is cut off
	plt.X.Tick.Label.Font.Size = min(12, vg.Length(72/len(names)+2))
	plt.Y.Min, plt.Y.Label.Text = 0, p.unit
	return nil
}

// quartiles are groups as gonum wants them.
type quartiles []group

func (q quartiles) Len() int                { return len(q) }
func (q quartiles) XY(i int) (x, y float64) { return float64(i), q[i].median }
func (q quartiles) YError(i int) (low, h float64) {
	return q[i].median - q[i].low, q[i].high - q[i].median
}

// costPlot plots one figure of the subjects' costs.
func costPlot(name, title, unit string, costs map[string][]cost, pick func(cost) float64) barPlot {
	p := barPlot{name: name, title: title, unit: unit}
	for _, subject := range subjectNames {
		if c := costs[subject]; c != nil {
			p.groups = append(p.groups, group{subject, spreadOf(values(c, pick))})
		}
	}
	return p
}

// line is a curve.
type line struct {
	name   string
	values []float64
}

// linePlot is a plot of curves.
type linePlot struct {
	name, title, x, y string
	lines             []line
}

func (p linePlot) file() string    { return p.name }
func (p linePlot) caption() string { return p.title }

func (p linePlot) draw(plt *plot.Plot) error {
	colors := []color.Color{color.RGBA{0x4c, 0x78, 0xa8, 0xff}, color.RGBA{0xf5, 0x85, 0x18, 0xff}}
	for i, l := range p.lines {
		points := make(gonum.XYs, len(l.values))
		for x, y := range l.values {
			points[x] = gonum.XY{X: float64(x), Y: y}
		}
		curve, err := gonum.NewLine(points)
		if err != nil {
			return err
		}
		curve.Color = colors[i%len(colors)]
		plt.Add(curve)
		plt.Legend.Add(l.name, curve)
	}
	plt.Legend.Top = true
	plt.X.Label.Text, plt.Y.Label.Text = p.x, p.y
	return nil
}
