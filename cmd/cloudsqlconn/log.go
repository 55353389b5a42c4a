package main

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
)

// quietLevel is the least level of what a quiet program logs.
const quietLevel = slog.LevelWarn

// logFlags say what is logged, and how.
type logFlags struct {
	level *slog.Level // nil: the usual one
	quiet bool
	json  bool
}

func (f *logFlags) define(fs *flag.FlagSet) {
	fs.Func("log-level", "least `level` of what is logged: debug, info, warn or error (default info)", func(s string) error {
		f.level = new(slog.Level)
		return f.level.UnmarshalText([]byte(s))
	})
	fs.BoolVar(&f.quiet, "quiet", false, "log warnings and errors only, as -log-level warn")
	fs.Func("log-format", "`format` of the log: text or json (default text)", func(s string) error {
		f.json = s == "json"
		if !f.json && s != "text" {
			return fmt.Errorf("want text or json, got %q", s)
		}
		return nil
	})
}

func (f *logFlags) logger(w io.Writer) *slog.Logger {
	var o slog.HandlerOptions
	if f.level != nil {
		o.Level = *f.level
	} else if f.quiet {
		o.Level = quietLevel
	}
	if f.json {
		return slog.New(slog.NewJSONHandler(w, &o))
	}
	return slog.New(slog.NewTextHandler(w, &o))
}
