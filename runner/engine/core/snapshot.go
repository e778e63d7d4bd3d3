package core

import (
	"fmt"
	"time"

	"github.com/summerbeam/summerbeam/runner/graph"
)

// Snapshot is what a job's core goes on from after a crash. It is a cut between two
// events: what a running bundle has is still in its stage's queue, and what a finished
// one has put out is in the queues of others. The state that belongs to it is the
// layers frozen in the same moment.
//
// It is written as JSON: it has some lines for each block that is queued, and none for
// each element.
type Snapshot struct {
	Epoch uint64
	// LastBlock is the last block id given.
	LastBlock uint64
	// Processing is the processing time (ms), if TestStreams move it.
	Processing int64 `json:",omitempty"`
	Draining   bool  `json:",omitempty"`
	Stages     []StageSnapshot
}

// StageSnapshot is one stage's. Times are in ms.
type StageSnapshot struct {
	ID                                 string
	Input, Group, Fired, Event, Output int64
	// Sealed says of each side input that it is complete; Sides are the watermarks of
	// those that are waited for by window.
	Sealed []bool        `json:",omitempty"`
	Sides  []int64       `json:",omitempty"`
	Test   *TestSnapshot `json:",omitempty"`
	Shards []ShardSnapshot
}

// TestSnapshot is how far a TestStream has come.
type TestSnapshot struct {
	Next       int
	Watermarks []int64
}

// ShardSnapshot is one shard's queue.
type ShardSnapshot struct {
	// Raw is not grouped yet, Ready is for bundles, in order.
	Raw   []QueuedBlock `json:",omitempty"`
	Ready []QueuedBlock `json:",omitempty"`
	// Delayed waits for its time.
	Delayed []QueuedBlock `json:",omitempty"`
	// Timers and Triggers are not written: the driver, who has the timers, sums them up
	// again. Nil: there are none.
	Timers, Triggers *Timers `json:"-"`
}

// QueuedBlock is a block without its elements, which are written once under its id.
type QueuedBlock struct {
	ID, Count, Bytes int64
	Hold             int64
	Idle             int  `json:",omitempty"`
	Truncated        bool `json:",omitempty"`
	Done             bool `json:",omitempty"`
	// At is the processing time (ms) that a delayed block waits for.
	At int64 `json:",omitempty"`

	Payload any `json:"-"`
}

func queuedBlock(b *Block) QueuedBlock {
	return QueuedBlock{
		ID: int64(b.ID), Count: b.Count, Bytes: b.Bytes, Hold: b.Hold,
		Idle: b.idle, Truncated: b.truncated, Done: b.done, Payload: b.Payload,
	}
}

func (q *QueuedBlock) block() Block {
	return Block{
		ID: uint64(q.ID), Count: q.Count, Bytes: q.Bytes, Hold: q.Hold,
		idle: q.Idle, truncated: q.Truncated, done: q.Done, Payload: q.Payload,
	}
}

// Each calls f for every block of a stage.
func (s *StageSnapshot) Each(f func(*QueuedBlock)) {
	for i := range s.Shards {
		for _, list := range [][]QueuedBlock{s.Shards[i].Raw, s.Shards[i].Ready, s.Shards[i].Delayed} {
			for j := range list {
				f(&list[j])
			}
		}
	}
}

// Over counts the stages that had ended.
func (s *Snapshot) Over() int {
	n := 0
	for i := range s.Stages {
		if s.Stages[i].Output == MaxTime {
			n++
		}
	}
	return n
}

