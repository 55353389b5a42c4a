package main

import (
	"debug/buildinfo"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func TestBillsHaveAllModulesAndTheirLicences(t *testing.T) {
	program, err := os.Executable()
	wantNil(t, err)
	info, err := buildinfo.ReadFile(program)
	wantNil(t, err)
	type object = map[string]any
	module := func(path, version string) object {
		return object{"name": path, "version": version, "evidence": object{"licenses": []object{{"license": object{"id": "MIT"}}}}}
	}
	check := func(main object, components ...object) error {
		text, err := json.Marshal(object{"metadata": object{"component": main}, "components": components})
		wantNil(t, err)
		bill := filepath.Join(t.TempDir(), "bill")
		wantNil(t, os.WriteFile(bill, text, 0o644))
		return checkBill(bill, program)
	}
	main := module(info.Main.Path, info.Main.Version)
	all := []object{{"name": "std", "version": info.GoVersion}}
	for _, m := range info.Deps {
		all = append(all, module(m.Path, m.Version))
	}
	wantNil(t, check(main, all...))
	wantRefused(t, check(main, all[1:]...), "std "+info.GoVersion+" is missing")
	wantRefused(t, check(main, append(all, module("example.com/other", "v1.0.0"))...), "example.com/other v1.0.0 is not in the program")
	delete(main, "evidence")
	wantRefused(t, check(main, all...), info.Main.Path+" "+info.Main.Version+" has no licence")
}
