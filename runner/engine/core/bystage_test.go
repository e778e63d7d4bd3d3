package core

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/summerbeam/summerbeam/internal/testkit/seeds"
	"github.com/summerbeam/summerbeam/runner/graph"
)

// TestEpochsByStage: jobs that crash between any two events go on from stages that have
// ended, and what comes out is what one run gives. No epoch has groups in it.
func TestEpochsByStage(t *testing.T) {
	resumed, epochs := 0, 0
	n := seeds.Each(t, max(1, *crashCount/2), func(seed uint64) {
		s, hop := crashing(seed)
		s.plan.Stages[1].Unbounded = false
		s.cfg.ByStage, s.cfg.EpochBytes = true, 1000
		s.c = New(s.plan, s.cfg)
		s.crash = 1 + int(seed%10)
		err := s.run(0)
		if err == nil {
			err = s.judge(hop)
		}
		if err != nil {
			t.Fatal(err)
		}
		resumed, epochs = resumed+s.disk.resumed, epochs+len(s.durable)
	})
	t.Logf("%d seeds, each with %.1f epochs and %.1f crashes behind one", n, float64(epochs)/float64(n), float64(resumed)/float64(n))
	if resumed == 0 && !seeds.Replaying() {
		t.Error("no job went on from an epoch")
	}
}

// groupless says what is wrong with an epoch of a job that has epochs by stage.
func (s *sim) groupless(snap *Snapshot) error {
	for i := range snap.Stages {
		g := s.plan.Stages[i].Input
		if g == nil || g.Grouping == nil || g.Grouping.Triggered {
			continue
		}
		if s.grouping[i] > 0 {
			// The driver lets go of what it groups.
			return fmt.Errorf("an epoch is cut while stage %d is grouped", i)
		}
		for _, sh := range snap.Stages[i].Shards {
			if len(sh.Ready)+len(sh.Delayed) > 0 {
				return fmt.Errorf("an epoch has groups of stage %d", i)
			}
		}
	}
	return nil
}

// TestAStageThatEndsIsWritten, and not more often than stages end.
func TestAStageThatEndsIsWritten(t *testing.T) {
	p := &graph.Plan{}
	imp := link(p, &graph.Stage{Kind: graph.Impulse})
	read := link(p, &graph.Stage{Kind: graph.SDK}, imp)
	link(p, &graph.Stage{Kind: graph.SDK, Input: &graph.Input{Keyed: true, Grouping: &graph.Grouping{}}}, read)
	s := newSim(p, Config{Recoverable: true, ByStage: true, Shards: 2, EpochInterval: time.Nanosecond, BundleElements: 5}, 7)
	s.input = numbers(100)
	if err := s.run(0); err != nil || s.result != nil {
		t.Fatal(err, s.result)
	}
	// The stage that reads, the one that groups, and the job's end may be one.
	if n := len(s.durable); n < 2 || n > 3 {
		t.Errorf("%d epochs, want one for each stage that does something", n)
	}
}

