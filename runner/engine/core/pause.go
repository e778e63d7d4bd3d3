package core

import "fmt"

// A job that pauses (PauseJob) keeps all it has and ends its run in good order: nothing new
// is begun, running bundles come to their end, sources are asked for a checkpoint, since
// they may have none, and a last epoch is written. The claim that could not be processed
// is in it, at the head of its shard. Whoever goes on with the job tries it again, as if it
// had never failed: counts of attempts are in no epoch.
//
// A job with epochs by stage that has groups in its queues goes on from its last epoch.
//
// A bundle that fails meanwhile waits with it. What can't be helped by another attempt
// still fails the job.

// Paused is the result of a job that pauses.
type Paused struct {
	// Stage is the one that could not process its input, by index; Err is why.
	Stage int
	Err   error
}

// Error implements error.
func (p *Paused) Error() string { return fmt.Sprintf("paused: %v", p.Err) }

// Unwrap implements the errors package's.
func (p *Paused) Unwrap() error { return p.Err }

// pause begins the pause because of a claim.
func (c *Core) pause(s *stage, shard int, cl claim, err error) {
	s.inbox.untake(shard, cl)
	c.pausing = &Paused{Stage: s.index, Err: attempted(&cl, err)}
	for _, id := range c.order {
		if b := c.bundles[id]; c.endless(b) {
			b.askAt = c.now
		}
	}
	c.do(Pausing{Stage: s.index, Err: c.pausing.Err})
}

// advancePause is advance for a job that pauses.
func (c *Core) advancePause() {
	c.maybeSplit()
	c.maybeWriteEpoch(c.idle())
	if c.idle() && !c.epoch.writing && (c.cfg.Ephemeral || !c.epoch.dirty() || c.uncuttable()) {
		c.finish(c.pausing)
		return
	}
	c.wakeUp()
}
