package core

import (
	"time"

	"github.com/summerbeam/summerbeam/runner/graph"
)

// Config is a job's fixed settings. Zero values take the defaults named.
type Config struct {
	// Shards per keyed stage (default 4).
	Shards int
	// Slots is the number of bundles and groupings that may run at once (default 4).
	Slots int
	// BundleElements and BundleBytes bound a bundle's input (defaults 10,000 and
	// 4 MiB). A single block may exceed them.
	BundleElements, BundleBytes int64
	// Attempts is how often a bundle may fail by its own fault before the job does
	// (default 3), WorkerLosses how often by a lost worker (default 10).
	Attempts, WorkerLosses int
	// RetryAfter is how long a bundle that failed by its own fault waits for its second
	// attempt (default 100 ms), and twice as long for each further one: what it has
	// asked in vain is perhaps back by then.
	RetryAfter time.Duration
	// OnPoison is what becomes of an element that fails each time (default FailJob).
	OnPoison OnPoison
	// SplitAfter is how long a bundle runs before it may be split (default 100 ms).
	SplitAfter time.Duration
	// CheckpointAfter is how long a bundle of an unbounded splittable stage runs
	// before it is asked to leave the rest for another (default 1 s): nothing of it
	// can be seen before it has ended.
	CheckpointAfter time.Duration
	// SourceSlots is the number of bundles of unbounded splittable stages that may
	// run at once (default 64). They take no part of Slots.
	SourceSlots int
	// StateSlots, if not 0, is the number of bundles of stages with user state that may
	// run at once, and StateShards how many shards these stages have. They take no part
	// of Slots then. For workers behind a network: such bundles wait for their
	// state requests nearly all the time.
	StateSlots, StateShards int
	// ForceSplits asks for splits whether slots are idle or not, for tests.
	ForceSplits bool
	// EpochInterval is the longest time between a change and its epoch (default
	// 200 ms); EpochBytes of dirty state start one earlier (default 32 MiB).
	EpochInterval time.Duration
	EpochBytes    int64
	// Ephemeral: nothing survives the process, so nothing needs to be durable. Epochs
	// are written by EpochBytes alone, to have the state out of memory.
	Ephemeral bool
	// Recoverable: each epoch also has what Snapshot returns, so that a job can go on
	// from its last one; a change of the queues alone is reason enough for an epoch.
	Recoverable bool
	// ByStage, for a recoverable job whose input ends: epochs are not written by time but when
	// a stage has ended, so that the job can go on from the last one that has. See bystage.go.
	ByStage bool
	// StartMillis is the processing time (ms since the Unix epoch) at which the job
	// starts: what timers of that domain are compared with.
	StartMillis int64
}

func (c Config) withDefaults() Config {
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	def64 := func(p *int64, v int64) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&c.Shards, 4)
	def(&c.Slots, 4)
	def(&c.SourceSlots, 64)
	def64(&c.BundleElements, 10_000)
	def64(&c.BundleBytes, 4<<20)
	def(&c.Attempts, 3)
	def(&c.WorkerLosses, 10)
	def64(&c.EpochBytes, 32<<20)
	if c.RetryAfter <= 0 {
		c.RetryAfter = 100 * time.Millisecond
	}
	if c.SplitAfter <= 0 {
		c.SplitAfter = 100 * time.Millisecond
	}
	if c.CheckpointAfter <= 0 {
		c.CheckpointAfter = time.Second
	}
	if c.EpochInterval <= 0 {
		c.EpochInterval = 200 * time.Millisecond
	}
	return c
}

// ShardsOf is how many shards a stage's input has.
func (c Config) ShardsOf(s *graph.Stage) int {
	switch {
	case s.Input == nil || !s.Input.Keyed:
		return 1
	case s.Stateful && c.StateSlots > 0:
		return max(c.Shards, c.StateShards)
	}
	return c.Shards
}

