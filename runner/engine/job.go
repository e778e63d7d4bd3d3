package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/monitoring"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
	"github.com/summerbeam/summerbeam/statebackend"
)

// Config is how jobs are run. The zero value of a field takes its default.
type Config struct {
	Core core.Config
	// BlockBytes and BlockElements bound the blocks that outputs are cut into
	// (defaults 256 KiB and BundleElements).
	BlockBytes    int
	BlockElements int64
	// ProgressEvery is the time between progress log lines and polls of running
	// bundles (default 2 s).
	ProgressEvery time.Duration
	// OpenStore opens the job's store, when first needed. It is called once.
	OpenStore func() (statebackend.Store, error)
	// Workers starts workers.
	Workers Workers
	// TestService calls the service that a TestStream without a script gets its events
	// from. Nil: there are no such TestStreams.
	TestService func(ctx context.Context, address string, tags []string) (TestFeed, error)
	// MemoryBytes bounds the data held in memory (default DefaultMemory). Memory, if
	// set, is used in its place: a budget that several jobs share.
	MemoryBytes int64
	Memory      *Budget
	// SpillDir is the directory for what doesn't fit: made when it is needed, removed
	// with the job. Empty: a temporary one.
	SpillDir string
	// Letters is the file for elements that are put aside (core.DeadLetter), made when
	// it is needed. See letters.go.
	Letters string
	// Capsules are where bundles that have failed for good are saved. See capsules.go.
	Capsules Capsules

	files fileSystem // of SpillDir; nil: the operating system's
}

func (c Config) withDefaults() Config {
	if c.Core.BundleElements <= 0 {
		c.Core.BundleElements = 10_000
	}
	if c.Memory == nil {
		c.Memory = NewBudget(c.MemoryBytes)
	}
	if c.files == nil {
		c.files = osFiles{}
	}
	if c.BlockBytes <= 0 {
		c.BlockBytes = int(min(256<<10, max(1<<10, c.Memory.Limit()/256)))
	}
	if c.BlockElements <= 0 {
		c.BlockElements = c.Core.BundleElements
	}
	if c.Core.Shards <= 0 {
		c.Core.Shards = 4
	}
	if c.Core.Slots <= 0 {
		c.Core.Slots = 4
	}
	if c.Core.EpochBytes <= 0 && c.Core.Ephemeral {
		c.Core.EpochBytes = max(1<<20, c.Memory.Limit()/4)
	}
	c.Capsules = c.Capsules.withDefaults()
	if c.ProgressEvery <= 0 {
		c.ProgressEvery = 2 * time.Second
	}
	return c
}

// Job is one run of one plan.
type Job struct {
	cfg  Config
	plan *graph.Plan
	info *JobInfo
	core *core.Core
	// slots are where what the plan keeps is stored.
	slots Slots

	stages  []*stageRun
	pools   map[string]*pool
	events  chan core.Event
	metrics monitoring.Job
	store   jobStore
	keep    *keeper

	drainOnce sync.Once
	drained   chan struct{} // closed by Drain

	// durable is nil for a job that doesn't outlive its process. It is the loop's own.
	durable *durability

	// The loop's own: no other goroutine touches these.
	running  map[core.BundleID]*runningBundle
	finalize map[core.BundleID]*runningBundle
	grouping map[core.BundleID]*groupRun
	started  time.Time
	progress progress
	feeds    map[int]*testFeed // by stage

	disk *diskFull

	// asked numbers the bundles that answer questions.
	asked atomic.Uint64

	// background are goroutines that send no event: polls and finalizations.
	background sync.WaitGroup
}

// runningBundle is what the loop knows of a bundle.
type runningBundle struct {
	id     string
	stage  *stageRun
	cancel context.CancelCauseFunc
	state  *bundleState
	timers *bundleTimers // nil for a stage without timers
	// ranOn and metrics are set before the bundle's last event is sent.
	ranOn    Worker
	metrics  []*pipepb.MonitoringInfo
	elements int64
	started  time.Time
	// late counts the elements that were dropped; set before its last event is sent.
	late int64
	// lifted says that it combines before the grouping.
	lifted bool
	// recut are blocks of its claim whose elements are in other blocks now.
	recut []core.Block
	// recorded is what the bundle was given, if that is to be kept; set before the worker runs it.
	recorded *recorder
	// letter is what is to be put aside; set before its last event is sent.
	letter []byte
	// finalized says that its finalization was asked for; the loop's.
	finalized bool
	// at is the worker that runs the bundle at the moment.
	at atomic.Pointer[Worker]

	// splitMu is held while a split is asked for and answered, and when the
	// bundle's end is sent.
	splitMu sync.Mutex
	over    bool
	blocks  []core.Block // the claim, as splits have left it
	roots   int          // how many of the last blocks are roots of an element that was split
}

