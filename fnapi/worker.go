package fnapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/runner/engine"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// goSDKPrefix starts the capability by which a Go SDK's environment tells its version.
const goSDKPrefix = "beam:version:sdk_base:go:"

// worker is one SDK harness.
type worker struct {
	s           *Server
	id, env     string
	job         *engine.JobInfo
	environment *pipepb.Environment
	endpoint    string
	log         *slog.Logger
	// embeds says that a bundle's input may travel in its request.
	embeds bool
	// goSDK says that the traps of the Go harness are to be kept clear of.
	goSDK bool
	// obituary waits a moment for the reason of a broken stream to show, such as
	// a process's exit. nil: there is no more to learn. Set before the worker can
	// connect.
	obituary func() string

	closing sync.Mutex // held by Close

	connected chan struct{} // closed when the control stream is there
	gone      chan struct{} // closed when the worker is lost or closed
	requests  chan *fnpb.InstructionRequest
	gate      *gate
	shortIDs  shortIDs
	recent    recentBundles

	mu          sync.Mutex // guards the fields below
	control     bool
	lost        error
	stop        func() // ends what Start started
	lastRequest int64
	runs        map[string]*run
	answers     map[string]chan *fnpb.InstructionResponse
	stages      map[string]*descriptor // by the id that the engine gave
	descriptors map[string]*descriptor // by the id that the worker knows
	finalizing  map[string]*descriptor // by bundle, until it is finalized
	data        *dataStream
	dataReady   chan struct{} // closed when data is set
	status      *statusStream
}

var _ engine.Worker = (*worker)(nil)

// Start starts a worker of the environment and waits until it has connected.
func (s *Server) Start(ctx context.Context, job *engine.JobInfo, id, env string, e *pipepb.Environment) (engine.Worker, error) {
	w, err := s.start(ctx, job, id, env, e)
	if err != nil {
		return nil, fmt.Errorf("environment %q: worker %s: %w", env, id, err)
	}
	return w, nil
}

func (s *Server) start(ctx context.Context, job *engine.JobInfo, id, env string, e *pipepb.Environment) (*worker, error) {
	e, launch, err := launcherOf(e)
	if err != nil {
		return nil, err
	}
	w := &worker{
		s: s, id: id, env: env, job: job, environment: e,
		connected:   make(chan struct{}),
		gone:        make(chan struct{}),
		dataReady:   make(chan struct{}),
		requests:    make(chan *fnpb.InstructionRequest),
		runs:        map[string]*run{},
		answers:     map[string]chan *fnpb.InstructionResponse{},
		stages:      map[string]*descriptor{},
		descriptors: map[string]*descriptor{},
		finalizing:  map[string]*descriptor{},
		gate:        newGate(s.opts.FinalizeHold),
	}
	log := job.Log
	if log == nil {
		log = s.opts.Log
	}
	w.log = log.With("worker", id)
	for _, c := range e.GetCapabilities() {
		w.goSDK = w.goSDK || strings.HasPrefix(c, goSDKPrefix)
		w.embeds = w.embeds || c == capRequestElements
	}
	if err := s.add(w); err != nil {
		return nil, err
	}
	if err := w.connect(ctx, launch); err != nil {
		_ = w.Close()
		return nil, err
	}
	return w, nil
}

// connect launches the worker and waits for its control stream.
func (w *worker) connect(ctx context.Context, launch launcher) error {
	timeout := w.s.opts.StartTimeout
	tctx, cancel := context.WithTimeoutCause(ctx, timeout, errStartTimeout)
	defer cancel()
	answer, err := launch(tctx, w)
	if err != nil {
		if errors.Is(context.Cause(tctx), errStartTimeout) {
			return fmt.Errorf("no worker within %v: %w", timeout, err)
		}
		return err
	}
	select {
	case <-w.connected:
		return nil
	case <-w.gone:
		return w.lostErr()
	case <-tctx.Done():
	}
	if err := context.Cause(tctx); !errors.Is(err, errStartTimeout) {
		return err
	}
	return fmt.Errorf("%s, but no worker has connected to %s within %v; "+
		"see that this address can be reached from where the worker runs, and look into the worker's own log", answer, w.endpoint, timeout)
}

var errStartTimeout = errors.New("timed out")

// lose marks the worker as gone. The first reason stays.
func (w *worker) lose(reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost != nil {
		return
	}
	w.lost = fmt.Errorf("%w: worker %s of environment %q: %s", engine.ErrWorkerLost, w.id, w.env, reason)
	close(w.gone)
}

// lostErr returns why the worker is gone. Call it when gone is closed.
func (w *worker) lostErr() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost
}

// broke tells that one of the worker's streams has ended. A process that dies
// breaks its streams first and is reaped a moment later; the error should tell of
// its exit, not of a stream.
func (w *worker) broke(stream string, err error) {
	reason := fmt.Sprintf("its %s stream ended: %v", stream, err)
	if w.obituary == nil {
		w.lose(reason)
		return
	}
	go func() {
		if o := w.obituary(); o != "" {
			reason = o
		}
		w.lose(reason)
	}()
}

// farewell is the status that a worker's streams end with. A worker that is
// closed sees its control stream end in good order, and finishes.
func (w *worker) farewell() error {
	if errors.Is(w.lostErr(), errClosed) {
		return nil
	}
	return status.Error(codes.Aborted, "the runner has given this worker up")
}

var errClosed = errors.New("the runner has stopped it")

// setStop sets what ends the worker.
func (w *worker) setStop(stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stop = stop
}

// Close stops the worker and returns when that is done. It may be called more
// than once, and while the worker is being started: Start then calls it again.
func (w *worker) Close() error {
	w.closing.Lock()
	defer w.closing.Unlock()
	w.mu.Lock()
	if w.lost == nil {
		w.lost = fmt.Errorf("%w: worker %s of environment %q: %w", engine.ErrWorkerLost, w.id, w.env, errClosed)
		close(w.gone)
	}
	stop := w.stop
	w.stop = nil
	w.mu.Unlock()
	if stop != nil {
		stop()
	}
	w.s.remove(w)
	return nil
}

// run returns a bundle that the worker has not answered yet, or whose data is
// still to come; nil if it knows none of that id.
func (w *worker) run(id string) *run {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.runs[id]
}

func (w *worker) addRun(r *run) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost != nil {
		return w.lost
	}
	if w.runs[r.id] != nil {
		return fmt.Errorf("BUG: bundle id %q is in use on worker %s", r.id, w.id)
	}
	w.runs[r.id] = r
	return nil
}

func (w *worker) removeRun(r *run) {
	w.mu.Lock()
	known := w.runs[r.id] == r
	if known {
		delete(w.runs, r.id)
	}
	w.mu.Unlock()
	if known {
		w.recent.add(r.id, r.stage)
	}
}
