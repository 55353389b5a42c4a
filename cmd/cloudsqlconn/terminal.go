package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// isTerminal reports whether a person reads f, and wants colours there: see
// https://no-color.org.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// results are the words of a report that have colours, as terminals number them.
var results = map[string]int{"ok": 32, "failed": 31, "FAILED": 31, "skipped": 90}

// coloured is a report with colours: its first line ends with a result, and its
// table has a column of them.
func coloured(report string) string {
	var b strings.Builder
	column := -1
	for line := range strings.Lines(report) {
		at := column
		switch {
		case b.Len() == 0:
			at = strings.LastIndexByte(line, ' ') + 1
		case column < 0:
			column = strings.Index(line, "RESULT")
		case line == "\n":
			column = len(report) // the table has ended
		}
		if at >= 0 && at < len(line) {
			word, _, _ := strings.Cut(strings.TrimSpace(line[at:]), " ")
			if colour, ok := results[word]; ok {
				line = fmt.Sprintf("%s\x1b[%dm%s\x1b[0m%s", line[:at], colour, word, line[at+len(word):])
			}
		}
		b.WriteString(line)
	}
	return b.String()
}

// showProgress shows every second on a terminal how long something has taken, until
// ctx ends, and then wipes it out.
func showProgress(ctx context.Context, w io.Writer, what string) {
	start, shown := time.Now(), false
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			fmt.Fprintf(w, "\r%s, %v", what, time.Since(start).Round(time.Second))
			shown = true
		case <-ctx.Done():
			if shown {
				fmt.Fprint(w, "\r\x1b[K")
			}
			return
		}
	}
}
