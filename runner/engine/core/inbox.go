package core

import (
	"math"
	"slices"
	"time"
)

// inbox is what waits in front of one stage: a queue of blocks per shard. A stage
// that is not keyed has one shard, from which many bundles may draw at once.
type inbox struct {
	shards []shard
	// delayed are residuals whose time has not come, in order of their time.
	delayed []delayed
	// resting are claims of failed bundles that wait for their next attempt, in order of
	// their failures.
	resting []resting
	// holds has one entry for every block that is in or on its way to a bundle,
	// rawHolds one for every block not grouped yet.
	holds, rawHolds holds
	// queued counts blocks that are ready to be put into a bundle, over all shards.
	queued int
	// lastID is the id of the block seen last, by any stage.
	lastID *uint64
	// durable, if not nil, is the last block that bundles may have: later ones wait
	// until they are durable.
	durable *uint64
}

type shard struct {
	// raw are ungrouped blocks of a grouping stage; unused in others.
	raw []Block
	// ready are blocks for bundles. head is the first not taken.
	ready []Block
	head  int
	// elements is the number of elements in ready from head on.
	elements int64
	// retry are claims of failed bundles; they go before ready, whole.
	retry []claim
	// waiting are blocks that wait for windows of side inputs.
	waiting []waiter
	// running counts bundles of this shard; grouping says GroupShard is under way;
	// resting counts claims that wait for their next attempt.
	running  int
	resting  int
	grouping bool
	// timers are the user's, triggers those of the grouping.
	timers, triggers Timers
}

// claim is a bundle's input, kept until the bundle is applied so that another
// attempt has the same elements in the same order.
type claim struct {
	blocks []Block
	// attempts made so far that failed by the bundle's own fault, and those that
	// a lost worker ended.
	failed, lost int
	// half says that it is a part of a claim that had used up its attempts, tried how many
	// were made of all that it was a part of. See poison.go.
	half  bool
	tried int
	// searchUntil is when the search for the element to blame ends.
	searchUntil time.Duration
	// poison is why the claim, of one element, is to be put aside.
	poison error
}

type resting struct {
	at    time.Duration
	shard int
	claim claim
}

type delayed struct {
	at    time.Duration
	shard int
	block Block
}

func newInbox(shards int, lastID *uint64) inbox {
	in := inbox{shards: make([]shard, shards), holds: newHolds(), rawHolds: newHolds(), lastID: lastID}
	for i := range in.shards {
		in.shards[i].timers, in.shards[i].triggers = NoTimers, NoTimers
	}
	return in
}

// name gives a block its id.
func (in *inbox) name(b *Block) {
	if b.ID == 0 {
		*in.lastID++
		b.ID = *in.lastID
	}
}

// push queues a block for bundles.
func (in *inbox) push(shard int, b Block) {
	in.name(&b)
	in.holds.add(b.Hold)
	in.queue(shard, b)
}

// queue makes a block that is already held ready for bundles.
func (in *inbox) queue(shard int, b Block) {
	s := &in.shards[shard]
	s.ready = append(s.ready, b)
	s.elements += b.Count
	in.queued++
}

// pushFront queues blocks before all others of the shard.
func (in *inbox) pushFront(shard int, blocks []Block) {
	for i := range blocks {
		in.name(&blocks[i])
		in.holds.add(blocks[i].Hold)
	}
	in.requeue(shard, blocks)
}

// requeue queues blocks that are already held before all others of the shard.
func (in *inbox) requeue(shard int, blocks []Block) {
	s := &in.shards[shard]
	for i := range blocks {
		s.elements += blocks[i].Count
	}
	// A new array: claims have slices of the old one.
	s.ready = append(append(make([]Block, 0, len(blocks)+len(s.ready)-s.head), blocks...), s.ready[s.head:]...)
	s.head = 0
	in.queued += len(blocks)
}

// pushRaw queues a block for grouping.
func (in *inbox) pushRaw(shard int, b Block) {
	in.name(&b)
	in.rawHolds.add(b.Hold)
	s := &in.shards[shard]
	s.raw = append(s.raw, b)
}

// delay keeps a residual until its time. Equal times stay in order of arrival.
func (in *inbox) delay(at time.Duration, shard int, b Block) {
	in.name(&b)
	in.holds.add(b.Hold)
	i := len(in.delayed)
	for i > 0 && in.delayed[i-1].at > at {
		i--
	}
	in.delayed = append(in.delayed, delayed{})
	copy(in.delayed[i+1:], in.delayed[i:])
	in.delayed[i] = delayed{at, shard, b}
}

// wake moves due residuals to the queues of their shards.
func (in *inbox) wake(now time.Duration) {
	n := 0
	for n < len(in.delayed) && in.delayed[n].at <= now {
		in.queue(in.delayed[n].shard, in.delayed[n].block)
		n++
	}
	in.delayed = in.delayed[n:]
}

