// Package runner is Summerbeam's public Go API: it puts the layers together.
//
// A pipeline reaches the engine in one of two ways. Served: [Open] makes a server
// for Beam's Job API and Fn API on one port; SDKs submit to it and their workers
// connect to it. Embedded: [RunEmbedded] runs one pipeline in this process; that is
// what package beamrunner calls when a Go program says --runner=summerbeam.
//
//	job API, artifacts   runner/job        what a client sees
//	Pipeline -> stages   runner/graph      pure
//	bundles, state       runner/engine     the deterministic core is engine/core
//	workers              fnapi, fnapi/inproc
//	store                statebackend/{pebble,rocksdb}
package runner

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/runner/engine"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
	"github.com/summerbeam/summerbeam/runner/job"
	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/stores"
	"google.golang.org/protobuf/types/known/structpb"
)

// Config is how a runner runs jobs. The zero value is an ephemeral runner with the
// store that is compiled in.
type Config struct {
	// DataDir is where state and artifacts are kept. Empty: in a temporary directory
	// that goes with the runner, written without a log and without syncs.
	DataDir string
	// Store is the state backend, "rocksdb" or "pebble". Empty: the best that is
	// compiled in.
	Store string
	// OpenStore, if not nil, opens the jobs' stores in place of the backend named: for
	// backends of others, and for tests.
	OpenStore statebackend.Opener
	// MemoryBytes bounds the data that all jobs together hold in memory on its way
	// from stage to stage; what is more goes to files under DataDir. The stores' caches
	// and buffers, which come on top, are sized by it. 0: 128 MiB.
	MemoryBytes int64
	// Log gets everything. nil: slog's default logger.
	Log *slog.Logger
	// Engine tunes bundles, shards and epochs; its workers and store are set here.
	Engine engine.Config
	// Drain, if not nil, drains the job of RunEmbedded when it is closed: the job reads
	// no more, lets what it has read flow out, and ends well.
	Drain <-chan struct{}
}

// jobs makes executions: it is what the job service and RunEmbedded share.
type jobs struct {
	cfg     Config
	open    statebackend.Opener
	dir     string
	temp    bool
	workers engine.Workers
	live    live
	homes   homes
	// superseded, if not nil, is told the id of a paused job when another has moved in where
	// it was.
	superseded func(id string)
}

var _ job.Engine = (*jobs)(nil)

func newJobs(cfg Config) (*jobs, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.MemoryBytes <= 0 {
		cfg.MemoryBytes = engine.DefaultMemory
	}
	if cfg.Engine.Memory == nil {
		cfg.Engine.Memory = engine.NewBudget(cfg.MemoryBytes)
	}
	if cfg.Store == "" {
		cfg.Store = stores.Default()
	}
	open, err := cfg.OpenStore, error(nil)
	if open == nil {
		if open, err = stores.Opener(cfg.Store); err != nil {
			return nil, err
		}
	}
	cores := runtime.GOMAXPROCS(0)
	if cfg.Engine.Core.Shards <= 0 {
		cfg.Engine.Core.Shards = 4 * cores
	}
	if cfg.Engine.Core.Slots <= 0 {
		cfg.Engine.Core.Slots = 2 * cores
	}
	j := &jobs{cfg: cfg, open: open, dir: cfg.DataDir}
	if j.dir == "" {
		j.temp = true
		if j.dir, err = os.MkdirTemp("", "summerbeam-"); err != nil {
			return nil, fmt.Errorf("temporary data directory: %w", err)
		}
		return j, nil
	}
	if err := os.MkdirAll(j.dir, 0o755); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	return j, nil
}

func (j *jobs) close() error {
	if j.temp {
		return os.RemoveAll(j.dir)
	}
	return nil
}

