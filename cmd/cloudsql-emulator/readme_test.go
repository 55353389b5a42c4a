//go:build linux

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/cloudsqlconn/cloudsqlconn/internal/emulator"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }

// readme returns README.md's blocks of code, with continued lines made one.
func readme(t *testing.T) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?ms)^```\\w+\n(.*?)^```$").FindAllSubmatch(text, -1) {
		blocks = append(blocks, strings.ReplaceAll(string(block[1]), "\\\n", ""))
	}
	return blocks
}

// try runs the program until it has started, or has failed to, away from the
// addresses that another emulator may use.
func try(t *testing.T, args ...string) (code int, output string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	code = emulator.Run(ctx, append(args, "-listen", "127.0.0.1:0", "-control", "none"), &out, &out, nil)
	return code, out.String()
}

func TestReadmeCommandsAreUnderstood(t *testing.T) {
	t.Parallel()
	blocks := readme(t)
	file := filepath.Join(t.TempDir(), "emulator.yaml")
	for _, block := range blocks {
		if strings.Contains(block, "instances:\n") {
			if err := os.WriteFile(file, []byte(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	found := 0
	command := regexp.MustCompile(`cloudsql-emulator(?:"|@latest)? +(-[^>&#\n]*)`)
	for _, match := range command.FindAllStringSubmatch(strings.Join(blocks, "\n"), -1) {
		found++
		args := strings.Fields(strings.ReplaceAll(match[1], "/emulator.yaml", file))
		code, output := try(t, args...)
		if code == 2 || code != 0 && strings.Contains(match[1], "127.0.0.1") {
			t.Errorf("%s: exit code %d\n%s", match[1], code, output)
		}
	}
	if found != 4 {
		t.Errorf("%d commands, want 4", found)
	}
}

func TestReadmeAddressesAreTheDefaults(t *testing.T) {
	t.Parallel()
	_, usage := try(t, "-h")
	addresses := regexp.MustCompile(`http://(127\.0\.0\.1:\d+)`).FindAllStringSubmatch(strings.Join(readme(t), "\n"), -1)
	if len(addresses) == 0 {
		t.Error("no address")
	}
	for _, a := range addresses {
		if !strings.Contains(usage, "(default "+a[1]+")") {
			t.Errorf("%s is no default:\n%s", a[0], usage)
		}
	}
}

func TestReadmeWorkflowIsYAML(t *testing.T) {
	t.Parallel()
	found := false
	for _, block := range readme(t) {
		if !strings.HasPrefix(block, "services:") {
			continue
		}
		found = true
		var job struct {
			Services map[string]struct {
				Image, Options string
				Env            map[string]string
				Ports          []string
			}
			Steps []struct {
				Uses, Run string
				With      map[string]string
			}
		}
		d := yaml.NewDecoder(strings.NewReader(block))
		d.KnownFields(true)
		if err := d.Decode(&job); err != nil {
			t.Error(err)
		}
		if len(job.Steps) == 0 || len(job.Services) == 0 {
			t.Error("no steps, or no services")
		}
		for i, step := range job.Steps {
			if (step.Uses == "") == (step.Run == "") {
				t.Errorf("step %d has to use or to run something", i+1)
			}
		}
	}
	if !found {
		t.Error("no workflow")
	}
}
