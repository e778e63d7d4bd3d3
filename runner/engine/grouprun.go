package engine

import (
	"context"

	"github.com/summerbeam/summerbeam/runner/engine/core"
)

// groupRun is a grouping that was asked for. Its staged state waits here for the
// core's Commit.
type groupRun struct {
	shard  *shardState
	timers *shardTimers
	staged *layer
	// blocks are what it took. The core has them until the Commit, and with them every
	// epoch that is cut before.
	blocks []core.Block
	// stage and late are set before the run's event is sent.
	stage *stageRun
	late  int64
}

// startGrouping groups a shard in a goroutine of its own. The loop calls it.
func (j *Job) startGrouping(ctx context.Context, a core.GroupShard) {
	st := j.stages[a.Stage]
	ev := core.ShardGrouped{Bundle: a.Bundle, Stage: a.Stage, Shard: a.Shard, Taken: len(a.Blocks)}
	run := &groupRun{}
	j.grouping[a.Bundle] = run
	if st.trigger == nil {
		go func() {
			ev.Err = guard(func() (err error) {
				ev.Blocks, err = st.grouper.group(j.keep, a.Blocks)
				return err
			})
			j.send(ev)
		}()
		return
	}
	t := st.trigger.start(ctx, a, j.store.reader)
	run.shard, run.timers, run.staged = st.trigger.state[a.Shard], t.timers, t.staged
	run.blocks = a.Blocks
	go func() {
		ev.Err = guard(func() (err error) {
			if ev.Blocks, err = t.run(a.Blocks); err != nil {
				return err
			}
			ev.Timers = t.settle()
			for i := range ev.Blocks {
				j.keep.hold(&ev.Blocks[i])
			}
			ev.StateBytes = t.staged.growth(run.shard.views.Load().dirty)
			return nil
		})
		run.stage, run.late = st, t.late
		j.send(ev)
	}()
}

// commitGrouping applies what a grouping changed in its state. The loop calls it.
func (j *Job) commitGrouping(id core.BundleID) {
	run := j.grouping[id]
	delete(j.grouping, id)
	if run != nil {
		j.keep.drop(run.blocks)
		if run.late > 0 {
			j.noteLate(run.stage, "grouping", run.stage.plan.Input.Grouping.Transform, run.late)
		}
	}
	if run != nil && run.staged != nil && len(run.staged.cells) > 0 {
		run.shard.apply(run.staged)
	}
	if j.durable != nil && run != nil && run.timers != nil {
		j.durable.noteTimers(run.timers)
	}
}
