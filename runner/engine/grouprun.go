package engine

import (
	"context"

	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/statebackend"
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
	if st.held == nil {
		go func() {
			ev.Err = guard(func() (err error) {
				ev.Blocks, err = st.grouper.group(j.keep, a.Blocks)
				return err
			})
			j.send(ev)
		}()
		return
	}
	run.stage, run.blocks = st, a.Blocks
	run.shard, run.timers = st.held.state[a.Shard], st.held.timers[a.Shard]
	h := st.holding(ctx, a, j.store.reader)
	go func() {
		ev.Err = guard(func() (err error) {
			if err = run.timers.failed(); err != nil {
				return err
			}
			if ev.Blocks, err = h.run(a.Blocks); err != nil {
				return err
			}
			ev.Timers = h.settle()
			for i := range ev.Blocks {
				j.keep.hold(&ev.Blocks[i])
			}
			run.staged, run.late = h.changes()
			ev.StateBytes = run.staged.growth(run.shard.views.Load().dirty)
			return nil
		})
		j.send(ev)
	}()
}

// holdingRun is a run over what the input side of a shard holds: groups or elements.
type holdingRun interface {
	// run takes what is new and returns what is handed on.
	run(blocks []core.Block) ([]core.Block, error)
	// settle changes the shard's timers. It can't fail: it is the run's last step.
	settle() *core.Timers
	// changes returns the state to be applied, and how many elements came too late.
	changes() (staged *layer, late int64)
}

// holding begins a run. The loop calls it, since it takes the timers that are due.
func (r *stageRun) holding(ctx context.Context, a core.GroupShard, store func() (statebackend.Reader, error)) holdingRun {
	if r.sorter != nil {
		return r.sorter.start(a, store)
	}
	return r.trigger.start(ctx, a, store)
}

// commitGrouping applies what a grouping changed in its state. The loop calls it.
func (j *Job) commitGrouping(id core.BundleID) {
	run := j.grouping[id]
	delete(j.grouping, id)
	if run != nil {
		j.keep.drop(run.blocks)
		if run.late > 0 {
			j.noteLate(run.stage, "grouping", run.stage.inputTransform(), run.late)
		}
	}
	if run != nil && run.staged != nil && !run.staged.empty() {
		run.shard.apply(run.staged)
	}
	if j.durable != nil && run != nil && run.timers != nil {
		j.durable.noteTimers(run.timers)
	}
}
