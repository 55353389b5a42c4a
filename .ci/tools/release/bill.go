package main

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// cyclonedx is the program that lists what is in a program.
const cyclonedx = "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.9.0"

// biller writes bills of materials.
type biller struct {
	program string
	env     []string // finds this module where nobody has it yet: in the proxy of files
}

// newBiller installs what it needs in a folder.
func newBiller(dir, proxy string) (*biller, error) {
	b := &biller{filepath.Join(dir, "cyclonedx-gomod"), append(proxyEnv(proxy), "GOMODCACHE="+filepath.Join(dir, "modules"))}
	return b, run("", []string{"GOBIN=" + dir, "GOWORK=off"}, "go", "install", cyclonedx)
}

// close removes what the program has downloaded.
func (b *biller) close() error { return run("", b.env, "go", "clean", "-modcache") }

// write writes the bill of a program next to it, with the licence of each module, and
// returns its sum.
func (b *biller) write(version, file string) (sum string, err error) {
	bill := file + ".cdx.json"
	if err := run("", b.env, b.program, "bin", "-json", "-licenses", "-std", "-version", version, "-output", bill, file); err != nil {
		return "", err
	}
	// It takes the licence of golang.org/x/..., which names Google LLC, for a rarer one.
	err = edit(bill, func(text string) (string, error) {
		return strings.ReplaceAll(text, `"BSD-Source-Code"`, `"BSD-3-Clause"`), nil
	})
	if err != nil {
		return "", err
	}
	if err := checkBill(bill, file); err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Base(bill), err)
	}
	return sumOf(bill)
}

// component is what a bill says of a module.
type component struct {
	Name, Version string
	Evidence      struct{ Licenses []any }
}

// checkBill refuses a bill that does not have all modules of the program, each with
// a licence.
func checkBill(bill, file string) error {
	text, err := os.ReadFile(bill)
	if err != nil {
		return err
	}
	var listed struct {
		Metadata   struct{ Component component }
		Components []component
	}
	if err := json.Unmarshal(text, &listed); err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return err
	}
	wanted := map[string]bool{"std " + info.GoVersion: true, info.Main.Path + " " + info.Main.Version: true}
	for _, m := range info.Deps {
		wanted[m.Path+" "+m.Version] = true
	}
	for _, c := range append(listed.Components, listed.Metadata.Component) {
		module := c.Name + " " + c.Version
		if !wanted[module] {
			return fmt.Errorf("%s is not in the program", module)
		}
		delete(wanted, module)
		if c.Name != "std" && len(c.Evidence.Licenses) == 0 { // the tool looks for no licence of std
			return fmt.Errorf("%s has no licence", module)
		}
	}
	for module := range wanted {
		return fmt.Errorf("%s is missing", module)
	}
	return nil
}
