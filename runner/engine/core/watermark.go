package core

import "github.com/summerbeam/summerbeam/runner/graph"

// moveWatermarks carries changes of holds and inputs down the stages. They stand
// in topological order, so one pass suffices.
func (c *Core) moveWatermarks() {
	for i := range c.stages {
		s := &c.stages[i]
		in := int64(MaxTime)
		if s.plan.Input != nil {
			in = c.minOutput(s.plan.Input.From)
		}
		s.inputWM = max(s.inputWM, in)
		if s.test != nil {
			s.outputWM = s.test.minWatermark()
			continue
		}
		// What is buffered by a grouping holds what comes out of it, but not the
		// time its own triggers see; so do the user's timers.
		s.groupWM = max(s.groupWM, min(s.inputWM, s.inbox.rawHolds.min()))
		// A trigger that is due holds it too, or its pane could come out late: with nothing
		// else to hold it, it would be past the end of a window of which the trigger has
		// yet to hear, and how far would depend on which shard is grouped first.
		s.firedWM = max(s.firedWM, min(s.groupWM, s.inbox.timerHold(triggers), s.inbox.beforeTriggers()))
		s.eventWM = max(s.eventWM, min(s.firedWM, s.inbox.holds.min()))
		out := min(s.eventWM, s.inbox.timerHold(userTimers))
		if out == MaxTime && s.inbox.timersPending() {
			// A timer without an output timestamp holds nothing, but it may put
			// something out: whoever waits for all of it must wait.
			out--
		}
		s.outputWM = max(s.outputWM, out)
		if s.outputWM == MaxTime && !s.over {
			s.over = true
			c.epoch.ended = c.epoch.ended || s.plan.Kind == graph.SDK
		}
		for j, side := range s.plan.SideInputs {
			if s.sides != nil {
				s.sides.watermarks[j] = max(s.sides.watermarks[j], c.minOutput(side.From))
			}
			if !s.sideSealed[j] && c.minOutput(side.From) == MaxTime {
				s.sideSealed[j] = true
				s.sealed++
				c.do(SealSideInput{Stage: i, SideInput: j})
			}
		}
	}
}

func (c *Core) minOutput(from []graph.Edge) int64 {
	m := int64(MaxTime)
	for _, e := range from {
		m = min(m, c.stages[e.Stage].outputWatermark(e.Output))
	}
	return m
}

// outputWatermark is one output's: only a TestStream's outputs have their own.
func (s *stage) outputWatermark(output int) int64 {
	if s.test != nil {
		return s.test.watermarks[output]
	}
	return s.outputWM
}

// processing is the present processing time, in ms since the Unix epoch.
func (c *Core) processing() int64 {
	if c.virtual {
		return c.cfg.StartMillis + c.moved
	}
	return c.cfg.StartMillis + c.now.Milliseconds()
}

// processingOf is the processing time that a stage's timers see.
func (c *Core) processingOf(s *stage) int64 {
	if c.draining && s.inputWM == MaxTime {
		return MaxTime
	}
	return c.processing()
}

// nextProcessing is the next processing time at which a timer fires.
func (c *Core) nextProcessing() int64 {
	next := int64(MaxTime)
	for i := range c.stages {
		for j := range c.stages[i].inbox.shards {
			sh := &c.stages[i].inbox.shards[j]
			if sh.running == 0 {
				next = min(next, sh.timers.Processing)
			}
			if !sh.grouping {
				next = min(next, sh.triggers.Processing)
			}
		}
	}
	return next
}
