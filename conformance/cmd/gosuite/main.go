// Gosuite runs the tests that Apache Beam wrote for its own Go runners against
// Summerbeam, against Prism, or against any Job API endpoint.
//
// The tests are those of the Beam release that this module depends on, read
// from the module cache and built unchanged. No list of tests is left out: the
// runner is called "universal" or "summerbeam", names for which Beam's suites
// hold no filters.
//
//	gosuite --mode served,embedded --store rocksdb,pebble
//	gosuite --mode prism
//	gosuite --endpoint localhost:8073
//
// Each test is a process of its own. The last line says how many tests passed,
// failed and were skipped. Without --expect any failure makes the exit code 1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// config is what the command line says.
type config struct {
	modes    []string
	stores   []string
	endpoint string
	binary   string
	run      *regexp.Regexp
	tests    string
	expect   string
	json     string
	timeout  time.Duration
	parallel int
	// memory and options tune our own runner, served and embedded.
	memory  string
	options []string
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("gosuite: ")
	cfg, err := parseFlags(os.Args[1:])
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ok, err := runAll(ctx, cfg, os.Stdout)
	stop()
	if err != nil {
		log.Fatal(err)
	}
	if !ok {
		os.Exit(1)
	}
}

func parseFlags(args []string) (config, error) {
	var cfg config
	fs := flag.NewFlagSet("gosuite", flag.ContinueOnError)
	mode := fs.String("mode", "served", "Comma-separated: served, embedded, prism.")
	store := fs.String("store", "pebble", "Comma-separated stores for served and embedded: rocksdb, pebble.")
	run := fs.String("run", "", "Run only tests whose suite/Test matches this expression.")
	fs.StringVar(&cfg.endpoint, "endpoint", "", "Job API endpoint of a runner that is already running; replaces --mode.")
	fs.StringVar(&cfg.binary, "summerbeam", "bin/summerbeam", "The server to start for the mode served.")
	fs.StringVar(&cfg.tests, "tests", "", "File that lists the tests to run, suite/Test a line (default: all).")
	fs.StringVar(&cfg.expect, "expect", "", "File that lists the tests that fail for now, `suite/Test reason` a line.")
	fs.StringVar(&cfg.json, "json", "", "File to write all results to.")
	fs.DurationVar(&cfg.timeout, "timeout", time.Minute, "Time one test may take.")
	fs.IntVar(&cfg.parallel, "parallel", runtime.NumCPU(), "Tests to run at the same time.")
	fs.StringVar(&cfg.memory, "memory", "", "Memory that Summerbeam may use for data, such as 8MiB.")
	options := fs.String("options", "", "Comma-separated pipeline options of Summerbeam's, such as `bundle_elements=1`.")
	if err := fs.Parse(args); err != nil {
		return cfg, err
	}
	if fs.NArg() > 0 {
		return cfg, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if cfg.parallel < 1 {
		return cfg, fmt.Errorf("--parallel is %d, must be 1 or more", cfg.parallel)
	}
	var err error
	if cfg.run, err = regexp.Compile(*run); err != nil {
		return cfg, fmt.Errorf("--run: %w", err)
	}
	if *options != "" {
		cfg.options = strings.Split(*options, ",")
	}
	cfg.modes = strings.Split(*mode, ",")
	cfg.stores = strings.Split(*store, ",")
	return cfg, nil
}

// runAll runs the suites on every setup and writes the report to out. It
// returns false when the outcome is not the expected one.
func runAll(ctx context.Context, cfg config, out io.Writer) (bool, error) {
	setups, err := setupsOf(cfg.modes, cfg.stores, cfg.endpoint)
	if err != nil {
		return false, err
	}
	expected, err := readTestList(cfg.expect)
	if err != nil {
		return false, err
	}
	selected, err := readTestList(cfg.tests)
	if err != nil {
		return false, err
	}
	b, err := newBuilder(ctx)
	if err != nil {
		return false, err
	}

	unlock, err := b.lock(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()

	var results []Result
	for _, setup := range setups {
		r, err := runSetup(ctx, cfg, b, setup, selected, out)
		if err != nil {
			return false, fmt.Errorf("%s: %w", setup, err)
		}
		results = append(results, r...)
	}
	if cfg.json != "" {
		if err := writeJSON(cfg.json, b.beamVersion, results); err != nil {
			return false, err
		}
	}
	// A test that was not run says nothing about the list of expected failures.
	complete := cfg.tests == "" && cfg.run.String() == ""
	surprises := expected.surprises(results, complete)
	printReport(out, results, surprises)
	printTotal(out, results)
	if len(expected) == 0 {
		return count(results).Failed == 0, nil
	}
	return len(surprises) == 0, nil
}

// runSetup builds the suites for one setup, starts its server if it has one,
// and runs the selected tests.
func runSetup(ctx context.Context, cfg config, b *builder, setup Setup, selected testList, out io.Writer) ([]Result, error) {
	binaries, err := b.suites(ctx, setup)
	if err != nil {
		return nil, err
	}
	tests, err := listTests(ctx, binaries)
	if err != nil {
		return nil, err
	}
	if tests, err = selectTests(tests, selected, cfg.run); err != nil {
		return nil, err
	}

	workDir := filepath.Join(b.cache, "runs", strings.ReplaceAll(setup.String(), "/", "-"))
	if err := os.RemoveAll(workDir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(workDir, 0o755); err != nil {
		return nil, err
	}
	target, err := startTarget(ctx, cfg, b, setup, workDir)
	if err != nil {
		return nil, err
	}
	defer target.stop()

	fmt.Fprintf(out, "=== %s: %d tests of Beam %s, output in %s\n", setup, len(tests), b.beamVersion, b.relative(workDir))
	return runTests(ctx, tests, runOptions{
		setup:    setup,
		flags:    target.flags,
		drain:    target.drain,
		workDir:  workDir,
		timeout:  cfg.timeout,
		grace:    10 * time.Second,
		parallel: cfg.parallel,
		done:     func(r Result) { printResult(out, r) },
		alive:    target.alive,
	})
}
