package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/runner/engine"
	"google.golang.org/protobuf/types/known/structpb"
)

// job is a job from Prepare until it is forgotten.
type job struct {
	id, name string
	number   int // its place in the order of creation
	pipeline *pipepb.Pipeline
	options  *structpb.Struct
	log      *slog.Logger
	history  *history

	// ctx is the execution's; cancel ends it, also before it begins.
	ctx    context.Context
	cancel context.CancelCauseFunc

	metricsMu sync.Mutex
	// execution is nil once the job has ended: it holds all that the engine made
	// of the pipeline. Its final metrics are kept instead.
	execution Execution
	attempted []*pipepb.MonitoringInfo
	committed []*pipepb.MonitoringInfo
	// lasts says that the job was paused: another execution can go on with it.
	lasts bool
}

// ErrCancelled is the cause with which a cancelled job's execution ends.
var ErrCancelled = errors.New("the job was cancelled")

// ErrUpdated is the error of an execution that another pipeline has taken the job over from.
var ErrUpdated = errors.New("another pipeline has taken the job over")

var errExited = errors.New("BUG: the job's execution ended its goroutine without an outcome")

// run runs a started job to its end.
func (s *Server) run(j *job) {
	defer s.running.Done()
	if state, ok := j.history.advance(started); !ok && state != jobpb.JobState_DRAINING {
		// Cancelled since.
		s.end(j, context.Cause(j.ctx))
		return
	}
	j.log.Info("job runs")
	// Deferred, for an execution that ends its goroutine instead of returning.
	err := errExited
	defer func() { s.end(j, err) }()
	err = runExecution(j.ctx, j.execution)
}

// end brings a job, whose execution has returned err, to its final state, or lets it pause.
func (s *Server) end(j *job, err error) {
	if errors.Is(err, ErrPaused) {
		if s.pause(j, err) {
			return
		}
		err = s.discard(j) // it was cancelled at that moment
	}
	outlives := errors.Is(err, errClosing) && j.outlives()
	j.freezeMetrics()
	// No worker is left: the contract of Run. The files go before the state
	// changes, so that who sees the job's end sees them gone.
	if outlives {
		s.artifacts.leave(j.id)
	} else {
		s.artifacts.remove(j.id)
	}
	var state jobpb.JobState_Enum
	switch {
	case err == nil:
		state, _ = j.history.advance(succeeded)
	case errors.Is(err, ErrUpdated) && j.history.current().state.GetState() == jobpb.JobState_RUNNING:
		state, _ = j.history.advance(updated, message{jobpb.JobMessage_JOB_MESSAGE_BASIC, err.Error()})
	case j.history.current().state.GetState() == jobpb.JobState_CANCELLING:
		// The error is most likely just the cancellation.
		state, _ = j.history.advance(failed)
	default:
		state, _ = j.history.advance(failed, message{jobpb.JobMessage_JOB_MESSAGE_ERROR, err.Error()})
	}
	// The server's log has the error too, the job's messages have it already.
	if state == jobpb.JobState_FAILED {
		s.opts.Log.Error("job failed", "job", j.id, "job_name", j.name, "error", err)
	} else {
		log := s.opts.Log.With("job", j.id, "job_name", j.name, "state", state.String())
		if err != nil {
			log = log.With("error", err)
		}
		log.Info("job ended")
	}
	j.cancel(nil)
	s.forget(s.registry.finish(j))
}

// cancelJob asks a job to stop and returns its state after that.
func (s *Server) cancelJob(j *job, cause error) jobpb.JobState_Enum {
	from, state, changed := j.history.advanceFrom(cancelled, message{jobpb.JobMessage_JOB_MESSAGE_BASIC, cause.Error()})
	if !changed {
		return state
	}
	j.log.Info("job is cancelled", "cause", cause)
	j.cancel(cause)
	switch {
	case from == pausedState:
		s.cancelPaused(j)
	case terminal(state):
		// It never ran: nobody else will end it.
		j.freezeMetrics()
		s.artifacts.remove(j.id)
		s.forget(s.registry.finish(j))
	}
	return state
}

// drainJob asks a job to read no more and to end with what it has, and returns its
// state after that.
func (s *Server) drainJob(j *job) jobpb.JobState_Enum {
	state, changed := j.history.advance(drained, message{jobpb.JobMessage_JOB_MESSAGE_BASIC, "the job is drained"})
	if changed {
		j.log.Info("job is drained")
		j.drain()
	}
	return state
}

// outlives says that another process may go on with the job.
func (j *job) outlives() bool {
	j.metricsMu.Lock()
	defer j.metricsMu.Unlock()
	return j.lasts || j.execution != nil && j.execution.Outlives()
}

// drain hands the request on to the execution, unless it has ended.
func (j *job) drain() {
	j.metricsMu.Lock()
	ex := j.execution
	j.metricsMu.Unlock()
	if ex == nil {
		return
	}
	if err := guard("draining the job", func() error { ex.Drain(); return nil }); err != nil {
		j.log.Error("the job is not drained", "error", err)
	}
}

// forget releases what is kept for jobs that left the registry.
func (s *Server) forget(jobs []*job) {
	for _, j := range jobs {
		j.cancel(nil)
		s.artifacts.remove(j.id)
	}
}

// freezeMetrics reads the execution's metrics for the last time and lets go of it.
func (j *job) freezeMetrics() {
	j.metricsMu.Lock()
	defer j.metricsMu.Unlock()
	if j.execution == nil {
		return
	}
	a, c, err := executionMetrics(j.execution)
	if err != nil {
		j.log.Error("no final metrics", "error", err)
	}
	j.attempted, j.committed, j.execution = a, c, nil
}

func (j *job) metrics() (attempted, committed []*pipepb.MonitoringInfo, err error) {
	j.metricsMu.Lock()
	defer j.metricsMu.Unlock()
	if j.execution == nil {
		return j.attempted, j.committed, nil
	}
	return executionMetrics(j.execution)
}

// The engine is called through these alone: a panic in it is the job's failure, not
// the server's end.

func prepareExecution(e Engine, info *engine.JobInfo, p *pipepb.Pipeline) (ex Execution, err error) {
	err = guard("preparing the job", func() (err error) {
		ex, err = e.Prepare(info, p)
		return err
	})
	if err == nil && ex == nil {
		err = errors.New("BUG: the engine returned no execution")
	}
	return ex, err
}

func runExecution(ctx context.Context, ex Execution) error {
	return guard("running the job", func() error { return ex.Run(ctx) })
}

func executionMetrics(ex Execution) (attempted, committed []*pipepb.MonitoringInfo, err error) {
	err = guard("reading the job's metrics", func() error {
		attempted, committed = ex.Metrics()
		return nil
	})
	return attempted, committed, err
}

// panicError is a panic, or an exit of its goroutine, that was caught.
type panicError struct {
	doing string
	value any
	stack []byte
}

func (e *panicError) Error() string {
	return fmt.Sprintf("BUG: panic while %s: %v\n\n%s", e.doing, e.value, e.stack)
}

// guard calls f on this goroutine and turns a panic into an error.
func guard(doing string, f func() error) (err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		err = &panicError{doing: doing, value: recover(), stack: debug.Stack()}
	}()
	err = f()
	returned = true
	return err
}
