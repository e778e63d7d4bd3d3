package report_test

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/summerbeam/summerbeam/bench/internal/measure"
	"github.com/summerbeam/summerbeam/bench/internal/report"
)

var rewrite = flag.Bool("rewrite", false, "Write the golden files anew.")

// results have all that a report can show: medians of odd and even numbers of
// runs, a server's memory, a limit that was met, a failure, and no baseline.
func results() *measure.Results {
	run := func(sec float64) measure.Run {
		return measure.Run{Seconds: sec, CPU: sec * 1.5, Peak: int64(sec * 1e9), ProgramPeak: 1e8}
	}
	server := run(2)
	server.ServerPeak = 1_234e6
	return &measure.Results{
		Suite: "bench", Started: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), Command: "make bench",
		Machine: measure.Machine{CPU: "Some CPU", Cores: 2, Memory: 16e9, Kernel: "6.1", Go: "go1.26", Beam: "2.77.0", Commit: "abc1234", Load: "0.10"},
		Series: []measure.Series{
			{Workload: "startup", Peer: "embedded", Runs: []measure.Run{run(0.05)}},
			{Workload: "group", Records: 1_000_000, Peer: "embedded", Runs: []measure.Run{run(3), run(1), run(1.1)}},
			{Workload: "group", Records: 1_000_000, Peer: "served", Runs: []measure.Run{server, run(3)}},
			{Workload: "group", Records: 1_000_000, Peer: "prism", Runs: []measure.Run{run(22)}},
			{Workload: "state", Records: 50_000, Peer: "embedded", Runs: []measure.Run{run(2)}},
			{Workload: "state", Records: 50_000, Peer: "served", Runs: []measure.Run{{Error: "wrong result: sum is 1, want 2\nmore"}}},
			{Workload: "state", Records: 50_000, Peer: "prism", Runs: []measure.Run{{Over: "60 s", Seconds: 60.1, CPU: 30}}},
		},
	}
}

func TestGolden(t *testing.T) {
	r := results()
	var table strings.Builder
	for _, w := range []struct {
		name    string
		records int
	}{{"startup", 0}, {"group", 1_000_000}, {"state", 50_000}} {
		if err := report.Table(&table, r, w.name, w.records); err != nil {
			t.Fatal(err)
		}
	}
	var kafkaTable strings.Builder
	if err := report.KafkaTable(&kafkaTable, kafkaResults()); err != nil {
		t.Fatal(err)
	}
	for file, got := range map[string]string{
		"table.txt":  table.String(),
		"section.md": report.Section(r, "chart.svg"),
		"chart.svg":  report.Chart(r),
		"kafka.md":   report.KafkaSection(kafkaResults()),
		"kafka.txt":  kafkaTable.String(),
	} {
		path := filepath.Join("testdata", file)
		if *rewrite {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), got); d != "" {
			t.Errorf("%s (-want +got):\n%s", file, d)
		}
	}
}

// kafkaResults have medians, a peer without a kill, and one that failed.
func kafkaResults() *measure.Results {
	run := func(sec float64) measure.Run {
		return measure.Run{Seconds: sec, CPU: 2 * sec, BrokerCPU: sec, Peak: int64(sec * 1e8), Outputs: 5}
	}
	r := results()
	r.Suite, r.Command = "bench-kafka", "make bench-kafka"
	r.Peers = map[string]string{"pebble": "ours", "rocksdb": "ours, too", report.KafkaBaseline: "theirs "}
	r.Series = []measure.Series{
		{Workload: report.KafkaWhole, Records: 2_000_000, Peer: "pebble", Runs: []measure.Run{run(8), run(10), run(12)}},
		{Workload: report.KafkaWhole, Records: 2_000_000, Peer: "rocksdb", Runs: []measure.Run{run(8), {Error: "2 results are missing"}}},
		{Workload: report.KafkaWhole, Records: 2_000_000, Peer: report.KafkaBaseline, Runs: []measure.Run{run(30)}},
		{Workload: report.KafkaKilled, Records: 2_000_000, Peer: "pebble", Runs: []measure.Run{{FirstOutput: 1.5}}},
		{Workload: report.KafkaKilled, Records: 2_000_000, Peer: report.KafkaBaseline, Runs: []measure.Run{{Error: "a result came twice"}}},
	}
	return r
}

func TestChartIsXML(t *testing.T) {
	for name, r := range map[string]*measure.Results{"full": results(), "empty": {}} {
		d := xml.NewDecoder(strings.NewReader(report.Chart(r)))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
		}
	}
}

func TestReplace(t *testing.T) {
	const doc = "above\n<!-- begin a -->\nold\n<!-- end a -->\nbetween\n<!-- begin b -->\n<!-- end b -->\n"
	got, err := report.Replace(doc, "a", "new\n")
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Replace(doc, "old", "new", 1); got != want {
		t.Errorf("have %q, want %q", got, want)
	}
	for _, bad := range []string{"", "<!-- begin a -->\n", "<!-- end a -->\n<!-- begin a -->\n"} {
		if _, err := report.Replace(bad, "a", "x"); err == nil {
			t.Errorf("%q has no section and passes", bad)
		}
	}
}
