package core

import (
	"time"

	"github.com/summerbeam/summerbeam/runner/graph"
)

// A slow bundle is split when slots stand idle: its worker is asked to give up half
// of what remains, and another bundle takes that. A split is not staged with the
// bundle's effects but applied at once, as a change of the queue: the claim becomes
// the primary, the residual goes to the head of the shard. So a retry of the bundle
// replays the claim as the split left it, and nothing is done twice.
//
// Stages with state are not split: a shard's state has one writer.
//
// A bundle of an unbounded splittable stage may never end by itself, and nothing of
// it can be seen before. So it is asked for a checkpoint when it has run for a while:
// a split at fraction 0, which leaves it with what it has done. What
// was begun goes to the end of the queue, behind restrictions that have not had their
// turn. Such
// bundles run in slots of their own: they mostly wait, and would keep all others
// from running. They are not split to fill idle slots: each half would be split
// again, without end.

// splittable says that the stage's bundles may be split, and that several of a
// shard may run at once.
func (s *stage) splittable() bool { return s.plan.Kind == graph.SDK && !s.plan.Stateful }

// maybeSplit asks for as many splits as slots are idle, the oldest bundles first.
func (c *Core) maybeSplit() {
	idle := c.cfg.Slots - c.busy
	if c.cfg.ForceSplits {
		idle = len(c.order)
	}
	for _, id := range c.order {
		b := c.bundles[id]
		if c.endless(b) {
			if !b.splitting && c.mayAsk(b) && c.now >= b.askAt {
				b.splitting, b.checkpoint = true, true
				c.do(AskSplit{Bundle: id, Fraction: 0, Elements: b.claim.elements()})
			}
			continue
		}
		if idle <= 0 {
			continue
		}
		if b.splitting {
			idle-- // its residual will take a slot
			continue
		}
		if !c.mayAsk(b) || c.now < b.askAt {
			continue
		}
		b.splitting = true
		idle--
		c.do(AskSplit{Bundle: id, Fraction: 0.5, Elements: b.claim.elements()})
	}
}

// endless says that b is to be asked for checkpoints: it may go on for ever, or a
// drain wants to truncate what it has not done.
func (c *Core) endless(b *bundle) bool {
	s := &c.stages[b.stage]
	return s.plan.Unbounded || c.cutShort(s, b)
}

// free is the number of bundles of the stage that may be started.
func (c *Core) free(s *stage) int {
	switch {
	case s.plan.Unbounded:
		return c.cfg.SourceSlots - c.sources
	case s.plan.Stateful && c.cfg.StateSlots > 0:
		return c.cfg.StateSlots - c.stateful
	}
	return c.cfg.Slots - c.busy
}

// slots counts the bundles that share the stage's slots.
func (c *Core) slots(s *stage) *int {
	switch {
	case s.plan.Unbounded:
		return &c.sources
	case s.plan.Stateful && c.cfg.StateSlots > 0:
		return &c.stateful
	}
	return &c.busy
}

// youngCheckpoint is after what time bundles of a source are asked for a checkpoint when
// the job has just begun: who has started it, after a crash perhaps, waits for output.
const youngCheckpoint = 100 * time.Millisecond

// firstAsk is how long the bundle runs before it is asked for a split. One whose
// restrictions were cut off before they had begun gets longer: a source that takes
// its time to connect must come to its first claim.
func (c *Core) firstAsk(b *bundle) time.Duration {
	switch {
	case !c.endless(b):
		return c.cfg.SplitAfter
	case c.cutShort(&c.stages[b.stage], b):
		return 0
	}
	after := c.cfg.CheckpointAfter
	if after > youngCheckpoint {
		after = min(after, max(youngCheckpoint, c.now/4))
	}
	return after << min(b.claim.idle(), 6)
}

// mayAsk says that a split of b could give something.
func (c *Core) mayAsk(b *bundle) bool {
	s := &c.stages[b.stage]
	return s.splittable() && !b.aborted && !b.truncation && (s.plan.Splittable || b.claim.elements() > 1)
}

// nextAsk returns when a split may be asked for next, or a negative time.
func (c *Core) nextAsk() time.Duration {
	at := time.Duration(-1)
	full := c.busy >= c.cfg.Slots && !c.cfg.ForceSplits
	for _, id := range c.order {
		b := c.bundles[id]
		if full && !c.endless(b) {
			continue
		}
		if !b.splitting && c.mayAsk(b) && (at < 0 || b.askAt < at) {
			at = b.askAt
		}
	}
	return at
}

func (c *Core) splitAnswered(ev SplitAnswered) {
	b := c.bundles[ev.Bundle]
	if b == nil {
		return
	}
	checkpoint := b.checkpoint
	b.splitting, b.checkpoint = false, false
	if ev.Refused {
		// Not now; perhaps later, if it goes on for long.
		b.refused++
		b.askAt = c.now + c.cfg.SplitAfter<<min(b.refused, 6)
		return
	}
	b.refused = 0
	idle, old := b.claim.idle(), b.claim
	s := &c.stages[b.stage]
	in := &s.inbox
	for _, blk := range ev.Primary {
		in.holds.add(blk.Hold)
	}
	in.release(b.claim)
	b.claim.blocks = ev.Primary
	for i := range ev.Primary {
		in.name(&ev.Primary[i])
		ev.Primary[i].truncated, ev.Primary[i].done = old.truncated(), old.done() || checkpoint
	}
	for i := range ev.Residual {
		ev.Residual[i].truncated, ev.Residual[i].done = old.truncated(), false
	}
	b.askAt = c.now + c.firstAsk(b)
	roots := ev.Residual[:0]
	if checkpoint {
		roots = ev.Residual[:ev.Roots]
	}
	in.pushFront(b.shard, ev.Residual[len(roots):])
	for _, blk := range roots {
		if ev.Idle {
			blk.idle = idle + 1
		}
		in.push(b.shard, blk)
	}
	c.moveWatermarks()
}

func (cl *claim) truncated() bool { return len(cl.blocks) > 0 && cl.blocks[0].truncated }
func (cl *claim) done() bool      { return len(cl.blocks) > 0 && cl.blocks[0].done }

// idle is how often in a row something in the claim was cut off with nothing done.
func (cl *claim) idle() int {
	n := 0
	for i := range cl.blocks {
		n = max(n, cl.blocks[i].idle)
	}
	return n
}

func (cl *claim) elements() int64 {
	var n int64
	for i := range cl.blocks {
		n += cl.blocks[i].Count
	}
	return n
}
