package main

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
)

// logFlags say what is logged, and how.
type logFlags struct {
	level slog.Level
	json  bool
}

func (f *logFlags) define(fs *flag.FlagSet) {
	fs.TextVar(&f.level, "log-level", slog.LevelInfo, "least `level` of what is logged: debug, info, warn or error")
	fs.BoolFunc("quiet", "log warnings and errors only, as -log-level warn", func(string) error {
		f.level = slog.LevelWarn
		return nil
	})
	fs.Func("log-format", "`format` of the log: text or json (default text)", func(s string) error {
		f.json = s == "json"
		if !f.json && s != "text" {
			return fmt.Errorf("want text or json, got %q", s)
		}
		return nil
	})
}

func (f *logFlags) logger(w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: f.level}
	if f.json {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
