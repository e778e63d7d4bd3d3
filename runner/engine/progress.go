package engine

import (
	"sync/atomic"
	"time"
)

// progress counts what was applied. The loop writes it.
type progress struct {
	bundles, elements, retries, running atomic.Int64
	late, letters                       atomic.Int64
	epochs, epochTime, epochBytes       atomic.Int64
	lastEpoch                           atomic.Int64 // ns since the Unix epoch
	undurable                           atomic.Int64 // the same; 0 if all is durable
	reported                            int64
}

// Progress is what a job has done so far.
type Progress struct {
	// Bundles and Elements are those applied, Retries the attempts that failed and were
	// made again, Running the bundles at work.
	Bundles, Elements, Retries, Running int64
	// Late counts elements that were dropped because they came too late.
	Late int64
	// DiskFull says that the job waits for room on its disk.
	DiskFull bool
	// DeadLetters counts elements that were put aside because they failed each time.
	DeadLetters int64
	// Epochs counts those written, in EpochTime altogether; EpochBytes is the size of
	// their batches. LastEpoch is when the last one was durable, zero if there is none.
	Epochs, EpochBytes int64
	EpochTime          time.Duration
	LastEpoch          time.Time
	// Undurable is when the oldest change was made that would be lost with the process,
	// zero if there is none.
	Undurable time.Time
}

// Progress returns how far the job is. Safe for concurrent use.
func (j *Job) Progress() Progress {
	p := &j.progress
	out := Progress{
		Bundles: p.bundles.Load(), Elements: p.elements.Load(), Retries: p.retries.Load(), Running: p.running.Load(), Late: p.late.Load(),
		DeadLetters: p.letters.Load(), DiskFull: j.disk.full.Load(),
		Epochs: p.epochs.Load(), EpochBytes: p.epochBytes.Load(), EpochTime: time.Duration(p.epochTime.Load()),
	}
	if at := p.lastEpoch.Load(); at != 0 {
		out.LastEpoch = time.Unix(0, at)
	}
	if at := p.undurable.Load(); at != 0 {
		out.Undurable = time.Unix(0, at)
	}
	return out
}

// noteDurability notes what would be lost with the process. The loop calls it.
func (j *Job) noteDurability() {
	at, ok := j.core.Undurable()
	if !ok {
		j.progress.undurable.Store(0)
		return
	}
	j.progress.undurable.Store(j.started.Add(at).UnixNano())
}

// wrote counts an epoch. Epochs without anything to write come here too.
func (p *progress) wrote(took time.Duration, bytes int) {
	if bytes == 0 {
		return
	}
	p.epochs.Add(1)
	p.epochTime.Add(int64(took))
	p.epochBytes.Add(int64(bytes))
	p.lastEpoch.Store(time.Now().UnixNano())
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
