package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReport(t *testing.T) {
	served, prism := Setup{Mode: modeServed, Store: "pebble"}, Setup{Mode: modePrism}
	results := []Result{
		{Setup: served, Suite: "p", Test: "TestA", Outcome: Passed, Duration: time.Second},
		{Setup: served, Suite: "p", Test: "TestB", Outcome: Failed, Duration: time.Second / 2, Why: "exit status 1", Tail: "two\nlines"},
		{Setup: served, Suite: "q", Test: "TestA", Outcome: Passed},
		{Setup: prism, Suite: "q", Test: "TestA", Outcome: Skipped, Why: "no bucket"},
	}
	var out strings.Builder
	for _, r := range results {
		printResult(&out, r)
	}
	printReport(&out, results, []string{"a surprise"})
	printTotal(&out, results)
	want := `--- FAIL served/pebble p/TestB (0.5 s): exit status 1
    two
    lines
--- SKIP prism q/TestA: no bucket

setup          suite  passed  failed  skipped  seconds
served/pebble  p      1       1       0        1.5
served/pebble  q      1       0       0        0.0
prism          q      0       0       1        0.0

Not as expected:
  a surprise

2 passed, 1 failed, 1 skipped
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}

	file := filepath.Join(t.TempDir(), "new", "results.json")
	if err := writeJSON(file, "v2.77.0", results); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got report
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(results, got.Results); diff != "" {
		t.Error(diff)
	}
}
