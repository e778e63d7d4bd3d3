package beamrunner

import (
	"context"
	"fmt"
	"time"

	"github.com/apache/beam/sdks/v2/go/container/tools"
	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/util/hooks"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/jobopts"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/summerbeam/summerbeam/fnapi/inproc"
	"github.com/summerbeam/summerbeam/runner"
)

// job is a pipeline ready for the embedded runner.
type job struct {
	name     string
	pipeline *pipepb.Pipeline
	options  *structpb.Struct
	// dataDir is empty for an ephemeral job.
	dataDir, store string
	// memory is in bytes, 0 for the default.
	memory int64
	// drainAfter is 0 for never.
	drainAfter time.Duration
	// change has the last word on the runner's configuration.
	change func(*runner.Config)
}

// jobResult is what the embedded runner gives back.
type jobResult struct {
	id                   string
	attempted, committed []*pipepb.MonitoringInfo
}

// newJob builds the pipeline's proto and options. No artifact goes with it: the
// worker is this program.
func newJob(ctx context.Context, p *beam.Pipeline) (*job, error) {
	edges, _, err := p.Build()
	if err != nil {
		return nil, fmt.Errorf("building the pipeline: %w", err)
	}
	env, err := graphx.CreateEnvironment(ctx, inproc.EnvironmentURN, func(context.Context) string { return "" })
	if err != nil {
		return nil, fmt.Errorf("building the pipeline: %w", err)
	}
	// The SDK makes a container's payload and a worker binary's slot for any URN.
	env.Payload, env.Dependencies = nil, nil
	pipeline, err := graphx.Marshal(edges, &graphx.Options{
		Environment:           env,
		PipelineResourceHints: jobopts.GetPipelineResourceHints(),
	})
	if err != nil {
		return nil, fmt.Errorf("building the pipeline: %w", err)
	}
	j := &job{name: jobopts.GetJobName(), pipeline: pipeline}
	if j.options, err = options(j.name); err != nil {
		return nil, fmt.Errorf("building the pipeline's options: %w", err)
	}
	return j, nil
}

// options are what the SDK's job clients send (runnerlib.Prepare).
func options(name string) (*structpb.Struct, error) {
	hooks.SerializeHooksToOptions()
	beam.PipelineOptions.LoadOptionsFromFlags(nil)
	return tools.OptionsToProto(runtime.RawOptionsWrapper{
		Options:     beam.PipelineOptions.Export(),
		Runner:      Name,
		AppName:     name,
		Experiments: append(jobopts.GetExperiments(), "beam_fn_api"),
		Parallelism: *jobopts.Parallelism,
	})
}
