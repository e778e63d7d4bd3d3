package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/summerbeam/summerbeam/bench/internal/measure"
)

// Workloads of the Kafka benchmark, and the peer that others are compared with.
const (
	KafkaWhole    = "windowed_count"
	KafkaKilled   = "killed"
	KafkaBaseline = "kafka-streams"
)

// kafkaHead are the columns of the Kafka benchmark.
var kafkaHead = []string{"", "records/s (from - to)", "CPU us a record", "of the broker", "peak MB", "results", "after a kill, s",
	"throughput", "CPU", "memory"}

// kafkaRows are the cells, one row for each peer. The last three are ratios to the
// baseline, as many times better.
func kafkaRows(r *measure.Results) [][]string {
	var rows [][]string
	for _, s := range r.Series {
		if s.Workload == KafkaWhole {
			rows = append(rows, kafkaRow(r, s))
		}
	}
	return rows
}

func kafkaRow(r *measure.Results, s measure.Series) []string {
	row := make([]string, len(kafkaHead))
	row[0] = s.Peer
	first := ""
	if k, ok := r.Find(KafkaKilled, s.Records, s.Peer); ok {
		if k.Error() != "" {
			first = "failed"
		} else if v, ok := k.Of(measure.FirstOutput); ok {
			first = seconds(v.Median)
		}
	}
	row[6] = first
	if s.Error() != "" {
		row[1] = "failed"
		return row
	}
	t, ok := s.Of(measure.Seconds)
	if !ok {
		row[1] = "not run"
		return row
	}
	n := float64(s.Records)
	cpu, _ := s.Of(measure.CPU)
	broker, _ := s.Of(measure.BrokerCPU)
	peak, _ := s.Of(measure.Peak)
	outputs, _ := s.Of(measure.Outputs)
	row[1] = fmt.Sprintf("%.0f (%.0f - %.0f)", n/t.Median, n/t.Max, n/t.Min)
	row[2] = fmt.Sprintf("%.1f", cpu.Median/n*1e6)
	row[3] = fmt.Sprintf("%.1f", broker.Median/n*1e6)
	row[4] = megabytes(peak.Median)
	row[5] = fmt.Sprintf("%.0f", outputs.Median)
	base, ok := r.Find(KafkaWhole, s.Records, KafkaBaseline)
	if !ok || base.Error() != "" || s.Peer == KafkaBaseline {
		return row
	}
	for i, of := range []func(measure.Run) float64{measure.Seconds, measure.CPU, measure.Peak} {
		mine, _ := s.Of(of)
		if theirs, ok := base.Of(of); ok && mine.Median > 0 {
			row[7+i] = times(theirs.Median / mine.Median)
		}
	}
	return row
}

// KafkaTable writes the Kafka benchmark's results as text.
func KafkaTable(w io.Writer, r *measure.Results) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range slices.Concat([][]string{kafkaHead}, kafkaRows(r)) {
		fmt.Fprintln(tw, strings.Join(row, "\t")+"\t")
	}
	return tw.Flush()
}

// KafkaSection renders them as Markdown.
func KafkaSection(r *measure.Results) string {
	var b strings.Builder
	machine(&b, r)
	b.WriteString("\n\n")
	for _, s := range r.Series {
		if s.Workload == KafkaWhole {
			fmt.Fprintf(&b, "- `%s`: %s\n", s.Peer, strings.TrimSpace(r.Peers[s.Peer]))
		}
	}
	fmt.Fprintf(&b, "\n| %s |\n|%s\n", strings.Join(kafkaHead, " | "), strings.Repeat("---|", len(kafkaHead)))
	for _, row := range kafkaRows(r) {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
	}
	if errs := failures(r); errs != "" {
		b.WriteString("\n" + errs)
	}
	return b.String()
}
