package core

import "github.com/summerbeam/summerbeam/runner/graph"

// When memory is short, a stage is held back while a stage below it has work: its
// outputs would only join a queue. So what is queued is worked off before more is
// made of what comes in.
//
// It can't stand still. Only work that could be done now holds others back, and the
// work furthest down is held back by none: it gets the first free slot. Data that
// waits for something its own source must still deliver is no such work: elements
// that wait for the end of a bounded input to be grouped, or for side inputs that
// are not complete.

// below lists the stages that read each stage's outputs as their main input.
func below(p *graph.Plan) [][]int {
	out := make([][]int, len(p.Stages))
	for i, s := range p.Stages {
		for _, o := range s.Outputs {
			for _, t := range o.To {
				if t.SideInput < 0 {
					out[i] = append(out[i], t.Stage)
				}
			}
		}
	}
	return out
}

// holdBack says whether the stage must wait, and notes whether it or one below it
// has work. Stages are asked in reverse order.
func (c *Core) holdBack(s *stage) bool {
	if !c.short {
		return false
	}
	wait := false
	for _, t := range c.below[s.index] {
		wait = wait || c.stages[t].backlog
	}
	s.backlog = wait || s.sealed == len(s.sideSealed) && c.hasWork(s)
	return wait
}

// hasWork says that a bundle or a grouping of the stage could run.
func (c *Core) hasWork(s *stage) bool {
	if s.inbox.queued > 0 && s.inbox.durable == nil {
		return true
	}
	for i := range s.inbox.shards {
		// What waits for an epoch may wait for groups above to be worked off (uncuttable).
		if s.inbox.durable != nil && s.inbox.pending(i) {
			return true
		}
	}
	if !s.grouping || (!s.triggered && s.inputWM != MaxTime) {
		return false
	}
	for i := range s.inbox.shards {
		if sh := &s.inbox.shards[i]; len(sh.raw) > 0 {
			return true
		}
	}
	return false
}
