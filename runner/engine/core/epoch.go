package core

import (
	"fmt"
	"time"
)

// epochState tracks what has been applied since the last epoch was frozen. There
// is at most one frozen layer: the next freeze waits until it is durable.
type epochState struct {
	last    uint64 // number of the last epoch frozen
	writing bool
	// changed since the last freeze, when first, and the bytes of state.
	changed bool
	since   time.Duration
	bytes   int64
	// ended says that a stage has ended since.
	ended bool
	// cut is the last block of the layer that is being written, began when its first
	// change was made.
	cut   uint64
	began time.Duration
	// finalizers of bundles applied since the last freeze, and those of the layer
	// that is being written.
	finalizers, frozen []BundleID
}

// applied notes what a bundle or a grouping has changed: bytes of state, and the queues,
// which count where they are written too.
func (e *epochState) applied(now time.Duration, bytes int64, queues bool) {
	if bytes == 0 && !queues {
		return
	}
	if !e.changed {
		e.changed, e.since = true, now
	}
	e.bytes += bytes
}

// dirty says that an epoch would write something or that someone waits for one.
func (e *epochState) dirty() bool { return e.changed || len(e.finalizers) > 0 }

// full says that no more may be applied until the frozen layer is durable.
func (e *epochState) full(cfg Config) bool { return e.writing && e.bytes >= cfg.EpochBytes }

// maybeWriteEpoch starts an epoch if it is due: by time, by size, because
// finalizers or a stage with stable input wait, or at the job's end.
func (c *Core) maybeWriteEpoch(end bool) {
	e := &c.epoch
	if e.writing || !e.dirty() {
		return
	}
	if !end && !c.epochDue() || c.uncuttable() {
		return
	}
	e.last++
	e.writing, e.began = true, c.now
	if e.changed {
		e.began = e.since
	}
	e.changed, e.bytes, e.ended = false, 0, false
	e.cut = c.lastBlock
	e.frozen, e.finalizers = e.finalizers, nil
	c.do(WriteEpoch{Epoch: e.last})
}

// epochDue says that what is dirty should be written now.
func (c *Core) epochDue() bool {
	e := &c.epoch
	switch {
	case e.bytes >= c.cfg.EpochBytes:
		return true
	case c.cfg.Ephemeral:
		return false
	case len(e.finalizers) > 0 || c.waitsForEpoch():
		return true
	case c.cfg.ByStage:
		return e.ended
	}
	return c.now-e.since >= c.cfg.EpochInterval
}

// Undurable returns when the oldest change was made that no durable epoch has, on the clock of
// Step; false if there is none.
func (c *Core) Undurable() (at time.Duration, ok bool) {
	switch e := &c.epoch; {
	case e.writing:
		return e.began, true
	case e.changed:
		return e.since, true
	}
	return 0, false
}

func (c *Core) epochDurable(ev EpochDurable) {
	e := &c.epoch
	if !e.writing || ev.Epoch != e.last {
		return
	}
	e.writing = false
	frozen := e.frozen
	e.frozen = nil
	if ev.Err != nil {
		c.stop(fmt.Errorf("writing state: epoch %d: %w", ev.Epoch, ev.Err))
		return
	}
	c.durable = e.cut
	for _, id := range frozen {
		c.do(Finalize{Bundle: id})
	}
}

// waitsForEpoch says that a stage's input waits to become durable.
func (c *Core) waitsForEpoch() bool {
	for _, i := range c.hops {
		if c.stages[i].inbox.waitsForEpoch() {
			return true
		}
	}
	return false
}
