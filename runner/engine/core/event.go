package core

import (
	"time"

	"github.com/summerbeam/summerbeam/runner/graph"
)

// Event is something that happened outside the core.
type Event interface{ event() }

// Started begins the job. It is the first event and comes once.
type Started struct{}

// BundleFinished reports a bundle that succeeded, with all its effects.
type BundleFinished struct {
	Bundle BundleID
	// Outputs in the order in which they are to be queued.
	Outputs []Routed
	// Residuals are work of the same stage left for later.
	Residuals []Residual
	// StateBytes is what committing its staged state adds to the dirty layer.
	StateBytes int64
	// Finalize says the worker waits for a word once the bundle is durable.
	Finalize bool
	// Timers are the shard's timers as the bundle leaves them; nil: as before.
	Timers *Timers
}

// Timers sums up what a shard's timers ask for. Its zero value is not "none": that
// is NoTimers.
type Timers struct {
	// Event and Processing are the times (ms) of the next timer in each domain.
	Event, Processing int64
	// Hold is the least event time that a timer, or what is buffered behind one,
	// holds the watermark back to.
	Hold int64
}

// NoTimers is a shard without timers.
var NoTimers = Timers{Event: MaxTime, Processing: MaxTime, Hold: MaxTime}

// BundleWaits reports a bundle that has done nothing, since elements of it must wait
// for windows of side inputs. Together Ready and Waiting are its claim, cut anew; each
// keeps the claim's order.
type BundleWaits struct {
	Bundle  BundleID
	Ready   []Block
	Waiting []Waiting
}

// BundleFailed reports a bundle that left nothing behind.
type BundleFailed struct {
	Bundle BundleID
	Err    error
	// WorkerLost says it was the worker's end, not the bundle's fault: such
	// failures count against a limit of their own, a higher one.
	WorkerLost bool
	// Fatal says that another attempt can't help.
	Fatal bool
	// Halves are the bundle's claim, as splits have left it, cut in two, if RunBundle.Halve
	// asked for it, the fault was the bundle's own and there were two elements at least.
	Halves [2][]Block
}

// ShardGrouped answers GroupShard: the groups or panes that are ready for bundles.
type ShardGrouped struct {
	Bundle       BundleID
	Stage, Shard int
	// Taken is how many of the shard's blocks were grouped: all that the action had.
	Taken  int
	Blocks []Block
	// StateBytes and Timers as in BundleFinished.
	StateBytes int64
	Timers     *Timers
	Err        error
}

// EpochDurable answers WriteEpoch.
type EpochDurable struct {
	Epoch uint64
	Err   error
}

// SplitAnswered answers AskSplit. It must come before the bundle's own end.
type SplitAnswered struct {
	Bundle BundleID
	// Refused says that nothing was split.
	Refused bool
	// Primary is the bundle's claim from now on: its first blocks and what is left
	// of an element that was split itself. Residual is the rest.
	Primary, Residual []Block
	// Roots is how many of the residual, its first, are of an element that was split.
	Roots int
	// Idle says that the element which was split is in the residual as it was: the
	// bundle had done nothing of it.
	Idle bool
}

// TestEvent answers AskTestEvent. A nil Event says that there are no more.
type TestEvent struct {
	Stage int
	Event *graph.TestEvent
	Err   error
}

// Tick tells the time; nothing else happened.
type Tick struct{}

// Memory says whether memory, or the disk for what does not fit in it, is short from now on.
type Memory struct{ Short bool }

// Disk says whether the disk of the job's store is full from now on: nothing new is
// begun then.
type Disk struct{ Full bool }

// Drained asks the job to read no more and to come to its end with what it has.
type Drained struct{}

// Canceled asks the job to stop. Cause becomes the job's result.
type Canceled struct{ Cause error }

func (Started) event()        {}
func (BundleFinished) event() {}
func (BundleWaits) event()    {}
func (BundleFailed) event()   {}
func (ShardGrouped) event()   {}
func (EpochDurable) event()   {}
func (SplitAnswered) event()  {}
func (TestEvent) event()      {}
func (Tick) event()           {}
func (Memory) event()         {}
func (Disk) event()           {}
func (Drained) event()        {}
func (Canceled) event()       {}