// Snapshot returns the core's present state. The driver calls it when it carries out a
// WriteEpoch, which is the last action of its Step that changes anything.
func (c *Core) Snapshot() *Snapshot {
	snap := &Snapshot{Epoch: c.epoch.last, LastBlock: c.lastBlock, Draining: c.draining}
	if c.virtual {
		snap.Processing = c.processing()
	}
	claims := make(map[[2]int][]Block)
	for _, id := range c.order {
		b := c.bundles[id]
		at := [2]int{b.stage, b.shard}
		claims[at] = append(claims[at], b.claim.blocks...)
	}
	for i := range c.stages {
		s := &c.stages[i]
		st := StageSnapshot{
			ID: s.plan.ID, Input: s.inputWM, Group: s.groupWM, Fired: s.firedWM, Event: s.eventWM, Output: s.outputWM,
			Sealed: append([]bool(nil), s.sideSealed...),
			Shards: make([]ShardSnapshot, len(s.inbox.shards)),
		}
		if s.sides != nil {
			st.Sides = append([]int64(nil), s.sides.watermarks...)
		}
		if s.test != nil {
			st.Test = &TestSnapshot{Next: s.test.next, Watermarks: append([]int64(nil), s.test.watermarks...)}
		}
		for j := range s.inbox.shards {
			sh, out := &s.inbox.shards[j], &st.Shards[j]
			list := func(dst *[]QueuedBlock, blocks []Block) {
				for k := range blocks {
					*dst = append(*dst, queuedBlock(&blocks[k]))
				}
			}
			list(&out.Raw, sh.raw)
			// What waits came before what runs, and that before what is queued.
			for k := range sh.waiting {
				out.Ready = append(out.Ready, queuedBlock(&sh.waiting[k].Block))
			}
			list(&out.Ready, claims[[2]int{i, j}])
			for k := range s.inbox.resting {
				if r := &s.inbox.resting[k]; r.shard == j {
					list(&out.Ready, r.claim.blocks)
				}
			}
			for k := range sh.retry {
				list(&out.Ready, sh.retry[k].blocks)
			}
			list(&out.Ready, sh.ready[sh.head:])
		}
		for k := range s.inbox.delayed {
			d := &s.inbox.delayed[k]
			q := queuedBlock(&d.block)
			q.At = c.cfg.StartMillis + d.at.Milliseconds()
			sh := &st.Shards[d.shard]
			sh.Delayed = append(sh.Delayed, q)
		}
		snap.Stages = append(snap.Stages, st)
	}
	return snap
}

// Restore makes the core of a job that goes on from a snapshot. Its first event is
// Started, too. The snapshot must be of the same plan and the same numbers of shards.
func Restore(plan *graph.Plan, cfg Config, snap *Snapshot) (*Core, error) {
	c := New(plan, cfg)
	if len(snap.Stages) != len(c.stages) {
		return nil, fmt.Errorf("the snapshot has %d stages, the pipeline %d", len(snap.Stages), len(c.stages))
	}
	c.restored, c.draining = true, snap.Draining
	c.epoch.last = snap.Epoch
	// All that it has is durable: it was read from an epoch.
	c.lastBlock, c.durable = snap.LastBlock, snap.LastBlock
	if c.virtual {
		c.moved = snap.Processing - c.cfg.StartMillis
	}
	for i := range c.stages {
		if err := c.stages[i].restore(&snap.Stages[i], c.cfg.StartMillis); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (s *stage) restore(from *StageSnapshot, start int64) error {
	if from.ID != s.plan.ID || len(from.Shards) != len(s.inbox.shards) || len(from.Sealed) != len(s.sideSealed) ||
		(from.Test != nil) != (s.test != nil) || (s.sides != nil) != (from.Sides != nil) {
		return fmt.Errorf("stage %s: the snapshot is of another: %s with %d shards, not %d",
			s.plan.ID, from.ID, len(from.Shards), len(s.inbox.shards))
	}
	s.inputWM, s.groupWM, s.firedWM, s.eventWM, s.outputWM = from.Input, from.Group, from.Fired, from.Event, from.Output
	s.over = s.outputWM == MaxTime
	s.sealed = 0
	for j, sealed := range from.Sealed {
		if s.sideSealed[j] = sealed; sealed {
			s.sealed++
		}
	}
	if s.sides != nil {
		copy(s.sides.watermarks, from.Sides)
	}
	if s.test != nil {
		s.test.next = from.Test.Next
		copy(s.test.watermarks, from.Test.Watermarks)
	}
	for j := range from.Shards {
		sh := &from.Shards[j]
		for k := range sh.Raw {
			s.inbox.pushRaw(j, sh.Raw[k].block())
		}
		for k := range sh.Ready {
			s.inbox.push(j, sh.Ready[k].block())
		}
		for k := range sh.Delayed {
			at := time.Duration(max(0, sh.Delayed[k].At-start)) * time.Millisecond
			s.inbox.delay(at, j, sh.Delayed[k].block())
		}
		if sh.Timers != nil {
			s.inbox.shards[j].timers = *sh.Timers
		}
		if sh.Triggers != nil {
			s.inbox.shards[j].triggers = *sh.Triggers
		}
	}
	return nil
}