// Core is one job's state machine. It is for one goroutine.
type Core struct {
	cfg    Config
	stages []stage
	now    time.Duration
	// virtual: a TestStream moves processing time, not the clock.
	virtual bool
	moved   int64 // by TestStreams, in ms

	bundles    map[BundleID]*bundle
	lastBundle BundleID
	// order lists the running bundles by age: iterating bundles would bring the
	// map's random order into the actions.
	order []BundleID
	// busy are the slots in use, sources the source slots.
	busy, sources int
	// stateful are the state slots in use.
	stateful int

	epoch epochState
	// lastBlock is the last block id given, durable the last one that is sure to be in
	// an epoch. hops are the stages whose input must be.
	lastBlock, durable uint64
	hops               []int
	// restored: the job goes on from a snapshot.
	restored bool

	// short says that memory is; below are the readers of each stage. See pressure.go.
	short bool
	// diskFull says that the disk is: whatever runs would only make more to write.
	diskFull bool
	below    [][]int

	// result is why the job stops before its end: a failure or a cancellation.
	stopping bool
	result   error
	finished bool
	draining bool
	// pausing is why the job pauses, nil if it doesn't.
	pausing *Paused

	actions []Action
}

type stage struct {
	plan  *graph.Stage
	index int
	inbox inbox
	// next is the shard that a block without a key goes to, and where the search
	// for the next bundle begins.
	next int
	// Event-time ms; see the package comment.
	inputWM, groupWM, firedWM, eventWM, outputWM int64
	// sealed counts the side inputs that are complete.
	sealed     int
	sideSealed []bool
	// sides is nil if no side input is waited for by window.
	sides   *sideClock
	running int
	// groupingNow counts the shards that are being grouped; over says that the stage has ended.
	groupingNow int
	over        bool
	// backlog: it or a stage below it has work. Up to date only while memory is short.
	backlog bool
	// grouping: elements are grouped, or sorted by time, before they come into bundles.
	// Without triggers raw blocks wait for the input's end, then each shard is grouped.
	// Sorting goes as grouping with triggers does: time hands elements on.
	grouping, triggered bool
	// test is the script of a TestStream stage.
	test *testStream
}

type bundle struct {
	id           BundleID
	stage, shard int
	claim        claim
	aborted      bool
	// splitting: an answer to AskSplit is due. askAt is when the next may be asked
	// for, refused how often in a row it was.
	splitting bool
	askAt     time.Duration
	refused   int
	// checkpoint says that the answer due is to a split at fraction 0.
	checkpoint bool
	// added is how much had come into the side inputs when it began.
	added []int
	// truncation says that it truncates its claim instead of processing it.
	truncation bool
}

// New makes the core of a job that runs plan.
func New(plan *graph.Plan, cfg Config) *Core {
	c := &Core{cfg: cfg.withDefaults(), bundles: make(map[BundleID]*bundle), below: below(plan)}
	c.stages = make([]stage, len(plan.Stages))
	for i, p := range plan.Stages {
		shards := c.cfg.ShardsOf(p)
		c.stages[i] = stage{
			plan:       p,
			index:      i,
			inbox:      newInbox(shards, &c.lastBlock),
			inputWM:    MinTime,
			groupWM:    MinTime,
			firedWM:    MinTime,
			eventWM:    MinTime,
			outputWM:   MinTime,
			sideSealed: make([]bool, len(p.SideInputs)),
			grouping:   p.Input != nil && (p.Input.Grouping != nil || p.Input.Sorting != nil),
		}
		if s := &c.stages[i]; s.grouping {
			s.triggered = p.Input.Sorting != nil || p.Input.Grouping.Triggered
		}
		for j, side := range p.SideInputs {
			if side.Windows == nil {
				continue
			}
			s := &c.stages[i]
			if s.sides == nil {
				s.sides = newSideClock(len(p.SideInputs))
			}
			s.sideSealed[j] = true
			s.sealed++
		}
		if p.StableInput && c.cfg.Recoverable {
			c.stages[i].inbox.durable = &c.durable
			c.hops = append(c.hops, i)
		}
		if p.Kind == graph.TestStream {
			c.stages[i].test = newTestStream(p)
			c.virtual = true
		}
	}
	return c
}

// Step takes one event and returns what to do about it. now is the job's clock:
// it never goes back. The returned slice is valid until the next Step.
func (c *Core) Step(now time.Duration, ev Event) []Action {
	c.actions = c.actions[:0]
	if c.finished {
		return nil
	}
	c.now = max(c.now, now)
	switch ev := ev.(type) {
	case Started:
		c.start()
	case BundleFinished:
		c.bundleFinished(ev)
	case BundleWaits:
		c.bundleWaits(ev)
	case BundleFailed:
		c.bundleFailed(ev)
	case ShardGrouped:
		c.shardGrouped(ev)
	case EpochDurable:
		c.epochDurable(ev)
	case SplitAnswered:
		c.splitAnswered(ev)
	case TestEvent:
		c.testEvent(ev)
	case Canceled:
		c.stop(ev.Cause)
	case Drained:
		c.drain()
	case Memory:
		c.short = ev.Short
	case Disk:
		c.diskFull = ev.Full
	case Tick:
	}
	c.advance()
	return c.actions
}

