package core

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/summerbeam/summerbeam/internal/testkit/seeds"
	"github.com/summerbeam/summerbeam/runner/graph"
)

var crashCount = flag.Int("crash-seeds", 2000, "number of seeds for the simulated jobs that crash")

// simDisk is what of a simulated job survives its process.
type simDisk struct {
	// written is the epoch on its way, durable the last one that is there.
	written, durable *image
	// before is the epoch before the durable one.
	before           *image
	crashes, resumed int
	// seen is what the outside has been shown by stages with stable input, by stage and
	// shard, in order; done is how much of it the job knows to be applied.
	seen map[[2]int][]int
	done map[[2]int]int
}

// image is one epoch.
type image struct {
	epoch     uint64
	core      []byte
	blocks    map[int64]any // payloads by id
	committed map[BundleID]bool
	got       [][]int
	side      map[[2]int][]int
	done      map[[2]int]int

	kept, dropped map[int]int
	aside         map[int][]int
}

// write cuts an epoch.
func (d *simDisk) write(s *sim, epoch uint64) error {
	if d.written != nil {
		if s.leftOut != "acknowledgement" {
			return errors.New("an epoch is cut while another is being written")
		}
		d.before, d.durable = d.durable, d.written
	}
	snap := s.c.Snapshot()
	if s.leftOut == "claim" {
		s.forgetClaims(snap)
	}
	if s.cfg.ByStage {
		if err := s.groupless(snap); err != nil {
			return err
		}
	}
	im := &image{
		epoch: epoch, blocks: map[int64]any{}, committed: maps.Clone(s.committed), side: map[[2]int][]int{},
		done: maps.Clone(d.done), kept: maps.Clone(s.kept), dropped: maps.Clone(s.dropped),
		aside: map[int][]int{},
	}
	for k, v := range s.aside {
		im.aside[k] = slices.Clone(v)
	}
	var changed []int64
	for i := range snap.Stages {
		snap.Stages[i].Each(func(q *QueuedBlock) {
			if s.leftOut == "hold" {
				q.Hold = MaxTime
			}
			im.blocks[q.ID] = q.Payload
			if d.durable == nil {
				return
			}
			// It is written once.
			if old, ok := d.durable.blocks[q.ID]; ok && fmt.Sprint(old) != fmt.Sprint(q.Payload) {
				changed = append(changed, q.ID)
			}
		})
		im.got = append(im.got, slices.Clone(s.got[i]))
	}
	if len(changed) > 0 {
		return fmt.Errorf("blocks %v have other elements than in the epoch before", changed)
	}
	for k, v := range s.side {
		im.side[k] = slices.Clone(v)
	}
	var err error
	if im.core, err = json.Marshal(snap); err != nil {
		return err
	}
	d.written = im
	return nil
}

func (d *simDisk) acknowledge(epoch uint64) {
	if d.written != nil && d.written.epoch == epoch {
		d.before, d.durable, d.written = d.durable, d.written, nil
	}
}

// forgetClaims takes what bundles run on out of a snapshot.
func (s *sim) forgetClaims(snap *Snapshot) {
	claimed := map[int64]bool{}
	for _, b := range s.c.bundles {
		for _, blk := range b.claim.blocks {
			claimed[int64(blk.ID)] = true
		}
	}
	for i := range snap.Stages {
		for j := range snap.Stages[i].Shards {
			sh := &snap.Stages[i].Shards[j]
			sh.Ready = slices.DeleteFunc(sh.Ready, func(q QueuedBlock) bool { return claimed[q.ID] })
		}
	}
}

func (d *simDisk) has(b BundleID) bool { return d.durable != nil && d.durable.committed[b] }

// complete sees that a job which says it is done would be done after a crash, too.
func (d *simDisk) complete(s *sim) error {
	if d.durable == nil {
		return errors.New("the job is done and nothing is durable")
	}
	for i := range s.got {
		if !slices.Equal(s.got[i], d.durable.got[i]) {
			return fmt.Errorf("the job is done and stage %d is not durable", i)
		}
	}
	return nil
}

// crashNow ends the process, and starts another from what is durable. An epoch that was
// being written is there or not.
func (s *sim) crashNow() error {
	d := &s.disk
	d.crashes++
	s.pausing, s.ended, s.result = false, false, nil
	s.grouping = map[int]int{}
	switch {
	case s.leftOut == "sync":
		// The disk has said that it is there, and it is not.
		d.durable = d.before
	case d.written != nil && s.chance(50):
		d.durable = d.written
	}
	d.before = nil
	d.written = nil
	s.aside, s.stablePart = map[int][]int{}, map[string]bool{}
	s.pending, s.wake = nil, -1
	s.running, s.aborted, s.committed = map[BundleID]RunBundle{}, map[BundleID]bool{}, map[BundleID]bool{}
	s.held, s.sealed, s.finalized = map[BundleID]Event{}, map[[2]int]bool{}, nil
	im := d.durable
	if im == nil {
		s.c = New(s.plan, s.cfg)
		s.got, s.side = make([][]int, len(s.plan.Stages)), map[[2]int][]int{}
		s.kept, s.dropped, s.drained, d.done = map[int]int{}, map[int]int{}, false, nil
		return s.step(Started{})
	}
	d.resumed++
	var snap Snapshot
	if err := json.Unmarshal(im.core, &snap); err != nil {
		return err
	}
	for i := range snap.Stages {
		snap.Stages[i].Each(func(q *QueuedBlock) { q.Payload = im.blocks[q.ID] })
		s.got[i] = slices.Clone(im.got[i])
	}
	for k, v := range im.aside {
		s.aside[k] = slices.Clone(v)
	}
	s.side = map[[2]int][]int{}
	for k, v := range im.side {
		s.side[k] = slices.Clone(v)
	}
	s.kept, s.dropped, s.drained, d.done = maps.Clone(im.kept), maps.Clone(im.dropped), snap.Draining, maps.Clone(im.done)
	var err error
	if s.c, err = Restore(s.plan, s.cfg, &snap); err != nil {
		return err
	}
	return s.step(Started{})
}