// rest keeps a failed bundle's claim until its next attempt.
func (in *inbox) rest(at time.Duration, shard int, c claim) {
	in.resting = append(in.resting, resting{at, shard, c})
	in.shards[shard].resting++
}

// wakeResting puts claims back whose time has come.
func (in *inbox) wakeResting(now time.Duration) {
	left := in.resting[:0]
	for _, r := range in.resting {
		if r.at > now {
			left = append(left, r)
			continue
		}
		in.shards[r.shard].resting--
		in.untake(r.shard, r.claim)
	}
	clear(in.resting[len(left):])
	in.resting = left
}

// wakeAll moves all residuals.
func (in *inbox) wakeAll() { in.wake(math.MaxInt64) }

// take claims the next bundle's input from a shard: a failed claim as it was, or
// ready blocks up to the limits, at least one.
func (in *inbox) take(shard int, maxElements, maxBytes int64) claim {
	s := &in.shards[shard]
	if len(s.retry) > 0 {
		c := s.retry[0]
		s.retry = s.retry[1:]
		in.queued -= len(c.blocks)
		return c
	}
	var elements, bytes int64
	end := s.head
	for end < len(s.ready) {
		b := &s.ready[end]
		if first := &s.ready[s.head]; end > s.head && (elements+b.Count > maxElements || bytes+b.Bytes > maxBytes ||
			b.truncated != first.truncated || b.done != first.done || !in.may(b)) {
			break
		}
		elements += b.Count
		bytes += b.Bytes
		end++
	}
	c := claim{blocks: s.ready[s.head:end:end]}
	in.queued -= end - s.head
	s.elements -= elements
	s.head = end
	if s.head == len(s.ready) {
		// The claim keeps the old array; the queue must not write into it.
		s.ready, s.head = nil, 0
	}
	return c
}

// untake puts a failed bundle's claim back to the head of its shard, before what else was
// put back: that may be the half behind it.
func (in *inbox) untake(shard int, c claim) {
	s := &in.shards[shard]
	s.retry = slices.Insert(s.retry, 0, c)
	in.queued += len(c.blocks)
}

// release forgets the blocks of an applied claim.
func (in *inbox) release(c claim) {
	for i := range c.blocks {
		in.holds.remove(c.blocks[i].Hold)
	}
}

// empty says that no block is left in any state, and no timer.
func (in *inbox) empty() bool {
	if len(in.holds.count) > 0 || len(in.rawHolds.count) > 0 {
		return false
	}
	for i := range in.shards {
		if s := &in.shards[i]; s.timers.pending() || s.triggers.pending() {
			return false
		}
	}
	return true
}

// timersPending says that a user's timer is set, or fires in a running bundle.
func (in *inbox) timersPending() bool {
	for i := range in.shards {
		if in.shards[i].timers.pending() {
			return true
		}
	}
	return false
}

func (t *Timers) pending() bool { return t.Event != MaxTime || t.Processing != MaxTime }

// due says that a timer fires at these times. A timer at the end of time fires too,
// when time has ended: MaxTime itself stands for no timer.
func (t *Timers) due(event, processing int64) bool {
	return t.Event != MaxTime && t.Event <= event || t.Processing != MaxTime && t.Processing <= processing
}

// timerHold is the least hold of all shards' timers.
func (in *inbox) timerHold(of func(*shard) *Timers) int64 {
	m := int64(MaxTime)
	for i := range in.shards {
		m = min(m, of(&in.shards[i]).Hold)
	}
	return m
}

// beforeTriggers is the last event time at which no trigger of any shard is due.
func (in *inbox) beforeTriggers() int64 {
	m := int64(MaxTime)
	for i := range in.shards {
		if t := in.shards[i].triggers.Event; t != MaxTime {
			m = min(m, t-1)
		}
	}
	return m
}

func userTimers(s *shard) *Timers { return &s.timers }
func triggers(s *shard) *Timers   { return &s.triggers }

// may says that bundles may have the block.
func (in *inbox) may(b *Block) bool { return in.durable == nil || b.ID <= *in.durable }

// pending says that a bundle of the shard could have something.
func (in *inbox) pending(shard int) bool {
	s := &in.shards[shard]
	return len(s.retry) > 0 || s.head < len(s.ready) && in.may(&s.ready[s.head])
}

// waitsForEpoch says that blocks wait to become durable.
func (in *inbox) waitsForEpoch() bool {
	for i := range in.shards {
		if s := &in.shards[i]; s.head < len(s.ready) && !in.may(&s.ready[s.head]) {
			return true
		}
	}
	return false
}
