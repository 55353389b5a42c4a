package main

import (
	"fmt"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
)

// The page that has the picture, and the comments around it.
const (
	page  = "CONTRIBUTING.md"
	begin = "<!-- made by `go run ./internal/tools/house` -->\n"
	end   = "<!-- end of what was made -->\n"
)

// width is that of the picture.
const width = 110

// into puts the picture into a page.
func (h house) into(text string) (string, error) {
	before, rest, ok := strings.Cut(text, begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return "", fmt.Errorf("%s has no place for the picture: want the lines %q and %q", page, begin, end)
	}
	return before + begin + h.picture() + end + after, nil
}

// picture is the root package and all that it is made of, and a table of the packages.
func (h house) picture() string {
	var b strings.Builder
	ships := h.ships()
	b.WriteString("\n```text\n")
	for level := h[root].level; level >= 0; level-- {
		var names []string
		for _, r := range h.sorted(func(r *room) bool { return ships[r.name] && r.level == level }) {
			names = append(names, strings.TrimPrefix(r.name, "internal/"))
		}
		b.WriteString(row(level, names))
	}
	b.WriteString("```\n\n")
	h.table(&b, h.sorted(func(r *room) bool { return ships[r.name] && r.name != root }))
	b.WriteString("\nUnder the driver packages:\n\n")
	h.table(&b, h.sorted(ofDrivers))
	b.WriteString("\nNot part of the library:\n\n")
	h.table(&b, h.sorted(func(r *room) bool { return !ships[r.name] && strings.HasPrefix(r.name, "internal/") }))
	b.WriteByte('\n')
	return b.String()
}

// row is one level of the picture, in as many lines as it takes.
func row(level int, names []string) string {
	const indent = "   "
	line := fmt.Sprintf("%d  ", level)
	var lines []string
	for _, name := range names {
		box := "[" + name + "] "
		if len(line)+len(box) > width {
			lines = append(lines, line)
			line = indent
		}
		line += box
	}
	text := ""
	for _, line := range append(lines, line) {
		text += strings.TrimRight(line, " ") + "\n"
	}
	return text
}

func (h house) table(b *strings.Builder, rooms []*room) {
	b.WriteString("| package | | imports |\n|---|---|---|\n")
	for _, r := range rooms {
		var imports []string
		for _, name := range r.imports {
			imports = append(imports, strings.TrimPrefix(name, "internal/"))
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", r.name, r.says, strings.Join(imports, ", "))
	}
}

// comment is a package's comment, as one line.
func comment(dir string, files []string) (string, error) {
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, file), nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			return "", err
		}
		if text := f.Doc.Text(); text != "" {
			return strings.Join(strings.Fields(text), " "), nil
		}
	}
	return "", nil
}

// sentence is the first one of a package's comment, without the package's name and
// without the brackets of links.
func sentence(comment string) string {
	text := strings.TrimSuffix(new(doc.Package).Synopsis(comment), ".")
	if words := strings.SplitN(text, " ", 3); len(words) == 3 && (words[0] == "Package" || words[0] == "Command") {
		text = words[2]
	}
	return strings.NewReplacer("[", "", "]", "", "|", "\\|").Replace(text)
}