// Prepare implements job.Engine.
func (j *jobs) Prepare(info *engine.JobInfo, p *pipepb.Pipeline) (job.Execution, error) {
	plan, err := graph.Compile(p)
	if err != nil {
		return nil, err
	}
	// The job's store lives as long as its execution: nothing reads it afterwards.
	dir := filepath.Join(j.dir, "jobs", info.ID)
	cfg := j.cfg.Engine
	if err := applyOptions(&cfg, info.Options); err != nil {
		return nil, err
	}
	how, err := readUpdateOptions(info.Options)
	if err != nil {
		return nil, err
	}
	cfg.Workers = j.workers
	cfg.TestService = callTestService
	cfg.Core.Ephemeral = j.temp
	cfg.SpillDir = filepath.Join(j.dir, "spill", info.ID)
	var lives *home
	switch {
	case j.temp:
	case plan.Endless():
		plan.GroupByState()
		cfg.Core.Recoverable = true
		if lives, err = j.openHome(info, plan, &cfg); err != nil {
			return nil, err
		}
		if invented.MatchString(info.Name) {
			info.Log.Warn("the job has no name of its own: when its program is started again it begins anew; with --job_name=NAME it goes on from where it was", "name", info.Name)
		}
		if how.planOnly {
			return &updatePlan{jobs: j, info: info, home: lives, how: how, cfg: cfg.Core}, nil
		}
	case plan.HasEnd():
		if lives, err = j.batchHome(info, plan, p, &cfg); err != nil {
			return nil, err
		}
		if lives != nil {
			cfg.Core.Recoverable, cfg.Core.ByStage = true, true
			cfg.SpillDir = lives.segments()
		}
	}
	if lives == nil && how.wanted || lives != nil && lives.batch && how.planOnly {
		return nil, errors.New("--summerbeam_update is for jobs that outlive their process: those with a source that never ends, or a name of their own, and a data directory; and =plan only for the former")
	}
	if lives == nil && cfg.Core.OnPoison == core.PauseJob {
		if givenOptions(info.Options)[optionOnPoison] != "" {
			return nil, fmt.Errorf("--%s=pause is for jobs that outlive their process: those with a source that never ends, or a --job_name, and a data directory", optionOnPoison)
		}
		cfg.Core.OnPoison = core.FailJob // the server's default, which is for those that can
	}
	cfg.Letters = j.lettersFile(info, lives)
	if cfg.Capsules.Dir == "" && !j.temp {
		cfg.Capsules.Dir = filepath.Join(j.dir, "capsules")
	}
	var e *engine.Job
	openStore := func(dir string) (statebackend.Store, error) {
		return j.openStore(dir, func(full bool) bool { return e.NoteDiskFull(full) })
	}
	cfg.OpenStore = func() (st statebackend.Store, err error) {
		dir := dir
		if lives != nil {
			dir = lives.store()
		}
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return nil, fmt.Errorf("job %s: its store: %w", info.ID, err)
		}
		if lives != nil && lives.batch {
			st, err = lives.openBatch(openStore, info, how.wanted)
		} else {
			st, err = openStore(dir)
		}
		if errors.Is(err, statebackend.ErrLocked) && lives != nil {
			return nil, fmt.Errorf("a job named %q runs already, from %s: give this one another --job_name, or end the other first: %w", info.Name, lives.dir, err)
		}
		if errors.Is(err, statebackend.ErrCorrupt) && lives != nil && lives.aside != nil {
			info.Log.Warn("a job of this name has failed, its store can't be opened, and this is another pipeline: the failed job is put aside", "name", info.Name, "dir", lives.asideDir(), "error", err)
			if err = lives.moveAside(); err == nil {
				if err = os.MkdirAll(lives.dir, 0o755); err == nil {
					st, err = openStore(lives.store())
				}
			}
		}
		if err != nil {
			return nil, fmt.Errorf("job %s: its store: %w", info.ID, err)
		}
		if lives != nil {
			// Behind the store's lock: who is refused must not write in another's home.
			req := &jobpb.PrepareJobRequest{Pipeline: p, PipelineOptions: info.Options, JobName: info.Name}
			if !lives.batch {
				if st, err = lives.takeOver(st, openStore, cfg.Core, how, info.Log); err != nil {
					return nil, fmt.Errorf("job %s: %w", info.ID, err)
				}
			}
			if err := errors.Join(os.RemoveAll(lives.saving()), lives.move(info.ID, req)); err != nil {
				return nil, errors.Join(fmt.Errorf("job %s: its record: %w", info.ID, err), st.Close())
			}
			if was, ok := j.homes.resumed(lives); ok && was != info.ID && j.superseded != nil {
				j.superseded(was)
			}
		}
		return st, nil
	}
	if e, err = engine.New(cfg, info, plan); err != nil {
		return nil, err
	}
	return &execution{Job: e, jobs: j, info: info, dir: dir, home: lives, hasEnd: plan.HasEnd(), how: how, cfg: cfg}, nil
}

