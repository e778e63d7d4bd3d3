package core

import (
	"errors"
	"fmt"
	"slices"
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
	below [][]int

	// result is why the job stops before its end: a failure or a cancellation.
	stopping bool
	result   error
	finished bool
	draining bool

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
	// backlog: it or a stage below it has work. Up to date only while memory is short.
	backlog bool
	// grouping: elements are grouped before they come into bundles. Without
	// triggers raw blocks wait for the input's end, then each shard is grouped.
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
			grouping:   p.Input != nil && p.Input.Grouping != nil,
		}
		if s := &c.stages[i]; s.grouping {
			s.triggered = p.Input.Grouping.Triggered
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
	case Canceled:
		c.stop(ev.Cause)
	case Drained:
		c.drain()
	case Memory:
		c.short = ev.Short
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
	for {
		c.schedule()
		if !c.idle() || c.waitsForEpoch() || c.rests() || !c.nextTestEvent() {
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
	if t := c.nextAsk(); t >= 0 {
		sooner(t)
	}
	if c.epoch.dirty() && !c.epoch.writing && !c.cfg.Ephemeral {
		sooner(c.epoch.since + c.cfg.EpochInterval)
	}
	if at >= 0 {
		c.do(WakeAt{At: at})
	}
}

// schedule fills the free slots. The stages furthest down the pipeline go first:
// they empty queues, those above fill them.
func (c *Core) schedule() {
	for i := len(c.stages) - 1; i >= 0; i-- {
		s := &c.stages[i]
		if c.epoch.full(c.cfg) {
			return // applying more would outgrow the frozen layer's write
		}
		if wait := c.holdBack(s); wait || s.sealed < len(s.sideSealed) {
			continue
		}
		if s.sides != nil {
			s.wakeWaiting()
		}
		// Bundles first: a shard is grouped when the groups of others are worked off,
		// so that few have their tables in memory at once.
		c.startBundles(s)
		c.groupShards(s)
	}
}

// groupShards asks for the grouping of shards: with triggers whenever there is
// something new, without once the input is complete.
func (c *Core) groupShards(s *stage) {
	if !s.grouping || (!s.triggered && s.inputWM != MaxTime) {
		return
	}
	now := c.processing()
	for i := range s.inbox.shards {
		sh := &s.inbox.shards[i]
		if c.busy >= c.cfg.Slots {
			return
		}
		if sh.grouping || (len(sh.raw) == 0 && !sh.triggers.due(s.groupWM, now)) {
			continue
		}
		sh.grouping = true
		c.busy++
		c.lastBundle++
		c.do(GroupShard{
			Bundle: c.lastBundle, Stage: s.index, Shard: i, Blocks: sh.raw[:len(sh.raw):len(sh.raw)],
			Event: s.groupWM, Processing: now, Output: s.firedWM,
		})
	}
}

func (c *Core) shardGrouped(ev ShardGrouped) {
	c.busy--
	s := &c.stages[ev.Stage]
	sh := &s.inbox.shards[ev.Shard]
	sh.grouping = false
	if ev.Err != nil {
		c.stop(fmt.Errorf("stage %s: grouping: %w", s.plan.Name, ev.Err))
		return
	}
	if c.stopping {
		return
	}
	c.do(Commit{Bundle: ev.Bundle})
	for _, b := range ev.Blocks {
		s.inbox.push(ev.Shard, b)
	}
	// What came while it was grouped stays.
	for i := range sh.raw[:ev.Taken] {
		s.inbox.rawHolds.remove(sh.raw[i].Hold)
	}
	sh.raw = sh.raw[ev.Taken:]
	if len(sh.raw) == 0 {
		sh.raw = nil
	}
	if ev.Timers != nil {
		sh.triggers = *ev.Timers
	}
	c.epoch.applied(c.now, ev.StateBytes, c.cfg.Recoverable)
	c.moveWatermarks()
}

func (c *Core) startBundles(s *stage) {
	n := len(s.inbox.shards)
	now := c.processingOf(s)
	for tried := 0; tried < n && c.free(s) > 0; {
		i := s.next % n
		sh := &s.inbox.shards[i]
		exclusive := s.exclusive()
		if !(s.inbox.pending(i) || sh.timers.due(s.eventWM, now)) || (exclusive && sh.running+sh.resting > 0) {
			s.next = i + 1
			tried++
			continue
		}
		var cl claim
		if s.inbox.pending(i) {
			elements, bytes := c.cfg.BundleElements, c.cfg.BundleBytes
			if !exclusive {
				// A queue for all slots: leave a share for those that are still free.
				free := int64(c.free(s))
				elements = min(elements, max(1, (sh.elements+free-1)/free))
			}
			cl = s.inbox.take(i, elements, bytes)
		}
		c.startBundle(s, i, cl)
		s.next = i + 1
	}
}

func (c *Core) startBundle(s *stage, shard int, cl claim) {
	c.lastBundle++
	b := &bundle{id: c.lastBundle, stage: s.index, shard: shard, claim: cl, truncation: c.truncation(s, cl)}
	b.askAt = c.now + c.firstAsk(b)
	c.bundles[b.id] = b
	c.order = append(c.order, b.id)
	*c.slots(s)++
	s.running++
	s.inbox.shards[shard].running++
	run := RunBundle{
		Bundle: b.id, Stage: s.index, Shard: shard,
		Attempt: cl.failed + cl.lost + 1, Blocks: cl.blocks,
		Event: s.eventWM, Processing: c.processingOf(s), Truncate: b.truncation,
	}
	if s.sides != nil {
		b.added, run.Sides = slices.Clone(s.sides.added), slices.Clone(s.sides.watermarks)
	}
	c.do(run)
}

// endBundle takes a bundle off the books; its claim is the caller's to settle.
func (c *Core) endBundle(id BundleID) *bundle {
	b := c.bundles[id]
	if b == nil {
		return nil
	}
	delete(c.bundles, id)
	for i, o := range c.order {
		if o == id {
			c.order = append(c.order[:i], c.order[i+1:]...)
			break
		}
	}
	s := &c.stages[b.stage]
	*c.slots(s)--
	s.running--
	s.inbox.shards[b.shard].running--
	return b
}

func (c *Core) bundleFinished(ev BundleFinished) {
	b := c.endBundle(ev.Bundle)
	if b == nil || c.stopping {
		return
	}
	s := &c.stages[b.stage]
	c.do(Commit{Bundle: b.id})
	for _, o := range ev.Outputs {
		t := s.plan.Outputs[o.Output].To[o.Target]
		r := &c.stages[t.Stage]
		switch {
		case t.SideInput >= 0:
			if r.sides != nil {
				r.sides.added[t.SideInput]++
			}
			c.do(AddSideInput{Stage: t.Stage, SideInput: t.SideInput, Block: o.Block})
		case r.grouping:
			r.inbox.pushRaw(o.Shard, o.Block)
		case r.plan.Input.Keyed:
			r.inbox.push(o.Shard, o.Block)
		default:
			r.inbox.push(0, o.Block)
		}
	}
	for _, r := range ev.Residuals {
		c.leave(b, r)
	}
	s.inbox.release(b.claim)
	if ev.Timers != nil {
		s.inbox.shards[b.shard].timers = *ev.Timers
	}
	c.epoch.applied(c.now, ev.StateBytes, c.cfg.Recoverable)
	switch {
	case ev.Finalize && c.cfg.Ephemeral:
		c.do(Finalize{Bundle: b.id})
	case ev.Finalize:
		c.epoch.finalizers = append(c.epoch.finalizers, b.id)
	}
	c.moveWatermarks()
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
	if ev.Fatal || cl.failed >= c.cfg.Attempts || cl.lost >= c.cfg.WorkerLosses {
		err := ev.Err
		if err == nil {
			err = errors.New("bundle failed without a reason")
		}
		if n := cl.failed + cl.lost; n > 1 {
			err = fmt.Errorf("after %d attempts: %w", n, err)
		}
		// By its id: the name lists all that is fused in the stage, and an error that
		// names many transforms hides the one the SDK's text names.
		c.stop(fmt.Errorf("stage %s: %w", s.plan.ID, err))
		return
	}
	if ev.WorkerLost {
		s.inbox.untake(b.shard, cl)
	} else {
		s.inbox.rest(c.now+c.cfg.RetryAfter<<(cl.failed-1), b.shard, cl)
	}
	c.do(Retried{Bundle: b.id, Stage: b.stage, Attempt: cl.failed + cl.lost, Err: ev.Err})
}

// moveWatermarks carries changes of holds and inputs down the stages. They stand
// in topological order, so one pass suffices.
func (c *Core) moveWatermarks() {
	for i := range c.stages {
		s := &c.stages[i]
		in := int64(MaxTime)
		if s.plan.Input != nil {
			in = c.minOutput(s.plan.Input.From)
		}
		s.inputWM = max(s.inputWM, in)
		if s.test != nil {
			s.outputWM = s.test.minWatermark()
			continue
		}
		// What is buffered by a grouping holds what comes out of it, but not the
		// time its own triggers see; so do the user's timers.
		s.groupWM = max(s.groupWM, min(s.inputWM, s.inbox.rawHolds.min()))
		s.firedWM = max(s.firedWM, min(s.groupWM, s.inbox.timerHold(triggers)))
		s.eventWM = max(s.eventWM, min(s.firedWM, s.inbox.holds.min()))
		out := min(s.eventWM, s.inbox.timerHold(userTimers))
		if out == MaxTime && s.inbox.timersPending() {
			// A timer without an output timestamp holds nothing, but it may put
			// something out: whoever waits for all of it must wait.
			out--
		}
		s.outputWM = max(s.outputWM, out)
		for j, side := range s.plan.SideInputs {
			if s.sides != nil {
				s.sides.watermarks[j] = max(s.sides.watermarks[j], c.minOutput(side.From))
			}
			if !s.sideSealed[j] && c.minOutput(side.From) == MaxTime {
				s.sideSealed[j] = true
				s.sealed++
				c.do(SealSideInput{Stage: i, SideInput: j})
			}
		}
	}
}

func (c *Core) minOutput(from []graph.Edge) int64 {
	m := int64(MaxTime)
	for _, e := range from {
		m = min(m, c.stages[e.Stage].outputWatermark(e.Output))
	}
	return m
}

// outputWatermark is one output's: only a TestStream's outputs have their own.
func (s *stage) outputWatermark(output int) int64 {
	if s.test != nil {
		return s.test.watermarks[output]
	}
	return s.outputWM
}

// processing is the present processing time, in ms since the Unix epoch.
func (c *Core) processing() int64 {
	if c.virtual {
		return c.cfg.StartMillis + c.moved
	}
	return c.cfg.StartMillis + c.now.Milliseconds()
}

// processingOf is the processing time that a stage's timers see.
func (c *Core) processingOf(s *stage) int64 {
	if c.draining && s.inputWM == MaxTime {
		return MaxTime
	}
	return c.processing()
}

// nextProcessing is the next processing time at which a timer fires.
func (c *Core) nextProcessing() int64 {
	next := int64(MaxTime)
	for i := range c.stages {
		for j := range c.stages[i].inbox.shards {
			sh := &c.stages[i].inbox.shards[j]
			if sh.running == 0 {
				next = min(next, sh.timers.Processing)
			}
			if !sh.grouping {
				next = min(next, sh.triggers.Processing)
			}
		}
	}
	return next
}
