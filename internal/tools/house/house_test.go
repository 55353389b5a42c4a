package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const top = "../../.." // the module's folder

func TestTheHouseIsAsDrawn(t *testing.T) {
	t.Parallel()
	h, err := load(top)
	if err != nil {
		t.Fatal(err)
	}
	for _, broken := range h.broken() {
		t.Error(broken)
	}
	old, err := os.ReadFile(filepath.Join(top, page))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(old), "\r\n", "\n")
	drawn, err := h.into(text)
	if err != nil {
		t.Fatal(err)
	}
	if drawn != text {
		t.Errorf("the picture in %s is not current: go run ./internal/tools/house", page)
	}
}

// Each rule can be broken.
func TestBrokenRulesAreTold(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ who, whom, want string }{
		{"internal/hint", root, "internal/hint imports the root package"},
		{root, "cloudsqltest", "the root package needs cloudsqltest"},
		{"internal/door", "internal/refusal", "internal/door imports internal/refusal, and was to import nothing"},
		{"internal/admin", "internal/resolve", "internal/reach needs internal/refresh, which it must not know"},
	} {
		h, err := load(top)
		if err != nil {
			t.Fatal(err)
		}
		h[tt.who].imports = append(h[tt.who].imports, tt.whom)
		if tt.want == "internal/hint imports the root package" {
			h[root].imports = nil // or it would be a circle, which the compiler finds
		}
		if got := h.broken(); !slices.Contains(got, tt.want) {
			t.Errorf("%s imports %s: got %q, want %q", tt.who, tt.whom, got, tt.want)
		}
	}
	h, err := load(top)
	if err != nil {
		t.Fatal(err)
	}
	h["internal/race"].knows, h["driver/internal/heard"].knows = false, false
	h["driver/mysql"].code, h["driver/internal/heard"].code = 250, 250
	want := []string{
		"driver/mysql has 250 lines of code, and was to have at most 249",
		"the comment of driver/internal/heard does not say what it must not know",
		"the comment of internal/race does not say what it must not know",
	}
	if got := h.broken(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
