package engine

import (
	"sync/atomic"
	"time"
)

// progress counts what was applied. The loop writes it.
type progress struct {
	bundles, elements, retries, running atomic.Int64
	reported                            int64
}

// Progress is what a job has done so far.
type Progress struct {
	// Bundles and Elements are those applied, Retries the attempts that failed and were
	// made again, Running the bundles at work.
	Bundles, Elements, Retries, Running int64
}

// Progress returns how far the job is. Safe for concurrent use.
func (j *Job) Progress() Progress {
	p := &j.progress
	return Progress{p.bundles.Load(), p.elements.Load(), p.retries.Load(), p.running.Load()}
}

func (p *progress) applied(r *runningBundle) {
	p.bundles.Add(1)
	p.elements.Add(r.elements)
}

// report logs how far the job is, unless it stands where it stood.
func (j *Job) report() {
	p := j.Progress()
	if p.Bundles == j.progress.reported {
		return
	}
	j.progress.reported = p.Bundles
	j.info.Log.Info("progress", "bundles", p.Bundles, "elements", p.Elements, "running", len(j.running),
		"elapsed", time.Since(j.started).Round(time.Millisecond), "memory", j.keep.mem.usage())
}
