package core

// A drain brings a job to a good end: nothing more is read, and all that was read
// comes out.
//
// The sources of a pipeline are its splittable DoFns (an impulse has had its turn
// when a job starts). What restrictions they have left is truncated: the DoFn itself
// says what of it is still to be done, mostly all of what has an end and nothing of
// what has none. So each restriction goes through a bundle of its stage's truncation
// first, and what comes out is processed to its end, with what a bundle of it leaves
// for later. A bundle that runs when the drain begins is
// asked for a checkpoint, and its residual is truncated.
//
// A TestStream says nothing more.
//
// Then the watermark goes to the end of time by itself, stage by stage. With it
// event timers fire and panes close. Timers in processing time fire as soon as all
// input of their stage has come: there is no need to wait for what will not come.
// (RunBundle.Processing is MaxTime then.)

func (c *Core) drain() {
	if c.draining {
		return
	}
	c.draining = true
	for i := range c.stages {
		s := &c.stages[i]
		if s.test != nil {
			s.test.end()
		}
		if c.truncates(s) {
			// What waits for more to come waits in vain.
			s.inbox.wakeAll()
		}
	}
	for _, id := range c.order {
		if b := c.bundles[id]; c.endless(b) {
			b.askAt = c.now
		}
	}
	c.moveWatermarks()
}

// truncates says that restrictions of the stage are to be truncated.
func (c *Core) truncates(s *stage) bool { return c.draining && s.plan.Truncate != nil }

// truncation says that a bundle of the claim is to truncate it.
func (c *Core) truncation(s *stage, cl claim) bool {
	return c.truncates(s) && len(cl.blocks) > 0 && !cl.truncated() && !cl.done()
}

// cutShort says that a running bundle's claim should have been truncated.
func (c *Core) cutShort(s *stage, b *bundle) bool { return !b.truncation && c.truncation(s, b.claim) }

// leave queues what a bundle has left for later.
func (c *Core) leave(b *bundle, r Residual) {
	s := &c.stages[b.stage]
	r.Block.truncated = b.truncation || b.claim.truncated()
	at := c.now + r.Delay
	if c.truncates(s) && !r.Block.truncated {
		at = c.now
	}
	s.inbox.delay(at, b.shard, r.Block)
}
