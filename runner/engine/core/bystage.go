package core

// A job whose input ends goes on from the last stage that has ended. An epoch by time would
// write what is read a moment later: all of a stage's output waits for the stage's end
// anyway, to be grouped. So an epoch is cut when a stage has ended. Its output is queued then,
// ungrouped, and with it whatever other stages have: it is a cut like any other, between two
// events, so nothing is lost of those in the middle of their work either.
//
// Groups can be in no epoch: they are tables in memory and scratch files, which nothing could
// go on from. What they were made of can. So while an epoch is due no further shards are grouped, and
// it is cut when those that were are worked off, which is soon: few are at one time. The input of
// what is grouped behind it stays in it until the next one.

// uncuttable says that no epoch can be cut now, because groups are queued or being made.
func (c *Core) uncuttable() bool {
	if !c.cfg.ByStage {
		return false
	}
	for i := range c.stages {
		s := &c.stages[i]
		if s.grouping && !s.triggered && (s.groupingNow > 0 || len(s.inbox.holds.count) > 0) {
			return true
		}
	}
	return false
}

// holdsGroups says that no shard is to be grouped, since an epoch waits to be cut: for groups to be
// worked off, or for the one before it to be durable. If nothing of that is under way it would wait in
// vain.
func (c *Core) holdsGroups() bool {
	e := &c.epoch
	return c.cfg.ByStage && e.dirty() && c.epochDue() && (e.writing || !c.idle())
}
