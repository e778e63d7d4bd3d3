package engine

import (
	"fmt"
	"iter"
	"sync"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
)

// bundleTimers are one bundle's part in its shard's timers: those that fire in it,
// and what it sets and clears. The methods of a nil *bundleTimers are those of a
// stage without timers.
type bundleTimers struct {
	stage *stageRun
	shard *shardTimers
	fired []*timer
	// over says that processing time has come to its end: see settle.
	over bool

	setMu sync.Mutex
	set   []TimerChunk // in order of arrival
}

// maxFired bounds the timers that fire in one bundle.
const maxFired = 10_000

// newBundleTimers takes the due timers out of the shard. The loop calls it.
func newBundleTimers(st *stageRun, shard *shardTimers, a core.RunBundle) *bundleTimers {
	return &bundleTimers{
		stage: st, shard: shard, fired: shard.take(a.Event, a.Processing, maxFired),
		over: a.Processing == core.MaxTime,
	}
}

// fire yields the fired timers, those that follow one another in one family together.
func (b *bundleTimers) fire() iter.Seq2[TimerChunk, error] {
	if b == nil || len(b.fired) == 0 {
		return nil
	}
	return func(yield func(TimerChunk, error) bool) {
		for i := 0; i < len(b.fired); {
			c := TimerChunk{TimerFamily: b.fired[i].family}
			for ; i < len(b.fired) && b.fired[i].family == c.TimerFamily; i++ {
				c.Data = append(c.Data, b.fired[i].data...)
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

// take notes what the bundle writes to a timer family's stream.
func (b *bundleTimers) take(transform, family string, data []byte) error {
	f := TimerFamily{Transform: transform, Family: family}
	if b == nil || b.stage.timerScans[f] == nil {
		return fmt.Errorf("transform %s: timers for family %q, which it has not declared", transform, family)
	}
	b.setMu.Lock()
	defer b.setMu.Unlock()
	b.set = append(b.set, TimerChunk{TimerFamily: f, Data: data})
	return nil
}

// giveBack undoes the bundle's start: it has failed.
func (b *bundleTimers) giveBack() {
	if b != nil {
		b.shard.restore(b.fired)
	}
}

// settle applies what the bundle did to the shard's timers, and sums them up for
// the core. Nothing is changed if it fails.
//
// When processing time is over, which is when a drained job has read all, its timers
// fire whatever they wait for. One that sets itself again when it fires, as they do
// that look for something now and then, would go on for ever. So what a key and window
// sets in that domain when a timer of that domain has fired for it is dropped.
func (b *bundleTimers) settle() (*core.Timers, error) {
	if b == nil {
		return nil, nil
	}
	type change struct {
		timer timer
		clear string
	}
	var changes []change
	for _, c := range b.set {
		err := readTimers(c.TimerFamily, b.stage.timerScans[c.TimerFamily], c.Data,
			func(t timer) { changes = append(changes, change{timer: t}) },
			func(id string) { changes = append(changes, change{clear: id}) })
		if err != nil {
			return nil, err
		}
	}
	ended := b.ended()
	for _, t := range b.fired {
		b.shard.clear(t.id)
	}
	for _, c := range changes {
		switch {
		case c.clear != "":
			b.shard.clear(c.clear)
		case len(ended) > 0 && c.timer.domain == processingTime && ended[b.stage.owner(&c.timer)]:
			b.shard.clear(c.timer.id)
		default:
			b.shard.set(c.timer)
		}
	}
	return b.shard.summary(), nil
}

// ended are the owners of timers in processing time that have fired at its end.
func (b *bundleTimers) ended() map[string]bool {
	if !b.over {
		return nil
	}
	owners := make(map[string]bool)
	for _, t := range b.fired {
		if t.domain == processingTime {
			owners[b.stage.owner(t)] = true
		}
	}
	return owners
}

// owner tells apart the transforms, keys and windows that have timers.
func (r *stageRun) owner(t *timer) string {
	var e coders.TimerElement
	// The bytes are ours, made of a timer that was read.
	if _, err := r.timerScans[t.family].scan.Next(t.data, &e); err != nil {
		panic(fmt.Errorf("BUG: timer %x: %w", t.data, err))
	}
	return string(appendPart(appendPart(appendPart(nil, t.family.Transform), e.Key), e.Windows))
}
