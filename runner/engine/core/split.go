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
		if idle <= 0 {
			return
		}
		b := c.bundles[id]
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

// mayAsk says that a split of b could give something.
func (c *Core) mayAsk(b *bundle) bool {
	s := &c.stages[b.stage]
	return s.splittable() && !b.aborted && (s.plan.Splittable || b.claim.elements() > 1)
}

// nextAsk returns when a split may be asked for next, or a negative time.
func (c *Core) nextAsk() time.Duration {
	at := time.Duration(-1)
	if c.busy >= c.cfg.Slots && !c.cfg.ForceSplits {
		return at
	}
	for _, id := range c.order {
		if b := c.bundles[id]; !b.splitting && c.mayAsk(b) && (at < 0 || b.askAt < at) {
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
	b.splitting = false
	if ev.Refused {
		// Not now; perhaps later, if it goes on for long.
		b.refused++
		b.askAt = c.now + c.cfg.SplitAfter<<min(b.refused, 6)
		return
	}
	b.refused = 0
	b.askAt = c.now + c.cfg.SplitAfter
	s := &c.stages[b.stage]
	in := &s.inbox
	for _, blk := range ev.Primary {
		in.holds.add(blk.Hold)
	}
	in.release(b.claim)
	b.claim.blocks = ev.Primary
	in.pushFront(b.shard, ev.Residual)
	c.moveWatermarks()
}

func (cl *claim) elements() int64 {
	var n int64
	for i := range cl.blocks {
		n += cl.blocks[i].Count
	}
	return n
}
