package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// systemd itself reads the unit, and has nothing to say about it: it passes over keys
// that it does not know, and values that it does not understand. Nothing is started.
func TestSystemdUnderstandsTheUnit(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("needs systemd-analyze, of the package systemd")
	}
	text, err := os.ReadFile(filepath.Join("deploy", "cloudsqlconn@.service"))
	if err != nil {
		t.Fatal(err)
	}
	verify := func(unit string) string {
		file := filepath.Join(t.TempDir(), "cloudsqlconn@.service")
		if err := os.WriteFile(file, []byte(unit), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", "--recursive-errors=no", file).CombinedOutput()
		if err != nil {
			return err.Error() + ": " + string(out)
		}
		if !strings.Contains(string(out), "cloudsqlconn@") {
			return "" // of this machine's units
		}
		return string(out)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	unit := strings.ReplaceAll(string(text), "/usr/local/bin/cloudsqlconn", self)
	if said := verify(unit); said != "" {
		t.Error(said)
	}
	for _, mistake := range [][2]string{{"ProtectClock=", "ProtectClok="}, {"Type=notify", "Type=notifies"}, {self, self + "x"}} {
		wrong := strings.Replace(unit, mistake[0], mistake[1], 1)
		if said := verify(wrong); wrong == unit || said == "" {
			t.Errorf("%s: it says nothing", mistake[1])
		}
	}
}