// worker returns the worker that runs the bundle now, or nil.
func (r *runningBundle) worker() Worker {
	if w := r.at.Load(); w != nil {
		return *w
	}
	return nil
}

// New prepares a job. It opens nothing and starts nothing.
func New(cfg Config, info *JobInfo, plan *graph.Plan) (*Job, error) {
	cfg = cfg.withDefaults()
	if cfg.Core.StartMillis == 0 {
		cfg.Core.StartMillis = time.Now().UnixMilli()
	}
	j := &Job{
		cfg: cfg, plan: plan, info: info,
		core:     core.New(plan, cfg.Core),
		pools:    make(map[string]*pool),
		events:   make(chan core.Event, 64),
		running:  make(map[core.BundleID]*runningBundle),
		finalize: make(map[core.BundleID]*runningBundle),
		grouping: make(map[core.BundleID]*groupRun),
		drained:  make(chan struct{}),
		feeds:    make(map[int]*testFeed),
	}
	j.store.open = cfg.OpenStore
	j.disk = newDiskFull(info.Log)
	j.store.letters = letterFile{name: cfg.Letters, files: cfg.files, full: j.disk}
	mem := newMemory(cfg.Memory)
	j.keep = &keeper{mem: mem, slots: int64(cfg.Core.Slots), disk: newSegments(cfg.SpillDir, cfg.files, mem, func(stage int) string { return plan.Stages[stage].ID })}
	j.keep.disk.full = j.disk
	if cfg.Core.ByStage {
		j.keep.disk.lasts(cfg.SpillDir)
	}
	lim := j.limits()
	for _, s := range plan.Stages {
		st, err := newStageRun(plan, s, cfg.Core, lim, j.keep)
		if err != nil {
			return nil, err
		}
		j.stages = append(j.stages, st)
		for _, side := range st.sideList {
			if side.windows != nil {
				side.windows.ask = j.ask
			}
		}
		if s.Kind == graph.SDK {
			j.addPool(s.Environment)
		}
		if st.trigger != nil && st.trigger.merger != nil {
			j.addPool(st.trigger.merger.plan.Environment)
			st.trigger.merger.ask = j.ask
		}
		if st.trigger != nil && st.trigger.combiner != nil {
			j.addPool(st.trigger.combiner.plan.Environment)
			st.trigger.combiner.ask = j.ask
		}
	}
	slots, err := newSlots(plan, nil)
	if err != nil {
		return nil, err
	}
	return j, j.takeSlots(slots)
}

func (j *Job) addPool(env string) {
	if j.pools[env] == nil {
		j.pools[env] = newPool(j.cfg.Workers, j.info, env, j.plan.Pipeline.GetComponents().GetEnvironments()[env])
	}
}

func (j *Job) limits() limits {
	return limits{blockBytes: j.cfg.BlockBytes, blockElements: j.cfg.BlockElements}
}

// SpillTo makes dir the directory of Config.SpillDir. It is for the time before Run.
func (j *Job) SpillTo(dir string) { j.keep.disk.dir = dir }

// Memory returns what the job holds. Safe for concurrent use.
func (j *Job) Memory() Usage { return j.keep.mem.usage() }

// Metrics returns what is known so far. Safe for concurrent use.
func (j *Job) Metrics() (attempted, committed []*pipepb.MonitoringInfo) {
	return j.metrics.Snapshot()
}

// Run runs the job to its end and releases all it held. It returns nil when the
// job is done, ctx's cause when ctx ended it, or why it failed.
func (j *Job) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, j.disk.end)()
	var err error
	if j.cfg.Core.Recoverable {
		err = j.recover()
	}
	if err == nil {
		err = j.loop(ctx)
	} else {
		err = &notBegun{fmt.Errorf("job %s: %w", j.info.ID, err)}
	}
	j.background.Wait()
	for env, p := range j.pools {
		if cerr := p.close(); cerr != nil {
			j.info.Log.Debug("closing worker", "environment", env, "error", cerr)
		}
	}
	if cerr := j.store.close(); cerr != nil && err == nil {
		err = fmt.Errorf("job %s: closing its store: %w", j.info.ID, cerr)
	}
	if cerr := j.keep.disk.close(); cerr != nil && err == nil {
		err = fmt.Errorf("job %s: removing what it had spilled: %w", j.info.ID, cerr)
	}
	j.keep.mem.close()
	return err
}