// checkStable sees that a stage with stable input gets only what is durable, and after a
// crash the same once more.
func (s *sim) checkStable(a RunBundle) error {
	d := &s.disk
	if !s.plan.Stages[a.Stage].StableInput || !s.c.cfg.Recoverable {
		return nil
	}
	at := [2]int{a.Stage, a.Shard}
	if d.seen == nil {
		d.seen = map[[2]int][]int{}
	}
	pos := d.done[at]
	for _, b := range a.Blocks {
		// What a half is of was durable when it was given the first time.
		if !s.stablePart[fmt.Sprint(a.Stage, b.Payload)] && (d.durable == nil || d.durable.blocks[int64(b.ID)] == nil) {
			return fmt.Errorf("stage %d gets block %d, which is not durable", a.Stage, b.ID)
		}
		for _, v := range s.values(a.Stage, b) {
			switch seen := d.seen[at]; {
			case pos == len(seen):
				d.seen[at] = append(seen, v)
			case seen[pos] != v:
				return fmt.Errorf("stage %d, shard %d: place %d is %d now and was %d", a.Stage, a.Shard, pos, v, seen[pos])
			}
			pos++
		}
	}
	return nil
}

// applied counts what a stage with stable input has done.
func (d *simDisk) applied(plan *graph.Plan, r RunBundle, n int) {
	if !plan.Stages[r.Stage].StableInput {
		return
	}
	if d.done == nil {
		d.done = map[[2]int]int{}
	}
	d.done[[2]int{r.Stage, r.Shard}] += n
}

// crashing is a job with everything in it, which crashes now and then.
func crashing(seed uint64) (s *sim, hop int) {
	plan := everything()
	plan.Stages[1].Unbounded = seed%3 == 0
	hop = link(plan, &graph.Stage{Kind: graph.SDK, Stateful: true, StableInput: true, Input: &graph.Input{Keyed: true}}, 2)
	s = newSim(plan, Config{
		Shards: 3, Slots: 1 + int(seed%5), BundleElements: 1 + int64(seed%17), EpochBytes: 20,
		SplitAfter: 10 * time.Millisecond, CheckpointAfter: 10 * time.Millisecond, ForceSplits: seed%2 == 0,
		StateSlots: int(seed % 4), StateShards: 5, Recoverable: true,
	}, seed)
	s.input = numbers(60)
	s.fail, s.lose, s.residual, s.memory, s.crash = 20, 10, 60, 5, 1+int(seed%20)
	return s, hop
}

// judge says what is wrong with a job that has run.
func (s *sim) judge(hop int) error {
	if s.result != nil {
		return fmt.Errorf("job failed: %w", s.result)
	}
	once := numbers(60)
	twice := sorted(append(numbers(60), numbers(60)...))
	for stage, want := range [][]int{once, once, once, once, twice, twice, once} {
		if got := sorted(s.got[stage]); !slices.Equal(got, want) {
			return fmt.Errorf("stage %d applied %v, want %v", stage, got, want)
		}
	}
	if got := sorted(s.side[[2]int{5, 0}]); !slices.Equal(got, once) {
		return fmt.Errorf("side input holds %v", got)
	}
	var shown []int
	for at, v := range s.disk.seen {
		if at[0] == hop {
			shown = append(shown, v...)
		}
	}
	if got := sorted(shown); !slices.Equal(got, once) {
		return fmt.Errorf("the outside was shown %v", got)
	}
	return nil
}

// TestWhatIsLeftOutIsFound: a driver that forgets one of the things that recovery
// rests on is found out, by some seed among few.
func TestWhatIsLeftOutIsFound(t *testing.T) {
	const most = 200
	for _, what := range []string{"sync", "hold", "residual", "claim", "finalizer", "acknowledgement"} {
		found := uint64(0)
		var why error
		for seed := range uint64(most) {
			s, hop := crashing(seed)
			s.leftOut = what
			if why = s.run(0); why == nil {
				why = s.judge(hop)
			}
			if why != nil {
				found = seed + 1
				break
			}
		}
		if found == 0 {
			t.Errorf("%s left out: not found in %d seeds", what, most)
			continue
		}
		t.Logf("%s left out: found by seed %d: %.120s", what, found, why.Error())
	}
}

// TestCrashes kills the process between any two events, many times: what comes out is
// what one run gives, and what was shown to the outside stays as it was.
func TestCrashes(t *testing.T) {
	crashes, resumed, steps := 0, 0, 0
	n := seeds.Each(t, *crashCount, func(seed uint64) {
		s, hop := crashing(seed)
		err := s.run(0)
		if err == nil {
			err = s.judge(hop)
		}
		if err != nil {
			t.Fatal(err)
		}
		crashes, resumed, steps = crashes+s.disk.crashes, resumed+s.disk.resumed, steps+s.steps
	})
	t.Logf("%d seeds, each with %.1f events and %.1f crashes, %.1f of them behind an epoch",
		n, float64(steps)/float64(n), float64(crashes)/float64(n), float64(resumed)/float64(n))
	if resumed < n && !seeds.Replaying() {
		t.Errorf("%d jobs went on from an epoch in %d seeds: too few to show anything", resumed, n)
	}
}
