package core

import (
	"fmt"
	"slices"
)

// schedule fills the free slots. The stages furthest down the pipeline go first:
// they empty queues, those above fill them.
func (c *Core) schedule() {
	if c.diskFull {
		return
	}
	for i := len(c.stages) - 1; i >= 0; i-- {
		s := &c.stages[i]
		if c.epoch.full(c.cfg) {
			return // applying more would outgrow the frozen layer's write
		}
		if wait := c.holdBack(s); wait || s.sealed < len(s.sideSealed) {
			continue
		}
		if s.sides != nil {
			s.wakeWaiting()
		}
		// Bundles first: a shard is grouped when the groups of others are worked off,
		// so that few have their tables in memory at once.
		c.startBundles(s)
		c.groupShards(s)
	}
}

// groupShards asks for the grouping of shards: with triggers whenever there is
// something new, without once the input is complete.
func (c *Core) groupShards(s *stage) {
	if !s.grouping || (!s.triggered && (s.inputWM != MaxTime || c.holdsGroups())) {
		return
	}
	now := c.processing()
	for i := range s.inbox.shards {
		sh := &s.inbox.shards[i]
		if c.busy >= c.cfg.Slots {
			return
		}
		if sh.grouping || (len(sh.raw) == 0 && !sh.triggers.due(s.groupWM, now)) {
			continue
		}
		sh.grouping = true
		s.groupingNow++
		c.busy++
		c.lastBundle++
		c.do(GroupShard{
			Bundle: c.lastBundle, Stage: s.index, Shard: i, Blocks: sh.raw[:len(sh.raw):len(sh.raw)],
			Event: s.groupWM, Processing: now, Output: s.firedWM,
		})
	}
}

func (c *Core) shardGrouped(ev ShardGrouped) {
	c.busy--
	s := &c.stages[ev.Stage]
	sh := &s.inbox.shards[ev.Shard]
	sh.grouping = false
	s.groupingNow--
	if ev.Err != nil {
		c.stop(fmt.Errorf("stage %s: grouping: %w", s.plan.Name, ev.Err))
		return
	}
	if c.stopping {
		return
	}
	c.do(Commit{Bundle: ev.Bundle})
	for _, b := range ev.Blocks {
		s.inbox.push(ev.Shard, b)
	}
	// What came while it was grouped stays.
	for i := range sh.raw[:ev.Taken] {
		s.inbox.rawHolds.remove(sh.raw[i].Hold)
	}
	sh.raw = sh.raw[ev.Taken:]
	if len(sh.raw) == 0 {
		sh.raw = nil
	}
	if ev.Timers != nil {
		sh.triggers = *ev.Timers
	}
	c.epoch.applied(c.now, ev.StateBytes, c.cfg.Recoverable)
	c.moveWatermarks()
}

func (c *Core) startBundles(s *stage) {
	n := len(s.inbox.shards)
	now := c.processingOf(s)
	for tried := 0; tried < n && c.free(s) > 0; {
		i := s.next % n
		sh := &s.inbox.shards[i]
		exclusive := s.exclusive()
		if !(s.inbox.pending(i) || sh.timers.due(s.eventWM, now)) || (exclusive && sh.running+sh.resting > 0) {
			s.next = i + 1
			tried++
			continue
		}
		var cl claim
		if s.inbox.pending(i) {
			elements, bytes := c.cfg.BundleElements, c.cfg.BundleBytes
			if !exclusive {
				// A queue for all slots: leave a share for those that are still free.
				free := int64(c.free(s))
				elements = min(elements, max(1, (sh.elements+free-1)/free))
			}
			cl = s.inbox.take(i, elements, bytes)
		}
		c.startBundle(s, i, cl)
		s.next = i + 1
	}
}

func (c *Core) startBundle(s *stage, shard int, cl claim) {
	c.lastBundle++
	b := &bundle{id: c.lastBundle, stage: s.index, shard: shard, claim: cl, truncation: c.truncation(s, cl)}
	b.askAt = c.now + c.firstAsk(b)
	c.bundles[b.id] = b
	c.order = append(c.order, b.id)
	*c.slots(s)++
	s.running++
	s.inbox.shards[shard].running++
	run := RunBundle{
		Bundle: b.id, Stage: s.index, Shard: shard,
		Attempt: cl.failed + cl.lost + 1, Blocks: cl.blocks,
		Event: s.eventWM, Processing: c.processingOf(s), Truncate: b.truncation,
		NoTimers: cl.half, Halve: c.lastAttempt(&cl), Poison: cl.poison,
	}
	run.Last = !run.Halve && cl.poison == nil && cl.failed+1 >= c.attempts(&cl) || cl.lost+1 >= c.cfg.WorkerLosses
	if s.sides != nil {
		b.added, run.Sides = slices.Clone(s.sides.added), slices.Clone(s.sides.watermarks)
	}
	c.do(run)
}

// endBundle takes a bundle off the books; its claim is the caller's to settle.
func (c *Core) endBundle(id BundleID) *bundle {
	b := c.bundles[id]
	if b == nil {
		return nil
	}
	delete(c.bundles, id)
	for i, o := range c.order {
		if o == id {
			c.order = append(c.order[:i], c.order[i+1:]...)
			break
		}
	}
	s := &c.stages[b.stage]
	*c.slots(s)--
	s.running--
	s.inbox.shards[b.shard].running--
	return b
}

func (c *Core) bundleFinished(ev BundleFinished) {
	b := c.endBundle(ev.Bundle)
	if b == nil || c.stopping {
		return
	}
	s := &c.stages[b.stage]
	c.do(Commit{Bundle: b.id})
	for _, o := range ev.Outputs {
		t := s.plan.Outputs[o.Output].To[o.Target]
		r := &c.stages[t.Stage]
		switch {
		case t.SideInput >= 0:
			if r.sides != nil {
				r.sides.added[t.SideInput]++
			}
			c.do(AddSideInput{Stage: t.Stage, SideInput: t.SideInput, Block: o.Block})
		case r.grouping:
			r.inbox.pushRaw(o.Shard, o.Block)
		case r.plan.Input.Keyed:
			r.inbox.push(o.Shard, o.Block)
		default:
			r.inbox.push(0, o.Block)
		}
	}
	for _, r := range ev.Residuals {
		c.leave(b, r)
	}
	s.inbox.release(b.claim)
	if ev.Timers != nil {
		s.inbox.shards[b.shard].timers = *ev.Timers
	}
	c.epoch.applied(c.now, ev.StateBytes, c.cfg.Recoverable)
	switch {
	case ev.Finalize && c.cfg.Ephemeral:
		c.do(Finalize{Bundle: b.id})
	case ev.Finalize:
		c.epoch.finalizers = append(c.epoch.finalizers, b.id)
	}
	c.moveWatermarks()
}