func (j *Job) loop(ctx context.Context) error {
	j.started = time.Now()
	// Bundles outlive ctx's end by a moment: the core learns of it first and then
	// aborts them one by one, so a canceled bundle is never taken for a failed one.
	work := context.WithoutCancel(ctx)
	// Services of TestStreams are left when the job is over. Only ctx itself is asked whether it has ended:
	// a context derived from it may hear of that after those who fail by it.
	services, leave := context.WithCancel(ctx)
	defer leave()
	wake := time.NewTimer(time.Hour)
	defer wake.Stop()
	poll := time.NewTicker(j.cfg.ProgressEvery)
	defer poll.Stop()
	done, drained := ctx.Done(), j.drained
	var ev core.Event = core.Started{}
	short, full := false, false
	for {
		events := []core.Event{ev}
		if now := j.disk.store.Load(); now != full {
			full = now
			events = []core.Event{core.Disk{Full: full}, ev}
		}
		if now := j.keep.mem.pressed() || j.disk.files.Load(); now != short {
			short = now
			events = append([]core.Event{core.Memory{Short: short}}, events...)
		}
		if done != nil && ctx.Err() != nil {
			// What asks a worker, or waits for room, fails by ctx's end: that must not look like its reason.
			done = nil
			events = append([]core.Event{core.Canceled{Cause: context.Cause(ctx)}}, events...)
		}
		for _, ev := range events {
			at := time.Since(j.started)
			for _, a := range j.core.Step(at, ev) {
				if f, ok := a.(core.Finish); ok {
					j.report()
					return j.paused(f.Err)
				}
				if w, ok := a.(core.WakeAt); ok {
					wake.Reset(max(0, w.At-at))
					continue
				}
				j.do(services, work, a)
			}
			if j.core.Stopping() {
				j.disk.end() // what waits for room would keep the job from its end
			}
			j.settle(ev)
			j.progress.running.Store(int64(len(j.running)))
			j.noteDurability()
		}
		ev = nil
		for ev == nil {
			select {
			case ev = <-j.events:
			case <-wake.C:
				ev = core.Tick{}
			case <-poll.C:
				j.poll(work)
				if short || full != j.disk.store.Load() {
					ev = core.Tick{} // another job may have given memory back
				}
			case <-drained:
				drained = nil
				ev = core.Drained{}
			case <-done:
				done = nil
				ev = core.Canceled{Cause: context.Cause(ctx)}
			}
		}
	}
}

// do carries out one action. It never waits for work. ctx is the job's; what is
// aborted one by one has work.
func (j *Job) do(ctx, work context.Context, a core.Action) {
	switch a := a.(type) {
	case core.RunBundle:
		j.startBundle(work, a)
	case core.Commit:
		r := j.running[a.Bundle]
		if r == nil {
			j.commitGrouping(a.Bundle)
			return
		}
		if r.state != nil && r.state.shard != nil {
			if l := r.state.staged(); !l.empty() {
				r.state.shard.apply(l)
			}
		}
		if len(r.letter) > 0 {
			j.noteLetter(r)
		}
		// Only here, so that committed metrics count what is applied and no more.
		j.noteMetrics(r, j.metrics.BundleDone(r.id, r.metrics))
		j.noteLate(r.stage, r.id, r.stage.root(), r.late)
		j.progress.applied(r)
		j.keep.drop(r.blocks)
		if j.durable != nil && r.timers != nil {
			j.durable.noteTimers(r.timers.shard)
		}
	case core.Abort:
		if r := j.running[a.Bundle]; r != nil {
			r.cancel(a.Cause)
		}
	case core.AskSplit:
		j.askSplit(work, a)
	case core.AskTestEvent:
		j.askTestEvent(ctx, a.Stage)
	case core.GroupShard:
		j.startGrouping(ctx, a)
	case core.AddSideInput:
		if j.durable != nil {
			j.durable.noteSide(a.Stage, a.SideInput, j.stages[a.Stage].slots.sides[a.SideInput], a.Block)
		}
		j.stages[a.Stage].sideList[a.SideInput].add(a.Block)
	case core.SealSideInput:
		j.stages[a.Stage].sideList[a.SideInput].seal()
	case core.WriteEpoch:
		j.writeEpoch(a.Epoch)
	case core.Finalize:
		j.finalizeBundle(work, a.Bundle)
	case core.Retried:
		j.progress.retries.Add(1)
		j.info.Log.Warn("bundle failed and runs again", "stage", j.plan.Stages[a.Stage].Name, "attempt", a.Attempt, "error", a.Err)
	case core.Pausing:
		j.info.Log.Warn("the job pauses: it begins nothing new, and ends its run when the running bundles have ended", "stage", j.plan.Stages[a.Stage].Name, "error", a.Err)
	}
}