// openStore opens the store of a job. diskFull may be nil; see statebackend.Options.
func (j *jobs) openStore(dir string, diskFull func(bool) bool) (statebackend.Store, error) {
	return j.open(dir, statebackend.Options{
		CacheBytes:       max(8<<20, j.cfg.MemoryBytes/8),
		WriteBufferBytes: max(4<<20, j.cfg.MemoryBytes/16),
		Ephemeral:        j.temp,
		DiskFull:         diskFull,
	})
}

type execution struct {
	*engine.Job
	jobs *jobs
	info *engine.JobInfo
	dir  string
	home *home // nil if the job doesn't outlive its process
	// hasEnd is the plan's.
	hasEnd bool
	how    updateOptions
	cfg    engine.Config
	// stop ends Run by a cause; set when Run begins.
	stop context.CancelCauseFunc
	// saveMu is held while a savepoint is made.
	saveMu sync.Mutex
}

// Outlives implements job.Execution.
func (e *execution) Outlives() bool { return e.home != nil }

// Run implements job.Execution.
func (e *execution) Run(ctx context.Context) error {
	ctx, e.stop = context.WithCancelCause(ctx)
	defer e.stop(nil)
	if e.home != nil && e.home.update != nil {
		if err := e.makeRoom(ctx); err != nil {
			return fmt.Errorf("job %s: %w", e.info.ID, err)
		}
	}
	e.jobs.live.add(e)
	defer e.jobs.live.remove(e)
	if e.home != nil {
		leave, err := e.enter(ctx)
		if err != nil {
			return fmt.Errorf("job %s: %w", e.info.ID, err)
		}
		defer leave()
	}
	err := e.Job.Run(ctx)
	if e.home != nil {
		var paused *engine.PausedError
		if errors.As(err, &paused) {
			return e.pause(paused)
		}
		ownFault := err != nil && ctx.Err() == nil && e.home.moved
		// A batch job's own fault is its end, but not that of its disk.
		over := e.home.batch && ownFault && !engine.NotBegun(err) && !engine.DiskFault(err)
		if err != nil && !errors.Is(err, job.ErrCancelled) && !over {
			if ownFault {
				// It is the job's own fault: the next server would only fail again.
				err = errors.Join(err, e.home.fail(err))
			}
			e.info.Log.Info("the job's state is kept; the same pipeline goes on from it under the same name", "name", e.info.Name, "dir", e.home.dir)
			return err
		}
		e.dir = e.home.dir
	}
	if rerr := os.RemoveAll(e.dir); rerr != nil && err == nil {
		err = fmt.Errorf("removing the job's store: %w", rerr)
	}
	return err
}

// enter takes the job's home. A batch job that finds its own taken takes another.
func (e *execution) enter(ctx context.Context) (leave func(), err error) {
	if e.home.batch {
		if leave, ok := e.jobs.homes.tryEnter(e.home); ok {
			return leave, nil
		}
		e.home.dir = e.jobs.ownHome(e.info)
		e.Job.SpillTo(e.home.segments())
	}
	return e.jobs.homes.enter(ctx, e.home)
}

// Result is what is left of an embedded job.
type Result struct {
	JobID string
	// Attempted and Committed are the job's metrics.
	Attempted, Committed []*pipepb.MonitoringInfo
}

// RunEmbedded runs a pipeline in this process and returns when it has ended. The
// result is never nil: a failed job has metrics too.
func RunEmbedded(ctx context.Context, cfg Config, name string, p *pipepb.Pipeline, opts *structpb.Struct, workers engine.Workers) (*Result, error) {
	j, err := newJobs(cfg)
	if err != nil {
		return &Result{}, err
	}
	defer j.close()
	j.sweepUnnamed(time.Now())
	j.workers = workers
	info := &engine.JobInfo{ID: "embedded-" + strings.ToLower(rand.Text()[:12]), Name: name, Options: opts}
	info.Log = j.cfg.Log.With("job", info.ID, "name", name)
	res := &Result{JobID: info.ID}
	e, err := j.Prepare(info, p)
	if err != nil {
		return res, err
	}
	ended := make(chan struct{})
	go func() {
		select {
		case <-cfg.Drain:
			e.Drain()
		case <-ended:
		}
	}()
	err = e.Run(ctx)
	close(ended)
	res.Attempted, res.Committed = e.Metrics()
	return res, err
}
