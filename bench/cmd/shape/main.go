// Shape runs one of the pipelines that runners are measured with. It links all
// runners that run in process, so that flags alone choose one:
//
//	shape --shape=group_by_key --records=1000000 --runner=summerbeam
//	shape --shape=group_by_key --records=1000000 --runner=prism
//	shape --shape=group_by_key --records=1000000 --runner=universal --endpoint=... --environment_type=LOOPBACK
//
// It prints one line of JSON, a Report.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/x/beamx"

	"github.com/summerbeam/summerbeam/bench/internal/alone"
	"github.com/summerbeam/summerbeam/bench/shapes"
	// Makes --runner=summerbeam known. The other runners come with beamx.
	_ "github.com/summerbeam/summerbeam/runner/beamrunner"
)

var (
	shapeName  = flag.String("shape", "group_by_key", "Pipeline to run.")
	records    = flag.Int("records", 1_000_000, "Records of each source.")
	keys       = flag.Int("keys", 100_000, "Different keys.")
	hot        = flag.Int("hot", 0, "How many records in a hundred have one and the same key.")
	cpuProfile = flag.String("cpu_profile", "", "File for a CPU profile of this process (optional).")
	sdkAlone   = flag.Bool("sdk_alone", false, "Run it embedded first, and measure what the Go SDK needs to execute the same bundles again, by itself.")
	memProfile = flag.String("mem_profile", "", "File for an allocation profile of this process (optional).")
)

func main() {
	flag.Parse()
	beam.Init()
	if err := run(context.Background()); err != nil {
		log.Fatalf("shape: %v", err)
	}
}

func run(ctx context.Context) error {
	shape, err := shapes.ByName(*shapeName)
	if err != nil {
		return err
	}
	p, s := beam.NewPipelineWithRoot()
	shape.Build(s, shapes.Size{Records: *records, Keys: *keys, Hot: *hot})
	if *sdkAlone {
		return runAlone(ctx, p)
	}

	stop, err := profile(*cpuProfile)
	if err != nil {
		return err
	}
	start := time.Now()
	res, err := beamx.RunWithMetrics(ctx, p)
	seconds := time.Since(start).Seconds()
	stop()
	if err != nil {
		return err
	}
	if err := writeAllocations(*memProfile); err != nil {
		return err
	}
	if res == nil {
		return fmt.Errorf("the runner has returned no metrics")
	}
	return print(shapes.Report{Seconds: seconds, Counters: shapes.CountersOf(res.Metrics())})
}

func print(r shapes.Report) error { return json.NewEncoder(os.Stdout).Encode(r) }

// runAlone reports how long the SDK takes with no runner. The counters are those of
// the recorded run.
func runAlone(ctx context.Context, p *beam.Pipeline) error {
	recording, err := alone.Record(ctx, p)
	if err != nil {
		return err
	}
	runtime.GC() // The recorded run's garbage is not the replay's.
	stop, err := profile(*cpuProfile)
	if err != nil {
		return err
	}
	defer stop()
	start, cpu := time.Now(), cpuTime()
	if err := recording.Replay(ctx); err != nil {
		return fmt.Errorf("executing the recorded bundles: %w", err)
	}
	return print(shapes.Report{
		Seconds: time.Since(start).Seconds(), CPU: (cpuTime() - cpu).Seconds(),
		Counters: shapes.CountersOf(*recording.Metrics),
	})
}

// cpuTime is what this process has used so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func profile(file string) (stop func(), err error) {
	if file == "" {
		return func() {}, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close()
	}, nil
}

func writeAllocations(file string) error {
	if file == "" {
		return nil
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return pprof.Lookup("allocs").WriteTo(f, 0)
}
