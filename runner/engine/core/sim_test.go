package core

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/summerbeam/summerbeam/runner/graph"
)

// sim drives a core with a scripted worker: elements are integers, a stage adds
// nothing to them, keys are element mod 7. A seed chooses the order of events,
// failures and residuals, so a failing seed replays.
type sim struct {
	plan  *graph.Plan
	cfg   Config
	rnd   *rand.Rand
	c     *Core
	now   time.Duration
	input []int // what the impulse's element stands for

	// Chances in percent.
	fail, lose, residual, memory int

	pending   []Event
	running   map[BundleID]RunBundle
	aborted   map[BundleID]bool
	committed map[BundleID]bool
	side      map[[2]int][]int
	sealed    map[[2]int]bool
	// got is what each stage has processed, in order of application.
	got       [][]int
	durable   []uint64
	wake      time.Duration
	finalized []BundleID
	wantFinal int
	result    error
	ended     bool
	steps     int
	// held are the ends of bundles whose split is being answered.
	held   map[BundleID]Event
	splits int
	// drainAt is the step of a drain, 0 for none. From then on kept and dropped are
	// what truncations have made of the values that they saw, how often.
	drainAt       int
	drained       bool
	kept, dropped map[int]int

	disk  simDisk
	crash int // chance of a crash before an event, in a thousand
	// leftOut is what the driver forgets to do; see TestWhatIsLeftOutIsFound.
	leftOut string
	// poison are values that a stage fails with, put aside the bundles that did so, by
	// stage. stablePart are halves of what a stage with stable input was given.
	poison     map[[2]int]bool
	aside      map[int][]int
	stablePart map[string]bool
	// grouping counts the shards of each stage that are being grouped.
	grouping map[int]int
	// pausing: nothing may be begun any more.
	pausing bool
	// early is an epoch of which the core hears while it is still being written.
	early uint64
}

const simKeys = 7

func newSim(plan *graph.Plan, cfg Config, seed uint64) *sim {
	return &sim{
		plan: plan, cfg: cfg, rnd: rand.New(rand.NewPCG(seed, 1)), c: New(plan, cfg),
		running: map[BundleID]RunBundle{}, aborted: map[BundleID]bool{}, committed: map[BundleID]bool{},
		side: map[[2]int][]int{}, sealed: map[[2]int]bool{},
		aside: map[int][]int{}, stablePart: map[string]bool{},
		held: map[BundleID]Event{}, grouping: map[int]int{}, kept: map[int]int{}, dropped: map[int]int{},
		got: make([][]int, len(plan.Stages)), wake: -1,
	}
}

func (s *sim) chance(percent int) bool { return s.rnd.IntN(100) < percent }

// run feeds events until the job ends. It returns an error if the core breaks one
// of its promises on the way.
func (s *sim) run(stopAfter int) error {
	if err := s.step(Started{}); err != nil {
		return err
	}
	return s.untilEnd(stopAfter)
}

func (s *sim) untilEnd(stopAfter int) error {
	for !s.ended {
		if s.steps++; s.steps > 200_000 {
			return errors.New("the job does not end")
		}
		if stopAfter > 0 && s.steps == stopAfter {
			if err := s.step(Canceled{Cause: errCanceled}); err != nil {
				return err
			}
			continue
		}
		if s.drainAt > 0 && s.steps >= s.drainAt && !s.drained {
			s.drained = true
			if err := s.step(Drained{}); err != nil {
				return err
			}
			continue
		}
		if s.rnd.IntN(1000) < s.crash {
			if err := s.crashNow(); err != nil {
				return err
			}
			continue
		}
		if s.chance(s.memory) {
			if err := s.step(Memory{Short: s.chance(70)}); err != nil {
				return err
			}
			continue
		}
		if len(s.pending) == 0 {
			if s.wake < 0 {
				return fmt.Errorf("stuck: nothing runs and nobody wakes the core (step %d)", s.steps)
			}
			s.now = max(s.now, s.wake)
			s.wake = -1
			if err := s.step(Tick{}); err != nil {
				return err
			}
			continue
		}
		i := s.rnd.IntN(len(s.pending))
		ev := s.pending[i]
		s.pending = slices.Delete(s.pending, i, i+1)
		s.now += time.Duration(s.rnd.IntN(50)) * time.Millisecond
		if err := s.step(ev); err != nil {
			return err
		}
	}
	if len(s.running) > 0 {
		return fmt.Errorf("finished while %d bundles run", len(s.running))
	}
	return nil
}

