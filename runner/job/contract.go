package job

import (
	"context"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/runner/engine"
)

// Engine is what the job service needs of the engine.
type Engine interface {
	// Prepare checks and compiles a pipeline. The error names, in one text, all
	// that is not supported, each reason with its transform. Nothing runs yet.
	// The caller may still set info.RetrievalToken until Run.
	Prepare(info *engine.JobInfo, p *pipepb.Pipeline) (Execution, error)
}

// Execution is one prepared job. Run is called at most once.
type Execution interface {
	// Run runs the job to its end: nil when it is done. When ctx ends, it stops
	// its workers and returns ctx's cause.
	Run(ctx context.Context) error
	// Drain asks the job to read no more and to end with what it has; Run then
	// returns nil. Safe to call at any time, before Run too.
	Drain()
	// Outlives says that the job goes on in another process if this one ends before it:
	// its files must stay then.
	Outlives() bool
	// Metrics returns the job's metrics so far, and after Run its final ones.
	// Safe to call at any time.
	Metrics() (attempted, committed []*pipepb.MonitoringInfo)
}
