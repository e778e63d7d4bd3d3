package beamrunner

import (
	"context"
	"time"

	"github.com/summerbeam/summerbeam/fnapi/inproc"
	"github.com/summerbeam/summerbeam/runner"
)

// run hands the job to the runner, with workers of this process.
func (j *job) run(ctx context.Context) (*jobResult, error) {
	cfg := runner.Config{DataDir: j.dataDir, Store: j.store, MemoryBytes: j.memory}
	if j.drainAfter > 0 {
		drain := make(chan struct{})
		defer time.AfterFunc(j.drainAfter, func() { close(drain) }).Stop()
		cfg.Drain = drain
	}
	if j.change != nil {
		j.change(&cfg)
	}
	res, err := runner.RunEmbedded(ctx, cfg, j.name, j.pipeline, j.options, inproc.Workers{})
	return &jobResult{id: res.JobID, attempted: res.Attempted, committed: res.Committed}, err
}