var errCanceled = errors.New("canceled")

func (s *sim) step(ev Event) error {
	var fin BundleFinished
	if e, ok := ev.(BundleFinished); ok {
		fin = e
		if s.aborted[e.Bundle] {
			fin, ev = BundleFinished{}, BundleFailed{Bundle: e.Bundle, Err: errCanceled}
		}
	}
	if f, ok := ev.(BundleFailed); ok {
		delete(s.running, f.Bundle)
	}
	if g, ok := ev.(ShardGrouped); ok {
		s.grouping[g.Stage]--
	}
	if e, ok := ev.(EpochDurable); ok {
		s.disk.acknowledge(e.Epoch)
	}
	if _, ok := ev.(BundleFinished); ok && s.leftOut == "residual" {
		forgetful := fin
		forgetful.Residuals = nil
		ev = forgetful
	}
	before := make([]int64, len(s.c.stages))
	for i := range s.c.stages {
		before[i] = s.c.stages[i].outputWM
	}
	for _, a := range s.c.Step(s.now, ev) {
		if s.ended {
			return errors.New("an action behind Finish")
		}
		if err := s.act(a, fin); err != nil {
			return err
		}
	}
	for s.early != 0 {
		epoch := s.early
		s.early = 0
		for _, a := range s.c.Step(s.now, EpochDurable{Epoch: epoch}) {
			if err := s.act(a, fin); err != nil {
				return err
			}
		}
	}
	delete(s.running, fin.Bundle)
	if a, ok := ev.(SplitAnswered); ok && s.held[a.Bundle] != nil {
		s.pending = append(s.pending, s.held[a.Bundle])
		delete(s.held, a.Bundle)
	}
	for i := range s.c.stages {
		if s.c.stages[i].outputWM < before[i] {
			return fmt.Errorf("stage %d: watermark went back", i)
		}
	}
	return nil
}

func (s *sim) act(a Action, fin BundleFinished) error {
	switch a := a.(type) {
	case Pausing:
		s.pausing = true
	case RunBundle:
		if s.pausing {
			return errors.New("a bundle is begun while the job pauses")
		}
		exclusive := s.plan.Stages[a.Stage].Stateful
		for _, r := range s.running {
			if exclusive && r.Stage == a.Stage && r.Shard == a.Shard && r.Bundle != fin.Bundle {
				return fmt.Errorf("two bundles of shard %d at once", a.Shard)
			}
		}
		if len(s.plan.Stages[a.Stage].SideInputs) > 0 && !s.sealed[[2]int{a.Stage, 0}] {
			return errors.New("a bundle runs before its side input is complete")
		}
		if err := s.checkDrained(a); err != nil {
			return err
		}
		if err := s.checkStable(a); err != nil {
			return err
		}
		s.running[a.Bundle] = a
		s.pending = append(s.pending, s.outcome(a))
	case Commit:
		if s.committed[a.Bundle] {
			return fmt.Errorf("%v committed twice", a.Bundle)
		}
		if fin.Finalize && s.leftOut == "finalizer" {
			return s.act(Finalize(a), fin)
		}
		s.committed[a.Bundle] = true
		r := s.running[a.Bundle]
		if r.Truncate {
			s.truncated(r, fin)
			return nil
		}
		if r.Poison != nil {
			s.aside[r.Stage] = append(s.aside[r.Stage], s.values(r.Stage, r.Blocks[0])...)
			s.disk.applied(s.plan, r, 1)
			return nil
		}
		for _, b := range r.Blocks {
			s.got[r.Stage] = append(s.got[r.Stage], s.values(r.Stage, b)...)
			s.disk.applied(s.plan, r, len(s.values(r.Stage, b)))
		}
		// Residuals come back as blocks of their own.
		for _, res := range fin.Residuals {
			v := res.Block.Payload.([]int)
			n := len(s.got[r.Stage]) - len(v)
			s.got[r.Stage] = s.got[r.Stage][:n]
		}
	case AskSplit:
		s.pending = append(s.pending, s.split(a))
	case Abort:
		s.aborted[a.Bundle] = true
	case GroupShard:
		if s.pausing {
			return errors.New("a shard is grouped while the job pauses")
		}
		if s.c.stages[a.Stage].inputWM != MaxTime {
			return errors.New("grouped before the input was complete")
		}
		s.grouping[a.Stage]++
		s.pending = append(s.pending, ShardGrouped{Bundle: a.Bundle, Taken: len(a.Blocks), Stage: a.Stage, Shard: a.Shard, Blocks: s.regroup(a.Blocks)})
	case AddSideInput:
		k := [2]int{a.Stage, a.SideInput}
		if s.sealed[k] {
			return errors.New("side input grew after it was sealed")
		}
		s.side[k] = append(s.side[k], a.Block.Payload.([]int)...)
	case SealSideInput:
		s.sealed[[2]int{a.Stage, a.SideInput}] = true
	case WriteEpoch:
		s.pending = append(s.pending, EpochDurable{Epoch: a.Epoch})
		if s.leftOut == "acknowledgement" {
			s.early = a.Epoch
		}
		s.durable = append(s.durable, a.Epoch)
		if s.c.cfg.Recoverable {
			if err := s.disk.write(s, a.Epoch); err != nil {
				return err
			}
		}
	case Finalize:
		if s.c.cfg.Recoverable && !s.disk.has(a.Bundle) {
			return fmt.Errorf("%v is finalized before it is durable", a.Bundle)
		}
		s.finalized = append(s.finalized, a.Bundle)
	case WakeAt:
		s.wake = a.At
	case Finish:
		s.ended, s.result = true, a.Err
		var paused *Paused
		if s.c.cfg.Recoverable && (a.Err == nil || errors.As(a.Err, &paused) && !s.cfg.ByStage) {
			return s.disk.complete(s)
		}
	}
	return nil
}