func (c *Core) do(a Action) { c.actions = append(c.actions, a) }

func (c *Core) start() {
	for i := range c.stages {
		s := &c.stages[i]
		if c.restored {
			for j, sealed := range s.sideSealed {
				if sealed && s.plan.SideInputs[j].Windows == nil {
					c.do(SealSideInput{Stage: i, SideInput: j})
				}
			}
			continue
		}
		if s.plan.Kind == graph.Impulse {
			// One block stands for the element that the driver makes.
			s.inbox.push(0, Block{Count: 1, Hold: MinTime})
		}
	}
	c.moveWatermarks()
}

// advance does all that has become possible: due residuals, bundles, an epoch,
// the job's end.
func (c *Core) advance() {
	if c.finished {
		return
	}
	for i := range c.stages {
		c.stages[i].inbox.wake(c.now)
		c.stages[i].inbox.wakeResting(c.now)
	}
	if c.stopping {
		if c.idle() && !c.epoch.writing {
			c.finish(c.result)
		}
		return
	}
	if c.pausing != nil {
		c.advancePause()
		return
	}
	if c.cfg.ByStage {
		c.maybeWriteEpoch(false) // before groups are made, which can be in none
	}
	for {
		c.schedule()
		if c.diskFull || c.epoch.full(c.cfg) || !c.idle() || c.waitsForEpoch() || c.rests() || !c.nextTestEvent() {
			break
		}
	}
	c.maybeSplit()
	if c.done() && (c.cfg.Ephemeral || !c.epoch.dirty()) && !c.epoch.writing {
		c.finish(nil)
		return
	}
	c.maybeWriteEpoch(c.done())
	c.wakeUp()
}

// Stopping says that the job ends early, and waits for what still runs to end.
func (c *Core) Stopping() bool { return c.stopping }

// rests says that a failed bundle waits for its next attempt.
func (c *Core) rests() bool {
	for i := range c.stages {
		if len(c.stages[i].inbox.resting) > 0 {
			return true
		}
	}
	return false
}

// idle says that nothing runs.
func (c *Core) idle() bool { return c.busy == 0 && c.sources == 0 && c.stateful == 0 }

func (c *Core) done() bool {
	if !c.idle() {
		return false
	}
	for i := range c.stages {
		if s := &c.stages[i]; s.inputWM != MaxTime || !s.inbox.empty() {
			return false
		}
	}
	return true
}

func (c *Core) finish(err error) {
	c.finished = true
	c.do(Finish{Err: err})
}

// stop ends the job early. Running bundles are aborted; the job finishes when the
// last of them has ended, so that nothing of it runs on behind its back.
func (c *Core) stop(err error) {
	if c.stopping {
		return
	}
	c.stopping = true
	c.result = err
	for _, id := range c.order {
		c.abort(id, err)
	}
}

func (c *Core) abort(id BundleID, cause error) {
	if b := c.bundles[id]; b != nil && !b.aborted {
		b.aborted = true
		c.do(Abort{Bundle: id, Cause: cause})
	}
}

// wakeUp asks for the next Tick that is needed, if any is.
func (c *Core) wakeUp() {
	at := time.Duration(-1)
	sooner := func(t time.Duration) {
		if at < 0 || t < at {
			at = t
		}
	}
	if c.pausing == nil { // or nothing is begun, whatever is due
		for i := range c.stages {
			if d := c.stages[i].inbox.delayed; len(d) > 0 {
				sooner(d[0].at)
			}
			for _, r := range c.stages[i].inbox.resting {
				sooner(r.at)
			}
		}
		if p := c.nextProcessing(); p != MaxTime && !c.virtual {
			sooner(time.Duration(p-c.cfg.StartMillis) * time.Millisecond)
		}
	}
	if t := c.nextAsk(); t >= 0 {
		sooner(t)
	}
	if c.epoch.dirty() && !c.epoch.writing && !c.cfg.Ephemeral && !c.cfg.ByStage {
		sooner(c.epoch.since + c.cfg.EpochInterval)
	}
	if at >= 0 {
		c.do(WakeAt{At: at})
	}
}
