package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/summerbeam/summerbeam/bench/internal/measure"
	"github.com/summerbeam/summerbeam/bench/shapes"
)

// shapeWorkload runs a shape and compares its counters with those of a right run.
func shapeWorkload(program string, shape shapes.Shape, size shapes.Size) measure.Workload {
	expect := sync.OnceValue(func() shapes.Counters { return shape.Expect(size) })
	return measure.Workload{
		Name: shape.Name, Does: shape.Does, Records: shape.Sources * size.Records, Program: program,
		Args: func(string) []string {
			args := []string{"--shape=" + shape.Name, fmt.Sprintf("--records=%d", size.Records), fmt.Sprintf("--keys=%d", size.Keys)}
			if size.Hot > 0 {
				args = append(args, fmt.Sprintf("--hot=%d", size.Hot))
			}
			return args
		},
		Check: func(stdout []byte, _ string) (measure.Said, error) {
			var r shapes.Report
			if err := json.Unmarshal(stdout, &r); err != nil {
				return measure.Said{}, fmt.Errorf("the program's output: %w", err)
			}
			if d := shapes.Diff(r.Counters, expect()); d != "" {
				return measure.Said{}, errors.New(d)
			}
			if shape.Sources == 0 && r.CPU == 0 {
				return measure.Said{}, nil // Start-up is that of the process.
			}
			return measure.Said{Seconds: r.Seconds, CPU: r.CPU}, nil
		},
	}
}

// otherPrograms are the peers that run programs which link nothing of ours.
var otherPrograms = []string{"served", "served-pebble", "served-durable", "prism", "prism-inprocess", "flink"}

// loadTests are Beam's own, unchanged, and so without a check. Their source
// costs more than any runner: they are here for the record.
func loadTests(built map[string]string, records int) []measure.Workload {
	source := fmt.Sprintf(`{"num_records": %d, "key_size": 10, "value_size": 90, "num_hot_keys": 0, "hot_key_fraction": 0, "initial_splits": 8}`, records)
	args := map[string][]string{
		"pardo":        {"--input_options=" + source, "--iterations=10", "--number_of_counters=1", "--number_of_counter_operations=1"},
		"group_by_key": {"--input_options=" + source, "--fanout=1", "--iterations=1"},
		"combine":      {"--input_options=" + source, "--fanout=1", "--top_count=20"},
		"cogbk":        {"--input_options=" + source, "--co_input_options=" + source, "--iterations=1"},
		"sideinput":    {"--input_options=" + source, "--access_percentage=100"},
	}
	var out []measure.Workload
	for _, name := range loadTestNames {
		out = append(out, measure.Workload{
			Name: "load/" + name, Does: "Beam's go/test/load/" + name, Records: records, Program: built[name],
			Args:  func(string) []string { return args[name] },
			Check: func([]byte, string) (measure.Said, error) { return measure.Said{}, nil },
			// The runner that runs embedded would have to be linked into them.
			Only: otherPrograms,
		})
	}
	return out
}

// wordcount counts the words of a directory's files with examples/wordcount.
func wordcount(program, dir string) measure.Workload {
	expect := sync.OnceValues(func() (map[string]int, error) { return countWords(dir) })
	return measure.Workload{
		Name: "wordcount", Does: "examples/wordcount of the Go distribution's source", Program: program,
		Args: func(out string) []string {
			return []string{"--input=" + dir, "--output=" + filepath.Join(out, "words.txt")}
		},
		Check: func(_ []byte, out string) (measure.Said, error) {
			want, err := expect()
			if err != nil {
				return measure.Said{}, err
			}
			return measure.Said{}, compareWords(filepath.Join(out, "words.txt"), want)
		},
		Only: append([]string{"embedded"}, otherPrograms...),
	}
}