// settle takes an ended bundle off the loop's books, once the core has seen its end.
func (j *Job) settle(ev core.Event) {
	switch ev := ev.(type) {
	case core.BundleFinished:
		// The core may have asked for the finalization already.
		if r := j.running[ev.Bundle]; ev.Finalize && r != nil && !r.finalized {
			j.finalize[ev.Bundle] = r
		}
		delete(j.running, ev.Bundle)
	case core.BundleWaits:
		r := j.running[ev.Bundle]
		j.noteMetrics(r, j.metrics.BundleFailed(r.id, r.metrics))
		j.noteLate(r.stage, r.id, r.stage.root(), r.late)
		j.keep.drop(r.recut)
		delete(j.running, ev.Bundle)
	case core.EpochDurable:
		if d := j.durable; ev.Err == nil && d != nil {
			d.written.Store(ev.Epoch)
			if d.segs != nil && ev.Epoch == d.epoch() {
				j.info.Log.Info("what the job has is durable", "epoch", ev.Epoch, "stages_done", d.writing.snap.Over(), "stages", len(j.stages))
				d.letGo()
			}
		}
	case core.BundleFailed:
		r := j.running[ev.Bundle]
		j.noteMetrics(r, j.metrics.BundleFailed(r.id, r.metrics))
		delete(j.running, ev.Bundle)
	}
}

func (j *Job) noteMetrics(r *runningBundle, err error) {
	if err != nil {
		j.info.Log.Warn("a bundle's metric can't be read", "stage", r.stage.plan.Name, "bundle", r.id, "error", err)
	}
}

func (j *Job) send(ev core.Event) { j.events <- ev }

// writeEpoch freezes all dirty layers, here and now, and writes them in a goroutine.
func (j *Job) writeEpoch(epoch uint64) {
	var frozen []*layer
	var shards []*shardState
	for _, st := range j.stages {
		for _, sh := range st.allShards() {
			frozen = append(frozen, sh.freeze())
			shards = append(shards, sh)
		}
	}
	var c *cut
	if j.durable != nil {
		c = j.cut()
		j.durable.next = epoch + 1
	}
	began := time.Now()
	go func() {
		err := guard(func() error {
			bytes, err := j.store.write(shards, frozen, c)
			j.progress.wrote(time.Since(began), bytes)
			return err
		})
		if c != nil {
			c.release()
		}
		if err == nil {
			for _, sh := range shards {
				sh.thaw()
			}
		}
		j.send(core.EpochDurable{Epoch: epoch, Err: err})
	}()
}

func (j *Job) finalizeBundle(ctx context.Context, id core.BundleID) {
	r := j.finalize[id]
	if r == nil {
		r = j.running[id]
	}
	delete(j.finalize, id)
	if r == nil || r.ranOn == nil {
		return
	}
	r.finalized = true
	j.background.Add(1)
	go func() {
		defer j.background.Done()
		ctx, cancel := context.WithTimeout(ctx, finalizeTimeout)
		defer cancel()
		// Finalization is best effort by the model: the bundle is applied already.
		if err := guard(func() error { return r.ranOn.Finalize(ctx, r.id) }); err != nil {
			j.info.Log.Warn("bundle finalization failed", "stage", r.stage.plan.Name, "bundle", r.id, "error", err)
		}
	}()
}

// finalizeTimeout bounds how long a job's end waits for user code in finalizers.
const finalizeTimeout = 30 * time.Second

// errPanic marks a panic of ours that was caught at a job's boundary.
var errPanic = errors.New("BUG: panic in the engine")
