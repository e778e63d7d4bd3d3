// Package beamrunner makes --runner=summerbeam known to Go pipelines:
//
//	import _ "github.com/summerbeam/summerbeam/runner/beamrunner"
//
// Without more, the pipeline runs embedded: in its own process, by its own DoFns,
// with no server and no gRPC. With --endpoint it is submitted to the server there,
// as the SDK's universal runner does it, and served back to by this process
// (LOOPBACK) unless --environment_type says otherwise.
//
// Flags of the embedded runner: --summerbeam_data_dir, --summerbeam_store,
// --summerbeam_memory, --summerbeam_drain_after, --summerbeam_replay. Those of [runner.Options] tune a job
// in either way. Durable jobs should have a --job_name: a job is found again by its
// name.
package beamrunner

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/metrics"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/metricsx"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/log"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/jobopts"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/vet"

	"github.com/summerbeam/summerbeam/runner"
)

// Name is the runner's.
const Name = "summerbeam"

var (
	dataDir = flag.String("summerbeam_data_dir", "",
		"Directory in which the embedded Summerbeam runner keeps jobs, so that a job started again by its name goes on "+
			"where it was (optional). Without it a job lives as long as its program, and the disk is only used for what doesn't fit in memory.")
	store = flag.String("summerbeam_store", "pebble",
		"State store of the embedded Summerbeam runner: pebble, or rocksdb in programs built with the tag rocksdb.")
	memory = flag.String("summerbeam_memory", "",
		"Memory for data in the embedded Summerbeam runner, such as 512MiB or 2GiB (optional).")
	replay = flag.String("summerbeam_replay", "",
		"Capsule of a bundle that has failed, to run in place of the pipeline, in this process: under a debugger, for instance (optional).")
	drainAfter = flag.Duration("summerbeam_drain_after", 0,
		"Time after which the embedded Summerbeam runner drains the job: it reads no more, lets what it has read flow out, and ends (optional).")
)

func init() {
	beam.RegisterRunner(Name, Execute)
	// What a pipeline's options are is the runner's business. The SDK sends all flags
	// that are set.
	runner.Options(func(name, help string) { flag.String(name, "", help) })
}

// Execute runs the pipeline and waits for its end. Its error holds what user
// code has said. The result is not nil if the job has got as far as having
// metrics, even if it failed.
func Execute(ctx context.Context, p *beam.Pipeline) (beam.PipelineResult, error) {
	return ExecuteWith(ctx, p, func(*runner.Config) {})
}

// ExecuteWith is Execute with a runner that change has had a hand in: for programs that
// register a runner of their own. Jobs that go to a server are none of change's.
func ExecuteWith(ctx context.Context, p *beam.Pipeline, change func(*runner.Config)) (beam.PipelineResult, error) {
	if !beam.Initialized() {
		return nil, errors.New("call beam.Init() at the start of main, before the pipeline is built")
	}
	if *replay != "" {
		return nil, replayCapsule(ctx, *replay, os.Stdout)
	}
	if *jobopts.Endpoint != "" {
		if *jobopts.EnvironmentType == "" {
			*jobopts.EnvironmentType = "LOOPBACK"
		}
		// The server must know which jobs end with their program, and which it can go on
		// with by itself.
		beam.PipelineOptions.Set("environment_type", *jobopts.EnvironmentType)
		return universal.Execute(ctx, p)
	}
	if *jobopts.Async {
		return nil, errors.New("--async needs a server to leave the job to (--endpoint): an embedded job ends with its program")
	}
	if *jobopts.Strict {
		if _, err := vet.Execute(ctx, p); err != nil {
			return nil, fmt.Errorf("strict mode: %w", err)
		}
	}
	bytes, err := parseBytes(*memory)
	if err != nil {
		return nil, fmt.Errorf("--summerbeam_memory: %w", err)
	}
	j, err := newJob(ctx, p)
	if err != nil {
		return nil, err
	}
	j.dataDir, j.store, j.memory, j.drainAfter = *dataDir, *store, bytes, *drainAfter
	j.change = change
	log.Infof(ctx, "Running job %v embedded in this process", j.name)
	res, err := j.run(ctx)
	if res == nil {
		if err == nil {
			err = errors.New("BUG: the embedded runner has returned nothing")
		}
		return nil, err
	}
	return result{id: res.id, metrics: metricsx.FromMonitoringInfos(j.pipeline, res.attempted, res.committed)}, err
}

// result is a beam.PipelineResult.
type result struct {
	id      string
	metrics *metrics.Results
}

func (r result) Metrics() metrics.Results { return *r.metrics }

func (r result) JobID() string { return r.id }
