package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// testList maps suite/Test to the reason it is listed for.
type testList map[string]string

// readTestList reads a file of lines `suite/Test reason`. Empty lines and
// lines that begin with # are left out. No file is an empty list.
func readTestList(file string) (testList, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	list := testList{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, reason, _ := strings.Cut(line, " ")
		if strings.Count(id, "/") != 1 {
			return nil, fmt.Errorf("%s: %q does not begin with suite/Test", file, line)
		}
		if _, twice := list[id]; twice {
			return nil, fmt.Errorf("%s: %s is listed twice", file, id)
		}
		list[id] = strings.TrimSpace(reason)
	}
	return list, nil
}

// surprises compares results with a list of tests that are expected to fail.
// Each difference is one line: a test that fails without being listed, and a
// listed test that passes or, when the run was complete, was not run, so that
// the list can only shrink.
func (l testList) surprises(results []Result, complete bool) []string {
	if len(l) == 0 {
		return nil
	}
	var lines []string
	seen := map[string]bool{}
	for _, r := range results {
		seen[r.ID()] = true
		_, listed := l[r.ID()]
		switch {
		case r.Outcome == Failed && !listed:
			lines = append(lines, fmt.Sprintf("%s: %s failed and is not expected to", r.Setup, r.ID()))
		case r.Outcome != Failed && listed:
			lines = append(lines, fmt.Sprintf("%s: %s %s and is expected to fail: take it off the list", r.Setup, r.ID(), r.Outcome))
		}
	}
	if complete {
		for id := range l {
			if !seen[id] {
				lines = append(lines, fmt.Sprintf("%s is expected to fail, but there is no such test: take it off the list", id))
			}
		}
	}
	slices.Sort(lines)
	return lines
}