// checkDrained sees that a drained job processes nothing that was not truncated, but
// for what bundles had done by then.
func (s *sim) checkDrained(a RunBundle) error {
	if !s.drained || s.plan.Stages[a.Stage].Truncate == nil {
		if a.Truncate {
			return errors.New("truncated without a drain")
		}
		return nil
	}
	for _, b := range a.Blocks {
		for _, v := range s.values(a.Stage, b) {
			if done := a.Attempt > 1; !a.Truncate && s.kept[v] == 0 && !done {
				return fmt.Errorf("%d is processed, not truncated", v)
			}
		}
	}
	return nil
}

func (s *sim) truncated(r RunBundle, fin BundleFinished) {
	for _, b := range r.Blocks {
		for _, v := range s.values(r.Stage, b) {
			s.dropped[v]++
		}
	}
	for _, res := range fin.Residuals {
		for _, v := range res.Block.Payload.([]int) {
			s.dropped[v]--
			s.kept[v]++
		}
	}
}

func (s *sim) values(stage int, b Block) []int {
	if s.plan.Stages[stage].Kind == graph.Impulse {
		return s.input
	}
	return b.Payload.([]int)
}

// regroup sorts a shard's elements, and cuts them into blocks anew.
func (s *sim) regroup(in []Block) []Block {
	var all []int
	for _, b := range in {
		all = append(all, b.Payload.([]int)...)
	}
	slices.Sort(all)
	return s.cut(all)
}

func (s *sim) cut(v []int) (out []Block) {
	for len(v) > 0 {
		n := 1 + s.rnd.IntN(len(v))
		out = append(out, Block{Count: int64(n), Bytes: int64(8 * n), Hold: int64(v[0]), Payload: slices.Clone(v[:n])})
		v = v[n:]
	}
	return out
}

// split answers AskSplit: it refuses, or cuts the input anywhere and decides anew
// how the bundle will end. The bundle can't end before the answer.
func (s *sim) split(a AskSplit) Event {
	r := s.running[a.Bundle]
	var all []int
	for _, b := range r.Blocks {
		all = append(all, s.values(r.Stage, b)...)
	}
	// An answer that comes behind the bundle's end would be a driver's fault: the
	// end waits here until the answer has been taken.
	at := slices.IndexFunc(s.pending, func(e Event) bool {
		switch e := e.(type) {
		case BundleFinished:
			return e.Bundle == a.Bundle
		case BundleFailed:
			return e.Bundle == a.Bundle
		}
		return false
	})
	if at < 0 || len(all) < 2 || s.plan.Stages[r.Stage].Input == nil || s.chance(30) {
		return SplitAnswered{Bundle: a.Bundle, Refused: true}
	}
	s.splits++
	n := 1 + s.rnd.IntN(len(all)-1)
	r.Blocks = s.cut(all[:n])
	s.running[a.Bundle] = r
	s.held[a.Bundle] = s.outcome(r)
	s.pending = slices.Delete(s.pending, at, at+1)
	return SplitAnswered{Bundle: a.Bundle, Primary: r.Blocks, Residual: s.cut(slices.Clone(all[n:])), Roots: s.rnd.IntN(2)}
}

