// Benchkafka compares a Beam pipeline on Summerbeam, embedded, with the same work in Kafka
// Streams: on one broker and one topic, in turn, with all results checked. `make
// bench-kafka` is the way to call it; see docs/benchmarks.md.
package main

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/summerbeam/summerbeam/bench/internal/measure"
	"github.com/summerbeam/summerbeam/bench/internal/report"
	"github.com/summerbeam/summerbeam/bench/kafka/clicks"
)

type flags struct {
	Suite    string        `default:"adhoc-kafka" help:"Name of what is run: of the JSON file, and of the section of the document."`
	Brokers  string        `required:"" help:"Broker on this machine; topics are made there."`
	PID      int           `required:"" help:"Process id of the broker."`
	Counts   string        `default:"bin/kafkacounts" help:"The Beam program."`
	Streams  string        `default:".cache/bench/streams" help:"Directory of the class path of the Kafka Streams program; empty: without it."`
	JVM      []string      `name:"jvm" help:"Options of the Kafka Streams program's JVM."`
	Flags    []string      `help:"Further flags of the Beam program."`
	Peers    []string      `default:"pebble,rocksdb,kafka-streams" help:"Who runs: pebble and rocksdb are Summerbeam with that store."`
	Records  int           `default:"2000000" help:"Records to read."`
	Users    int           `default:"100000" help:"Different users."`
	Span     time.Duration `default:"5m" help:"What event time the records are spread over."`
	Repeat   int           `default:"3" help:"Runs of each, in turn."`
	Kills    int           `default:"1" help:"Further runs of each that are killed in the middle, in turn."`
	Timeout  time.Duration `default:"5m" help:"Longest that a run may take."`
	Dir      string        `default:".cache/bench/kafka" help:"Directory for state, logs and JSON."`
	Document string        `placeholder:"FILE" help:"Markdown document whose section of the suite is written anew."`
}

func main() {
	var f flags
	kong.Parse(&f, kong.Name("benchkafka"), kong.Description("Compares Summerbeam with Kafka Streams."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := f.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "benchkafka:", err)
		os.Exit(1)
	}
}

func (f *flags) run(ctx context.Context) error {
	if err := os.MkdirAll(f.Dir, 0o755); err != nil {
		return err
	}
	peers, err := f.peers()
	if err != nil {
		return err
	}
	r := &measure.Results{
		Suite: f.Suite, Started: time.Now(), Machine: measure.ThisMachine(), Command: f.command(),
		Peers: map[string]string{}, Does: map[string]string{},
	}
	// Beam is in the program that is run, not in this one.
	info, err := buildinfo.ReadFile(f.Counts)
	if err != nil {
		return err
	}
	r.Machine.Beam = measure.BeamOf(info)
	for _, p := range peers {
		r.Peers[p.name] = p.describe
		fmt.Printf("%-14s %s\n", p.name, p.describe)
	}
	fmt.Printf("%s, %d cores, %.0f GB, Linux %s, %s, Beam %s, load %s\n", r.Machine.CPU, r.Machine.Cores,
		float64(r.Machine.Memory)/1e9, r.Machine.Kernel, r.Machine.Go, r.Machine.Beam, r.Machine.Load)
	size := clicks.Size{Records: f.Records, Users: f.Users, Span: f.Span}
	b := &bench{flags: f, counts: size.Counts()}
	if err := b.connect(ctx, size); err != nil {
		return err
	}
	defer b.close()
	fmt.Printf("%d records of %d users, %v of event time, make %d results\n\n", f.Records, f.Users, f.Span, b.counts.Len())
	if err := f.measure(ctx, b, r, peers); err != nil {
		return err
	}
	if err := f.write(r); err != nil {
		return err
	}
	return failed(r)
}

// measure runs all peers in turn, first to their ends and then with a kill.
func (f *flags) measure(ctx context.Context, b *bench, r *measure.Results, peers []peer) error {
	for _, w := range []struct {
		name, does string
		repeat     int
		once       func(context.Context, peer, string) (measure.Run, error)
	}{
		{report.KafkaWhole, "counts by user and minute, from the first record read to the last result committed", f.Repeat, b.whole},
		{report.KafkaKilled, "the same, killed with half of the results there, and started again", f.Kills, b.killed},
	} {
		r.Does[w.name] = w.does
		series := make([]measure.Series, len(peers))
		for i, p := range peers {
			series[i] = measure.Series{Workload: w.name, Records: f.Records, Peer: p.name}
		}
		for n := range w.repeat {
			for i, p := range peers {
				run, err := w.once(ctx, p, fmt.Sprintf("%s-%s-%d", w.name, p.name, n))
				if err != nil {
					return err
				}
				fmt.Printf("  %s, %s: %s\n", w.name, p.name, line(run, f.Records))
				series[i].Runs = append(series[i].Runs, run)
			}
		}
		r.Series = append(r.Series, series...)
	}
	fmt.Println()
	return report.KafkaTable(os.Stdout, r)
}

func line(r measure.Run, records int) string {
	if r.Error != "" {
		return "FAILED: " + r.Error
	}
	if r.FirstOutput > 0 {
		return fmt.Sprintf("first new output %.2f s after the start", r.FirstOutput)
	}
	n := float64(records)
	return fmt.Sprintf("%.2f s, %.0f records/s, CPU %.1f us a record and the broker's %.1f, peak %.0f MB, %d results",
		r.Seconds, n/r.Seconds, r.CPU/n*1e6, r.BrokerCPU/n*1e6, float64(r.Peak)/1e6, r.Outputs)
}

func (f *flags) write(r *measure.Results) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(f.Dir, f.Suite+".json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	if f.Document == "" {
		return nil
	}
	doc, err := os.ReadFile(f.Document)
	if err != nil {
		return err
	}
	out, err := report.Replace(string(doc), f.Suite, report.KafkaSection(r))
	if err != nil {
		return fmt.Errorf("%s: %w", f.Document, err)
	}
	return os.WriteFile(f.Document, []byte(out), 0o644)
}

// command is how the suite is run again.
func (f *flags) command() string {
	if f.Document != "" {
		return "make " + f.Suite
	}
	return "benchkafka " + strings.Join(os.Args[1:], " ")
}

// failed makes a wrong run an error, also of the other side: then there is nothing to
// compare with.
func failed(r *measure.Results) error {
	var errs []error
	for _, s := range r.Series {
		if e := s.Error(); e != "" {
			errs = append(errs, fmt.Errorf("%s on %s: %s", s.Workload, s.Peer, e))
		}
	}
	return errors.Join(errs...)
}