// TestAPausedBatchJobGoesOnFromAStage: the groups that are queued when it pauses are in no epoch.
func TestAPausedBatchJobGoesOnFromAStage(t *testing.T) {
	seeds.Each(t, *seedCount, func(seed uint64) {
		s, hop := crashing(seed)
		s.plan.Stages[1].Unbounded = false
		s.cfg.ByStage, s.cfg.EpochBytes, s.cfg.OnPoison, s.crash = true, 1000, PauseJob, 0
		s.c = New(s.plan, s.cfg)
		s.poison = map[[2]int]bool{{3, 17}: true} // of the stage that groups
		err := s.run(0)
		var paused *Paused
		if err == nil && !errors.As(s.result, &paused) {
			err = fmt.Errorf("it ends with %v", s.result)
		}
		s.poison = nil
		if err == nil {
			err = s.crashNow()
		}
		if err == nil {
			err = s.untilEnd(0)
		}
		if err == nil {
			err = s.judge(hop)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}

// TestGroupsMakeRoomForAnEpoch: when a stage ends while shards of another are grouped, these are worked
// off, the epoch is cut, and only then the next shard is grouped.
func TestGroupsMakeRoomForAnEpoch(t *testing.T) {
	p := &graph.Plan{}
	imp := link(p, &graph.Stage{Kind: graph.Impulse})
	read := link(p, &graph.Stage{Kind: graph.SDK}, imp)
	slow := link(p, &graph.Stage{Kind: graph.SDK}, imp)
	group := link(p, &graph.Stage{Kind: graph.SDK, Input: &graph.Input{Keyed: true, Grouping: &graph.Grouping{}}}, read)
	c := New(p, Config{Recoverable: true, ByStage: true, Shards: 3, Slots: 2})
	one := func(shard int) Routed { return Routed{Shard: shard, Block: Block{Count: 1, Payload: numbers(1)}} }
	bundles := map[int]BundleID{}
	var groups []GroupShard
	step := func(ev Event) (epochs []WriteEpoch) {
		acts := c.Step(0, ev)
		for _, r := range of[RunBundle](acts) {
			bundles[r.Stage] = r.Bundle
		}
		groups = append(groups, of[GroupShard](acts)...)
		return of[WriteEpoch](acts)
	}
	finish := func(stage int, out ...Routed) []WriteEpoch {
		return step(BundleFinished{Bundle: bundles[stage], Outputs: out})
	}
	step(Started{})
	finish(imp, Routed{Target: 0, Block: Block{Count: 1, Payload: numbers(1)}}, Routed{Target: 1, Block: Block{Count: 1, Payload: numbers(1)}})
	if e := finish(read, one(0), one(1), one(2)); len(e) != 1 {
		t.Fatalf("%d epochs when a stage has ended, want one", len(e))
	}
	step(EpochDurable{Epoch: 1})
	grouped := func(i int) []WriteEpoch {
		return step(ShardGrouped{Bundle: groups[i].Bundle, Stage: group, Shard: groups[i].Shard, Taken: 1, Blocks: []Block{{Count: 1, Payload: numbers(1)}}})
	}
	if len(groups) != 1 {
		t.Fatalf("%d shards are grouped beside the slow stage, want one", len(groups))
	}
	if e := append(finish(slow), grouped(0)...); len(e) > 0 || len(groups) > 1 {
		t.Fatalf("with groups in the queue %d epochs are cut, and %d shards grouped", len(e), len(groups))
	}
	if e := finish(group); len(e) != 1 || len(groups) != 3 {
		t.Errorf("behind the groups %d epochs are cut and %d shards grouped, want one and the rest", len(e), len(groups))
	}
}

// TestGroupsWaitForTheEpochBefore: a stage ends while the end of another is being written. What it has put out
// is not grouped before that is written, too.
func TestGroupsWaitForTheEpochBefore(t *testing.T) {
	p := &graph.Plan{}
	imp := link(p, &graph.Stage{Kind: graph.Impulse})
	first := link(p, &graph.Stage{Kind: graph.SDK}, imp)
	second := link(p, &graph.Stage{Kind: graph.SDK}, first)
	link(p, &graph.Stage{Kind: graph.SDK, Input: &graph.Input{Keyed: true, Grouping: &graph.Grouping{}}}, second)
	c := New(p, Config{Recoverable: true, ByStage: true})
	acts := c.Step(0, Started{})
	finish := func() []Action {
		return c.Step(0, BundleFinished{Bundle: of[RunBundle](acts)[0].Bundle, Outputs: []Routed{{Block: Block{Count: 1, Payload: numbers(1)}}}})
	}
	acts = finish() // the impulse
	if acts = finish(); len(of[WriteEpoch](acts)) != 1 {
		t.Fatalf("a stage ends with %v, want an epoch", acts)
	}
	if acts = finish(); len(of[GroupShard](acts)) > 0 {
		t.Errorf("it is grouped before it is written: %v", acts)
	}
	if acts = c.Step(0, EpochDurable{Epoch: 1}); len(of[WriteEpoch](acts)) != 1 || len(of[GroupShard](acts)) != 1 {
		t.Errorf("then comes %v, want an epoch and a grouping", acts)
	}
}
