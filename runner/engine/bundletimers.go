package engine

import (
	"fmt"
	"iter"
	"sync"

	"github.com/summerbeam/summerbeam/runner/engine/core"
)

// bundleTimers are one bundle's part in its shard's timers: those that fire in it,
// and what it sets and clears. The methods of a nil *bundleTimers are those of a
// stage without timers.
type bundleTimers struct {
	stage *stageRun
	shard *shardTimers
	fired []*timer

	setMu sync.Mutex
	set   []TimerChunk // in order of arrival
}

// maxFired bounds the timers that fire in one bundle.
const maxFired = 10_000

// newBundleTimers takes the due timers out of the shard. The loop calls it.
func newBundleTimers(st *stageRun, shard *shardTimers, a core.RunBundle) *bundleTimers {
	return &bundleTimers{stage: st, shard: shard, fired: shard.take(a.Event, a.Processing, maxFired)}
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
	for _, t := range b.fired {
		b.shard.clear(t.id)
	}
	for _, c := range changes {
		if c.clear != "" {
			b.shard.clear(c.clear)
		} else {
			b.shard.set(c.timer)
		}
	}
	return b.shard.summary(), nil
}