// Routed is one output block on its way to one reader.
type Routed struct {
	// Output indexes the stage's Outputs, Target the output's To.
	Output, Target int
	// Shard of the reader; of no meaning for readers that are not keyed.
	Shard int
	Block Block
}

// Residual is an element that a splittable DoFn left for later.
type Residual struct {
	Block Block
	Delay time.Duration
}

// Action is something for the driver to do. Actions of one Step are carried out
// in order. Those marked "at once" must be complete before the next Step.
type Action interface{ action() }

// RunBundle starts a bundle; its end is a BundleFinished, BundleWaits or BundleFailed event.
type RunBundle struct {
	Bundle       BundleID
	Stage, Shard int
	// Attempt counts from 1.
	Attempt int
	Blocks  []Block
	// Timers of the shard up to these times (ms) fire in the bundle, in order. At the
	// end of processing time (MaxTime) a key whose timers of that domain have fired
	// can set no more of them, or it would go on for ever.
	Event, Processing int64
	// Sides are the watermarks (ms) of the side inputs; nil if the stage waits for none
	// by window.
	Sides []int64
	// Truncate says that the stage's truncation runs in place of the stage. What it
	// writes comes back as residuals, one for each element.
	Truncate bool
	// NoTimers says that none of the shard's timers fire in the bundle.
	NoTimers bool
	// Halve asks for BundleFailed.Halves if the bundle fails.
	Halve bool
	// Last says that a failure of the bundle may be the last that the job bears of its input.
	Last bool
	// Poison, if not nil, says that the bundle's only element has failed with it too often:
	// it is put aside, and the bundle has no other effect.
	Poison error
}

// Commit merges a finished bundle's staged state into the dirty layer, at once.
type Commit struct{ Bundle BundleID }

// Abort asks for an early end of a running bundle. It still ends by an event.
type Abort struct {
	Bundle BundleID
	Cause  error
}

// AskSplit asks a running bundle to give up the part of its input behind Fraction of
// what remains. Elements is the size of its input.
type AskSplit struct {
	Bundle   BundleID
	Fraction float64
	Elements int64
}

// AskTestEvent asks the service of a TestStream for its next event.
type AskTestEvent struct{ Stage int }

// GroupShard asks for a shard's elements to be grouped by key and window. For a
// stage with triggers Blocks are what has come since, and Event and Processing
// the times (ms) to which the shard's trigger timers fire; panes that fire come
// back, the rest stays in state. For others Blocks are all of the shard's input.
type GroupShard struct {
	Bundle            BundleID
	Stage, Shard      int
	Blocks            []Block
	Event, Processing int64
	// Output is the watermark (ms) of what the grouping hands on.
	Output int64
}

// AddSideInput hands elements to a side input of a stage, at once.
type AddSideInput struct {
	Stage, SideInput int
	Block            Block
}

// SealSideInput says that a side input is complete, at once.
type SealSideInput struct{ Stage, SideInput int }

// WriteEpoch freezes the dirty layer, at once, and starts to write it; its end is
// an EpochDurable event.
type WriteEpoch struct{ Epoch uint64 }

// Finalize tells the worker that ran the bundle that it is durable.
type Finalize struct{ Bundle BundleID }

// Retried reports a failed attempt that will be made again.
type Retried struct {
	Bundle  BundleID
	Stage   int
	Attempt int
	Err     error
}

// Pausing reports that the job is about to pause, because a stage can't process what it has.
type Pausing struct {
	Stage int
	Err   error
}

// WakeAt asks for a Tick at the given time, at the latest.
type WakeAt struct{ At time.Duration }

// Finish is the job's end and the last action ever. Err is nil when it is done, and a
// *Paused when it is to go on one day.
type Finish struct{ Err error }

func (RunBundle) action()     {}
func (Commit) action()        {}
func (Abort) action()         {}
func (AskSplit) action()      {}
func (AskTestEvent) action()  {}
func (GroupShard) action()    {}
func (AddSideInput) action()  {}
func (SealSideInput) action() {}
func (WriteEpoch) action()    {}
func (Finalize) action()      {}
func (Retried) action()       {}
func (Pausing) action()       {}
func (WakeAt) action()        {}
func (Finish) action()        {}
