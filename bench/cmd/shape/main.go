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
	"runtime/pprof"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/x/beamx"

	"github.com/summerbeam/summerbeam/bench/shapes"
	// Makes --runner=summerbeam known. The other runners come with beamx.
	_ "github.com/summerbeam/summerbeam/runner/beamrunner"
)

var (
	shapeName  = flag.String("shape", "group_by_key", "Pipeline to run.")
	records    = flag.Int("records", 1_000_000, "Records of each source.")
	keys       = flag.Int("keys", 100_000, "Different keys.")
	cpuProfile = flag.String("cpu_profile", "", "File for a CPU profile of this process (optional).")
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
	shape.Build(s, shapes.Size{Records: *records, Keys: *keys})

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
	return json.NewEncoder(os.Stdout).Encode(shapes.Report{Seconds: seconds, Counters: shapes.CountersOf(res.Metrics())})
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