// outcome decides how a bundle will end.
func (s *sim) outcome(a RunBundle) Event {
	if a.Poison != nil {
		return BundleFinished{Bundle: a.Bundle}
	}
	if s.fails(a) || s.chance(s.fail) && s.mayFail(a) {
		return BundleFailed{Bundle: a.Bundle, Err: errors.New("user code failed"), Halves: s.halves(a)}
	}
	if s.chance(s.lose) && a.Attempt < 5 {
		return BundleFailed{Bundle: a.Bundle, Err: errors.New("gone"), WorkerLost: true}
	}
	ev := BundleFinished{Bundle: a.Bundle}
	var all []int
	for _, b := range a.Blocks {
		all = append(all, s.values(a.Stage, b)...)
	}
	st := s.plan.Stages[a.Stage]
	if a.Truncate {
		for _, b := range a.Blocks {
			for _, v := range s.values(a.Stage, b) {
				if v%3 > 0 {
					ev.Residuals = append(ev.Residuals, Residual{Block: Block{Count: 1, Hold: b.Hold, Payload: []int{v}}})
				}
			}
		}
		return ev
	}
	if st.Splittable && len(all) > 1 && s.chance(s.residual) {
		n := len(all) / 2
		rest := slices.Clone(all[n:])
		all = all[:n]
		ev.Residuals = []Residual{{
			Block: Block{Count: int64(len(rest)), Hold: int64(slices.Min(rest)), Payload: rest},
			Delay: time.Duration(s.rnd.IntN(3)) * 100 * time.Millisecond,
		}}
	}
	if st.Stateful {
		ev.StateBytes = int64(len(all))
	}
	if st.Finalizes {
		ev.Finalize = true
		s.wantFinal++
	}
	for o, out := range st.Outputs {
		for t, to := range out.To {
			in := s.plan.Stages[to.Stage].Input
			if to.SideInput < 0 && in.Keyed {
				shards := s.c.cfg.ShardsOf(s.plan.Stages[to.Stage])
				by := make([][]int, shards)
				for _, v := range all {
					k := v % simKeys % shards
					by[k] = append(by[k], v)
				}
				for k, v := range by {
					for _, b := range s.cut(v) {
						ev.Outputs = append(ev.Outputs, Routed{Output: o, Target: t, Shard: k, Block: b})
					}
				}
				continue
			}
			for _, b := range s.cut(slices.Clone(all)) {
				ev.Outputs = append(ev.Outputs, Routed{Output: o, Target: t, Block: b})
			}
		}
	}
	return ev
}

// fails says that there is a poisonous value in the bundle.
func (s *sim) fails(a RunBundle) bool {
	for _, b := range a.Blocks {
		for _, v := range s.values(a.Stage, b) {
			if s.poison[[2]int{a.Stage, v}] && !a.Truncate {
				return true
			}
		}
	}
	return false
}

// halves cuts a bundle's input, if that was asked for.
func (s *sim) halves(a RunBundle) (h [2][]Block) {
	if !a.Halve {
		return h
	}
	var all []int
	for _, b := range a.Blocks {
		all = append(all, s.values(a.Stage, b)...)
	}
	if s.plan.Stages[a.Stage].Input == nil || len(all) < 2 {
		return h
	}
	h = [2][]Block{s.cut(slices.Clone(all[:len(all)/2])), s.cut(slices.Clone(all[len(all)/2:]))}
	if s.plan.Stages[a.Stage].StableInput {
		for _, b := range slices.Concat(h[0], h[1]) {
			s.stablePart[fmt.Sprint(a.Stage, b.Payload)] = true
		}
	}
	return h
}

// mayFail says that a failure would not be the last that the job bears.
func (s *sim) mayFail(a RunBundle) bool {
	search := s.c.cfg.OnPoison != FailJob
	if a.Halve {
		n := 0
		for _, b := range a.Blocks {
			n += len(s.values(a.Stage, b))
		}
		return search && n > 1
	}
	return a.Attempt < s.c.cfg.Attempts && (search || !a.NoTimers)
}
