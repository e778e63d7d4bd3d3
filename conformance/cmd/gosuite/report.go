package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// printResult prints a failed or skipped test as soon as it is known.
func printResult(w io.Writer, r Result) {
	switch r.Outcome {
	case Passed:
		return
	case Skipped:
		fmt.Fprintf(w, "--- SKIP %s %s: %s\n", r.Setup, r.ID(), r.Why)
		return
	}
	fmt.Fprintf(w, "--- FAIL %s %s (%.1f s): %s\n", r.Setup, r.ID(), r.Duration.Seconds(), r.Why)
	for line := range strings.Lines(r.Tail) {
		fmt.Fprintf(w, "    %s", line)
	}
	fmt.Fprintln(w)
}

// printReport prints a table with a row for each setup and suite, what differs
// from the expected outcome, and, as the last line, the total.
func printReport(w io.Writer, results []Result, surprises []string) {
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "setup\tsuite\tpassed\tfailed\tskipped\tseconds")
	for len(results) > 0 {
		// Results come in groups of one setup and suite.
		n := 1
		for n < len(results) && results[n].Setup == results[0].Setup && results[n].Suite == results[0].Suite {
			n++
		}
		group := results[:n]
		var busy time.Duration
		for _, r := range group {
			busy += r.Duration
		}
		c := count(group)
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%.1f\n", group[0].Setup, group[0].Suite, c.Passed, c.Failed, c.Skipped, busy.Seconds())
		results = results[n:]
	}
	table.Flush()
	if len(surprises) > 0 {
		fmt.Fprintln(w, "\nNot as expected:")
		for _, s := range surprises {
			fmt.Fprintf(w, "  %s\n", s)
		}
	}
}

// printTotal prints the closing line.
func printTotal(w io.Writer, results []Result) {
	c := count(results)
	fmt.Fprintf(w, "\n%d passed, %d failed, %d skipped\n", c.Passed, c.Failed, c.Skipped)
}

// report is the layout of the JSON file.
type report struct {
	Beam    string   `json:"beam"`
	Go      string   `json:"go"`
	CPUs    int      `json:"cpus"`
	Counts  Counts   `json:"counts"`
	Results []Result `json:"results"`
}

// writeJSON writes all results to a file.
func writeJSON(file, beamVersion string, results []Result) error {
	text, err := json.MarshalIndent(report{
		Beam: beamVersion, Go: runtime.Version(), CPUs: runtime.NumCPU(),
		Counts: count(results), Results: results,
	}, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
