package main

import (
	"bytes"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/dbserver"
)

// promised returns the output that README.md shows.
func promised(t *testing.T) []string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(readme), "```text\n")
	block, _, ok := strings.Cut(block, "```")
	if !ok {
		t.Fatal("README.md shows no output")
	}
	return strings.Split(strings.TrimSuffix(block, "\n"), "\n")
}

// alike reports whether two lines differ in numbers only.
func alike(a, b string) bool {
	digits := regexp.MustCompile(`\d+`)
	return digits.ReplaceAllString(a, "0") == digits.ReplaceAllString(b, "0")
}

func TestPrintsWhatREADMEPromises(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		args []string
	}{
		{"stand-in", []string{"-engine", "stand-in"}},
		{"postgres", []string{"-engine", "postgres"}},
		{"postgres with a password", []string{"-engine", "postgres", "-password", "it's secret", "-db", "shop"}},
		{"postgres with IAM login", []string{"-engine", "postgres", "-user", "app@my-project.iam.gserviceaccount.com", "-iam"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			err := run(t.Context(), tt.args, &out)
			missing := errors.Is(err, dbserver.ErrNotInstalled) || errors.Is(err, errors.ErrUnsupported)
			if missing && os.Getenv("CI") != "true" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			want := promised(t)
			got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			if len(got) != len(want) {
				t.Fatalf("got\n%s\nwant %d lines, as in README.md", out.String(), len(want))
			}
			for i := range want {
				if i == 0 && tt.name != "stand-in" {
					if !strings.HasPrefix(got[0], "engine       PostgreSQL ") {
						t.Errorf("got %q", got[0])
					}
					continue
				}
				if !alike(got[i], want[i]) {
					t.Errorf("got %q, README.md shows %q", got[i], want[i])
				}
			}
		})
	}
}

func TestRefusesUnknownEngines(t *testing.T) {
	t.Parallel()
	err := run(t.Context(), []string{"-engine", "oracle"}, new(bytes.Buffer))
	if err == nil || !strings.Contains(err.Error(), "want auto, postgres or stand-in") {
		t.Errorf("got %v", err)
	}
}
