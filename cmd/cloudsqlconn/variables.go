package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

// variablePrefix begins the name of every variable that is a flag.
const variablePrefix = "CLOUDSQLCONN_"

// variableOf is the environment variable of a flag, such as CLOUDSQLCONN_TOKEN of
// token.
func variableOf(flagName string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(flagName, "-", "_"))
}

// fromEnvironment sets the flags that have a variable and were not given, and returns
// their names. Secrets are not seen there by other users.
func fromEnvironment(fs *flag.FlagSet) (map[string]bool, error) {
	given, set := map[string]bool{}, map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var errs []error
	fs.VisitAll(func(f *flag.Flag) {
		name := variableOf(f.Name)
		value := os.Getenv(name)
		if given[f.Name] || value == "" {
			return
		}
		set[f.Name] = true
		if err := fs.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("the variable %s: %w", name, err))
		}
	})
	return set, errors.Join(errs...)
}

// kubernetesVariable matches what Kubernetes sets for a service whose name begins
// with cloudsqlconn, in all pods of its namespace.
var kubernetesVariable = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT\w*|PORT_\d+_\w+)=|_PORT=\w+://`)

// strayVariables returns a warning for each variable, NAME=value, that has our prefix
// but is no command's flag, nor for the package: one that is misspelt would have no
// effect. It is no more than a warning, as other programs may share the environment.
func strayVariables(environ []string) []string {
	known := []string{variablePrefix + "EMULATOR_HOST"}
	for _, c := range commands {
		fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
		c.flags(&program{stdout: io.Discard, stderr: io.Discard}, fs)
		fs.VisitAll(func(f *flag.Flag) { known = append(known, variableOf(f.Name)) })
	}
	var warnings []string
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, variablePrefix) || value == "" || slices.Contains(known, name) || kubernetesVariable.MatchString(v) {
			continue
		}
		advice := "cloudsqlconn COMMAND -h lists the flags"
		if near := nearest(name, known); near != "" {
			advice = "did you mean " + near + "?"
		}
		warnings = append(warnings, "the variable "+name+" is not that of a flag, and has no effect; "+advice)
	}
	slices.Sort(warnings)
	return warnings
}

// nearest returns the name that word most likely stands for: the first one of those
// that take the fewest letters to put in, leave out or replace, two at most. It is ""
// if there is none.
func nearest(word string, names []string) string {
	best, least := "", 3
	for _, name := range names {
		if d := distance(word, name); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance is how many letters have to be put in, left out or replaced to make b of
// a: that of Levenshtein.
func distance(a, b string) int {
	row := make([]int, len(b)+1) // distances of the beginning of a from those of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
