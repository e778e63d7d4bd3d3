// Bench runs pipelines on Summerbeam and on other runners, checks their results
// and compares what they cost. `make bench` is the way to call it; see
// docs/benchmarks.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/summerbeam/summerbeam/bench/internal/measure"
	"github.com/summerbeam/summerbeam/bench/internal/peer"
	"github.com/summerbeam/summerbeam/bench/internal/report"
	"github.com/summerbeam/summerbeam/bench/shapes"
)

type flags struct {
	Suite      string        `default:"adhoc" help:"Name of what is run: of the JSON file, and of the section of the document."`
	Shapes     []string      `default:"all" help:"Shapes to run; all, or none."`
	Records    []int         `default:"1000000" help:"Records of each source."`
	Keys       int           `default:"100000" help:"Different keys."`
	Hot        int           `help:"How many records in a hundred have one and the same key."`
	Memory     string        `placeholder:"SIZE" help:"Memory for data of the peers served and embedded."`
	Peers      []string      `default:"embedded,served,prism,prism-inprocess,sdk-alone" help:"Runners to run on: embedded, served, served-pebble, served-durable, prism, prism-inprocess, flink, sdk-alone."`
	Also       []string      `help:"Further runners."`
	Repeat     int           `default:"3" help:"Runs of each workload on each runner, in turn."`
	Timeout    time.Duration `default:"60s" help:"Longest that a run may take. A runner that is over it isn't asked again."`
	MaxMemory  float64       `default:"0.6" help:"Greatest part of the machine's memory that a run may take."`
	Wordcount  string        `placeholder:"DIR" help:"Count the words of the files in this directory, too."`
	Load       bool          `help:"Beam's own load tests, too."`
	Summerbeam string        `default:"bin/summerbeam" help:"The server's program."`
	Cache      string        `default:".cache/bench" help:"Directory for programs, jars and JSON."`
	Document   string        `placeholder:"FILE" help:"Markdown document whose section of the suite is written anew, with a chart beside it."`
	Render     bool          `help:"Run nothing: only write the document from the suite's JSON."`
}

