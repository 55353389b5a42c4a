package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// record is a line of the results file: what came of a scenario with a client.
// The file has all that the pictures are drawn from.
type record struct {
	Scenario, Client string
	result
}

// writeRecords writes the results of scenarios with all subjects, one JSON object a
// line.
func writeRecords(file string, rows []row) error {
	var b bytes.Buffer
	for _, r := range rows {
		for i, got := range r.results {
			line, err := json.Marshal(record{r.scenario.name, subjects[i].name, got})
			if err != nil {
				return err
			}
			b.Write(append(line, '\n'))
		}
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}

// readRecords reads what writeRecords has written. Each scenario has a line for
// each subject; rows are in the scenarios' order.
func readRecords(file string) ([]row, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	found := map[[2]string]result{}
	for dec := json.NewDecoder(bytes.NewReader(text)); ; {
		dec.DisallowUnknownFields()
		var r record
		if err := dec.Decode(&r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		found[[2]string{r.Scenario, r.Client}] = r.result
	}
	var rows []row
	for _, s := range scenarios {
		r := row{scenario: s}
		for _, sub := range subjects {
			key := [2]string{s.name, sub.name}
			got, ok := found[key]
			if !ok {
				return nil, fmt.Errorf("%s: nothing about %q", file, key)
			}
			delete(found, key)
			r.results = append(r.results, got)
		}
		rows = append(rows, r)
	}
	for key := range found {
		return nil, fmt.Errorf("%s: there is no %q", file, key)
	}
	return rows, nil
}
