package core

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// A bundle that fails by its own fault is tried again as it was, up to Config.Attempts
// times. When these are used up one of its elements is most likely to blame, and the
// others need not suffer for it: the claim is cut in two halves, which run one after the
// other, and a half that fails is cut again, until one element is left. That one has
// all its attempts once more, alone, and then it is poison.
//
// Halves go back to the head of their shard in order, and no other bundle of a shard
// runs meanwhile where order counts: what a key's elements see of one another stays as
// it was. A half runs without the shard's timers, which are not its fault; they fire when
// all halves are done. A timer that fails fails the job.
//
// What halves have done stays done. After a crash the search begins anew with what is
// left of it, since counts of attempts are in no epoch.

// OnPoison says what becomes of an element that its stage can't process.
type OnPoison int

const (
	// FailJob ends the job. The search for the element is short then: each half has one
	// attempt, none is cut later than nameWithin behind the first, and so the job ends
	// soon whatever is wrong.
	FailJob OnPoison = iota
	// DeadLetter has the driver put the element aside, as a bundle of its own without
	// other effects, and the job goes on. It is for elements: what a splittable DoFn could
	// not process is a restriction, perhaps half of all the job's input, and fails the job.
	DeadLetter
	// PauseJob ends the job's run with all it has kept, until somebody goes on with it; see
	// pause.go. It is for whatever fails: restrictions, timers, and elements that cost
	// workers their lives.
	PauseJob
)

// nameWithin bounds the search for the element where the job fails anyway.
const nameWithin = 5 * time.Second

// attempts is how often a claim may fail by its own fault.
func (c *Core) attempts(cl *claim) int {
	if cl.half && (c.cfg.OnPoison == FailJob || cl.elements() > 1) {
		return 1
	}
	return c.cfg.Attempts
}

// lastAttempt says that a claim, if it fails now, is to be cut in halves.
func (c *Core) lastAttempt(cl *claim) bool {
	return cl.failed+1 >= c.attempts(cl) && cl.elements() > 1 && !(cl.half && c.cfg.OnPoison == FailJob && c.now > cl.searchUntil)
}

func (c *Core) bundleFailed(ev BundleFailed) {
	b := c.endBundle(ev.Bundle)
	if b == nil || c.stopping {
		return
	}
	s := &c.stages[b.stage]
	cl := b.claim
	if ev.WorkerLost {
		cl.lost++
	} else {
		cl.failed++
	}
	spent := cl.failed >= c.attempts(&cl)
	switch {
	case ev.Fatal || cl.poison != nil:
		c.giveUp(s, &cl, ev.Err)
		return
	case spent && len(ev.Halves[0]) > 0 && len(ev.Halves[1]) > 0:
		c.cutInHalves(s, b.shard, cl, ev.Halves)
	case c.pausing != nil:
		s.inbox.untake(b.shard, cl)
		return
	case (spent || cl.lost >= c.cfg.WorkerLosses) && c.cfg.OnPoison == PauseJob:
		c.pause(s, b.shard, cl, ev.Err)
		return
	case cl.lost >= c.cfg.WorkerLosses:
		c.giveUp(s, &cl, ev.Err)
		return
	case spent && c.cfg.OnPoison == DeadLetter && cl.elements() == 1 && !s.plan.Splittable:
		cl.poison = ev.Err
		if cl.poison == nil {
			cl.poison = errNoReason
		}
		s.inbox.untake(b.shard, cl)
	case spent:
		c.giveUp(s, &cl, ev.Err)
		return
	case ev.WorkerLost:
		s.inbox.untake(b.shard, cl)
	default:
		s.inbox.rest(c.now+c.cfg.RetryAfter<<(cl.failed-1), b.shard, cl)
	}
	c.do(Retried{Bundle: b.id, Stage: b.stage, Attempt: cl.tried + cl.failed + cl.lost, Err: ev.Err})
}

var errNoReason = errors.New("bundle failed without a reason")

// giveUp ends the job because of a claim.
func (c *Core) giveUp(s *stage, cl *claim, err error) {
	// By its id: the name lists all that is fused in the stage, and an error that
	// names many transforms hides the one the SDK's text names.
	c.stop(fmt.Errorf("stage %s: %w", s.plan.ID, attempted(cl, err)))
}

// attempted says how often a claim was tried before it failed with err for good.
func attempted(cl *claim, err error) error {
	if err == nil {
		err = errNoReason
	}
	if n := cl.tried + cl.failed + cl.lost; n > 1 {
		err = fmt.Errorf("after %d attempts: %w", n, err)
	}
	return err
}

// cutInHalves puts the halves of a failed claim in its place.
func (c *Core) cutInHalves(s *stage, shard int, cl claim, halves [2][]Block) {
	in := &s.inbox
	for _, blocks := range halves {
		for i := range blocks {
			in.name(&blocks[i])
			in.holds.add(blocks[i].Hold)
			blocks[i].truncated, blocks[i].done, blocks[i].idle = cl.truncated(), cl.done(), cl.idle()
		}
	}
	in.release(cl)
	until := cl.searchUntil
	if !cl.half {
		until = c.now + nameWithin
	}
	// The second first: each goes before what is there.
	for _, blocks := range slices.Backward(halves[:]) {
		in.untake(shard, claim{blocks: blocks, half: true, tried: cl.tried + cl.failed + cl.lost, searchUntil: until})
	}
	c.moveWatermarks()
}