func main() {
	var f flags
	kong.Parse(&f, kong.Name("bench"), kong.Description("Compares Beam runners."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := f.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (f *flags) json() string { return filepath.Join(f.Cache, f.Suite+".json") }

func (f *flags) run(ctx context.Context) error {
	if f.Render {
		b, err := os.ReadFile(f.json())
		if err != nil {
			return err
		}
		var r measure.Results
		if err := json.Unmarshal(b, &r); err != nil {
			return fmt.Errorf("%s: %w", f.json(), err)
		}
		return f.write(&r)
	}
	programs, err := build(ctx, f)
	if err != nil {
		return err
	}
	known := peer.Known(peer.Programs{Summerbeam: f.Summerbeam, Memory: f.Memory, Prism: programs.prism, FlinkJars: filepath.Join(f.Cache, "flink")})
	peers, err := peer.Select(known, slices.Concat(f.Peers, f.Also))
	if err != nil {
		return err
	}
	workloads, err := f.workloads(programs)
	if err != nil {
		return err
	}
	r := &measure.Results{
		Suite: f.Suite, Started: time.Now(), Machine: measure.ThisMachine(), Command: f.command(),
		Peers: map[string]string{}, Does: map[string]string{},
	}
	for _, p := range peers {
		r.Peers[p.Name()] = p.Describe()
		fmt.Printf("%-16s %s\n", p.Name(), p.Describe())
	}
	fmt.Printf("%s, %d cores, %.0f GB, Linux %s, %s, Beam %s, load %s\n\n", r.Machine.CPU, r.Machine.Cores,
		float64(r.Machine.Memory)/1e9, r.Machine.Kernel, r.Machine.Go, r.Machine.Beam, r.Machine.Load)
	if err := f.measure(ctx, r, workloads, peers); err != nil {
		return err
	}
	if err := f.write(r); err != nil {
		return err
	}
	return failed(r)
}

func (f *flags) measure(ctx context.Context, r *measure.Results, workloads []measure.Workload, peers []peer.Peer) error {
	limits := measure.Limits{Time: f.Timeout, Memory: int64(f.MaxMemory * float64(measure.MemoryBytes()))}
	for _, w := range workloads {
		r.Does[w.Name] = w.Does
		tell := func(peer string, run measure.Run) {
			fmt.Printf("  %s on %s: %s\n", w.Name, peer, line(run))
		}
		series, err := measure.Alternate(ctx, w, peers, f.Repeat, limits, tell)
		r.Series = append(r.Series, series...)
		if err != nil {
			return err
		}
		if err := report.Table(os.Stdout, r, w.Name, w.Records); err != nil {
			return err
		}
		fmt.Println()
		// What there is stays if the next workload ends badly.
		if err := f.writeJSON(r); err != nil {
			return err
		}
	}
	return nil
}

func line(r measure.Run) string {
	switch {
	case r.Error != "":
		return "FAILED: " + r.Error
	case r.Over != "":
		return fmt.Sprintf("over %s, peak %.0f MB", r.Over, float64(r.Peak)/1e6)
	}
	return fmt.Sprintf("%.2f s, CPU %.2f s, peak %.0f MB", r.Seconds, r.CPU, float64(r.Peak)/1e6)
}

func (f *flags) write(r *measure.Results) error {
	if err := f.writeJSON(r); err != nil {
		return err
	}
	if f.Document == "" {
		return nil
	}
	doc, err := os.ReadFile(f.Document)
	if err != nil {
		return err
	}
	base := strings.TrimSuffix(f.Document, filepath.Ext(f.Document))
	chart := fmt.Sprintf("%s-%s.svg", base, f.Suite)
	out, err := report.Replace(string(doc), f.Suite, report.Section(r, filepath.Base(chart)))
	if err != nil {
		return fmt.Errorf("%s: %w", f.Document, err)
	}
	if err := os.WriteFile(chart, []byte(report.Chart(r)), 0o644); err != nil {
		return err
	}
	return os.WriteFile(f.Document, []byte(out), 0o644)
}

func (f *flags) writeJSON(r *measure.Results) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(f.json(), append(b, '\n'), 0o644)
}

// command is how the suite is run again.
func (f *flags) command() string {
	if f.Document != "" {
		return "make " + f.Suite
	}
	return "bench " + strings.Join(os.Args[1:], " ")
}

// failed makes wrong results of ours an error. Of other runners they are
// reported, and no reason to fail.
func failed(r *measure.Results) error {
	var errs []error
	for _, s := range r.Series {
		if e := s.Error(); e != "" {
			fmt.Printf("FAILED: %s on %s: %s\n", s.Workload, s.Peer, e)
			if strings.HasPrefix(s.Peer, "embedded") || strings.HasPrefix(s.Peer, "served") {
				errs = append(errs, fmt.Errorf("%s failed on %s", s.Workload, s.Peer))
			}
		}
	}
	return errors.Join(errs...)
}

func (f *flags) workloads(p programs) ([]measure.Workload, error) {
	var out []measure.Workload
	once := map[string]bool{}
	for _, records := range f.Records {
		for _, shape := range shapes.All {
			if !slices.Contains(f.Shapes, shape.Name) && !slices.Equal(f.Shapes, []string{"all"}) {
				continue
			}
			if shape.Sources == 0 && once[shape.Name] {
				continue
			}
			once[shape.Name] = true
			out = append(out, shapeWorkload(p.shape, shape, shapes.Size{Records: records, Keys: f.Keys, Hot: f.Hot}))
		}
	}
	for _, name := range f.Shapes {
		if _, err := shapes.ByName(name); err != nil && name != "all" && name != "none" {
			return nil, err
		}
	}
	if f.Wordcount != "" {
		out = append(out, wordcount(p.wordcount, f.Wordcount))
	}
	if f.Load {
		out = append(out, loadTests(p.load, f.Records[0])...)
	}
	return out, nil
}
