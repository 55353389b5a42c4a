package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// picture is scenarios one below the other, on one axis of time.
type picture struct {
	file, title string
}

var (
	ofAPI      = &picture{"api", "The Admin API does not answer as it should"}
	ofInstance = &picture{"instance", "The instance is not, or not as, the client knows it"}
	pictures   = []*picture{ofAPI, ofInstance}
)

// The results and the folder of the pictures, as seen from INTEROP.md.
const (
	resultsFile   = "interop/results.jsonl"
	picturesInDir = "interop/plots"
)

// panel is a scenario in a picture, with its number in the table.
type panel struct {
	number int
	row
}

// panels are the scenarios of the picture that have been run.
func (p *picture) panels(rows []row) (list []panel) {
	for i, r := range rows {
		if r.scenario.picture == p && slices.ContainsFunc(r.results, result.ran) {
			list = append(list, panel{i + 1, r})
		}
	}
	return list
}

// takeaway says what the panels come to.
func takeaway(panels []panel) string {
	var ours, others tally
	for _, p := range panels {
		for i, r := range p.results {
			switch {
			case !r.ran():
			case i == 0:
				ours.add(r)
			default:
				others.add(r)
			}
		}
	}
	return fmt.Sprintf("Ours is served in %s. Google's clients are served in %s.", ours, others)
}

// tally is what came of several scenarios with several clients.
type tally struct {
	runs, served int
	slowest      time.Duration // of those that were served, until the first Dial worked
	fewest, most int           // calls
}

func (t *tally) add(r result) {
	if t.runs == 0 {
		t.fewest = r.Calls
	}
	t.runs++
	t.fewest, t.most = min(t.fewest, r.Calls), max(t.most, r.Calls)
	if at, ok := r.Marks.served(); ok && r.worked() {
		t.served++
		t.slowest = max(t.slowest, at.duration())
	}
}

func (t tally) String() string {
	text := fmt.Sprintf("%d of %d lanes", t.served, t.runs)
	if t.served > 0 {
		text += fmt.Sprintf(", after %s at the latest", figure(t.slowest))
	}
	if t.fewest == t.most {
		return text + fmt.Sprintf(", with %s of the Admin API in each", calls(t.most))
	}
	return text + fmt.Sprintf(", with %d to %s of the Admin API in each", t.fewest, calls(t.most))
}

// alt is the picture in words, for who does not see it.
func (p *picture) alt(panels []panel) string {
	var names []string
	for _, p := range panels {
		names = append(names, p.scenario.name)
	}
	return fmt.Sprintf("%s: for each client on an axis of time, its calls of the Admin API, and the Dials that fail and work. The scenarios: %s.", p.title, strings.Join(names, "; "))
}

// The lines of INTEROP.md that the section about the pictures begins with, and
// that come after it.
const (
	picturesTitle = "## When it happens"
	detailsTitle  = "## What happens in each"
)

// pictureSection is that section.
func pictureSection(rows []row) string {
	var b strings.Builder
	fmt.Fprintf(&b, `%s

The scenarios in which that differs. A lane is a client; its first dot is the first Dial that works, its marks above the line
are calls of the Admin API. The axis is logarithmic. %[2]sgo run -C interop ./cmd/scenarios -draw%[2]s draws this anew from the
results in [%[3]s](%[3]s).
`, picturesTitle, "`", resultsFile)
	for _, p := range pictures {
		if panels := p.panels(rows); len(panels) > 0 {
			fmt.Fprintf(&b, "\n%s\n\n![%s](%s/%s.svg)\n", takeaway(panels), p.alt(panels), picturesInDir, p.file)
		}
	}
	return b.String()
}

// withPictures returns a page in which the section about the pictures is another.
func withPictures(page, section string) (string, error) {
	before, rest, ok := strings.Cut(page, picturesTitle)
	_, after, closed := strings.Cut(rest, detailsTitle)
	if !ok || !closed {
		return "", fmt.Errorf("the page has no section %q before %q", picturesTitle, detailsTitle)
	}
	return before + section + "\n" + detailsTitle + after, nil
}

// drawAll writes the pictures into the folder of a page, root.
func drawAll(rows []row, root string) error {
	folder := filepath.Join(root, picturesInDir)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, p := range pictures {
		file := filepath.Join(folder, p.file+".svg")
		panels := p.panels(rows)
		if len(panels) == 0 {
			if err := os.RemoveAll(file); err != nil {
				return err
			}
			continue
		}
		if err := os.WriteFile(file, []byte(p.svg(panels)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// drawAgain draws the pictures from the results beside a page, and writes their
// section of it.
func drawAgain(page string) error {
	root := filepath.Dir(page)
	rows, err := readRecords(filepath.Join(root, resultsFile))
	if err != nil {
		return err
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	anew, err := withPictures(string(text), pictureSection(rows))
	if err != nil {
		return err
	}
	if err := os.WriteFile(page, []byte(anew), 0o644); err != nil {
		return err
	}
	return drawAll(rows, root)
}
