package core

// A side input that never ends is waited for window by window. Which of its windows an
// element wants only the driver knows, who sees elements. So a bundle of such a stage
// starts with the side inputs' watermarks, and when the driver finds elements in it whose
// windows are not there yet, the bundle ends with nothing done (BundleWaits): what
// could run goes back to the head of its shard, and the rest waits here.
//
// What waits holds the watermark like all that is queued, and holds no slot.

// Waiting is a block whose elements wait for windows of side inputs.
type Waiting struct {
	Block Block
	For   []SideWait
}

// SideWait is what is waited for: that the side input's watermark is behind Until (ms),
// or, if Any, that more has come into it. Whoever was woken too early waits again.
type SideWait struct {
	SideInput int
	Until     int64
	Any       bool
}

// waiter is a Waiting, and how much had come into the side inputs when its bundle
// began: what came while the driver looked must wake it.
type waiter struct {
	Waiting
	added []int
}

// sideClock is what a stage knows of the side inputs that it waits for by window.
type sideClock struct {
	// watermarks in ms, added the number of blocks so far; both by side input.
	watermarks []int64
	added      []int
}

func newSideClock(n int) *sideClock {
	k := &sideClock{watermarks: make([]int64, n), added: make([]int, n)}
	for i := range k.watermarks {
		k.watermarks[i] = MinTime
	}
	return k
}

// over says that the wait is over.
func (k *sideClock) over(w *waiter) bool {
	for _, f := range w.For {
		if k.watermarks[f.SideInput] <= f.Until && !(f.Any && k.added[f.SideInput] > w.added[f.SideInput]) {
			return false
		}
	}
	return true
}

// exclusive says that a shard of the stage runs one bundle at a time. State has one
// writer. Groups are of distinct keys: they need no order, but a key's panes do.
func (s *stage) exclusive() bool { return s.plan.Stateful || s.triggered }

// wakeWaiting queues what has waited long enough, before what came later.
func (s *stage) wakeWaiting() {
	for i := range s.inbox.shards {
		sh := &s.inbox.shards[i]
		// A running bundle may still find elements that wait. Those of its key's that
		// wait already came first, and must not be in front of it by then.
		if len(sh.waiting) == 0 || (s.exclusive() && sh.running > 0) {
			continue
		}
		var awake []Block
		left := sh.waiting[:0]
		for j := range sh.waiting {
			if w := &sh.waiting[j]; s.sides.over(w) {
				awake = append(awake, w.Block)
			} else {
				left = append(left, *w)
			}
		}
		clear(sh.waiting[len(left):])
		sh.waiting = left
		if len(awake) > 0 {
			s.inbox.requeue(i, awake)
		}
	}
}

func (c *Core) bundleWaits(ev BundleWaits) {
	b := c.endBundle(ev.Bundle)
	if b == nil || c.stopping {
		return
	}
	s := &c.stages[b.stage]
	in := &s.inbox
	old := b.claim
	keep := func(blk *Block) {
		in.name(blk)
		in.holds.add(blk.Hold)
		blk.truncated, blk.done, blk.idle = old.truncated(), old.done(), old.idle()
	}
	for i := range ev.Ready {
		keep(&ev.Ready[i])
	}
	for i := range ev.Waiting {
		keep(&ev.Waiting[i].Block)
		sh := &in.shards[b.shard]
		sh.waiting = append(sh.waiting, waiter{ev.Waiting[i], b.added})
	}
	in.release(old)
	if len(ev.Ready) > 0 {
		old.blocks = ev.Ready
		in.untake(b.shard, old)
	}
	c.moveWatermarks()
}
