package job

import (
	"context"
	"errors"
	"fmt"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc/codes"
)

// A job pauses when its execution ends with ErrPaused. It has no execution then, and no
// worker of it runs; its artifacts and its state are kept. It goes on with a new execution
// (GoOn), another job may move in where it was (Superseded), or it is cancelled: an
// execution that is cancelled before it begins removes what is left.

// ErrPaused is in the chain of the error of an execution that has kept all it had, for another
// one to go on.
var ErrPaused = errors.New("the job is paused")

// pause notes that a job's execution has paused, unless it was cancelled meanwhile.
func (s *Server) pause(j *job, err error) bool {
	j.freezeMetrics()
	j.metricsMu.Lock()
	j.lasts = true
	j.metricsMu.Unlock()
	if _, ok := j.history.advance(paused, message{jobpb.JobMessage_JOB_MESSAGE_WARNING, err.Error()}); !ok {
		return false
	}
	s.opts.Log.Warn("job paused", "job", j.id, "job_name", j.name, "error", err)
	return true
}

// AddPaused enters a job that an earlier process has left paused, under the id that it had.
// why becomes the first of its messages.
func (s *Server) AddPaused(id string, req *jobpb.PrepareJobRequest, why string) error {
	j := s.newJob(id, req)
	j.lasts = true
	j.ctx, j.cancel = context.WithCancelCause(s.ctx)
	err := s.addJob(j)
	if err == nil {
		err = s.artifacts.adopt(id)
	}
	if err != nil {
		j.cancel(err)
		return err
	}
	s.registry.pause(j, message{jobpb.JobMessage_JOB_MESSAGE_WARNING, why})
	return nil
}

// Paused returns the id and the pipeline of a paused job, of which the id or the name is given.
func (s *Server) Paused(job string) (id string, p *pipepb.Pipeline, err error) {
	var other error
	for _, j := range s.registry.all() {
		if j.id != job && j.name != job {
			continue
		}
		state := j.history.now()
		if state == pausedState {
			return j.id, j.pipeline, nil
		}
		other = statusText(codes.FailedPrecondition, fmt.Sprintf("job %s is %s, not paused", job, stateName(state)))
	}
	if other == nil {
		other = statusText(codes.NotFound, fmt.Sprintf("there is no job %q", job))
	}
	return "", nil, other
}

// AllPaused returns the ids of the jobs that are paused.
func (s *Server) AllPaused() (ids []string) {
	for _, j := range s.registry.all() {
		if j.history.now() == pausedState {
			ids = append(ids, j.id)
		}
	}
	return ids
}

// GoOn lets a paused job run again, with what it had.
func (s *Server) GoOn(id string) error {
	j, err := s.job(id)
	if err != nil {
		return err
	}
	ex, err := s.newExecution(j)
	if err != nil {
		return statusText(refusalCode(err), fmt.Sprintf("job %q can't go on: %v", j.name, err))
	}
	s.closeMu.Lock()
	defer s.closeMu.Unlock()
	if s.closed {
		return errUnavailable()
	}
	state, ok := j.history.advance(resumed, message{jobpb.JobMessage_JOB_MESSAGE_BASIC, "the job goes on"})
	if !ok {
		return statusText(codes.FailedPrecondition, fmt.Sprintf("job %s is %s, not paused", j.id, stateName(state)))
	}
	j.metricsMu.Lock()
	j.execution = ex
	j.metricsMu.Unlock()
	s.opts.Log.Info("job goes on", "job", j.id, "job_name", j.name)
	s.running.Add(1)
	go s.run(j)
	return nil
}

// Superseded tells that another job has moved in where a paused one was.
func (s *Server) Superseded(id string) {
	j := s.registry.get(id)
	if j == nil {
		return
	}
	if _, ok := j.history.advance(superseded, message{jobpb.JobMessage_JOB_MESSAGE_BASIC, ErrUpdated.Error()}); !ok {
		return
	}
	s.opts.Log.Info("a paused job was taken over", "job", j.id, "job_name", j.name)
	j.cancel(nil)
	s.artifacts.remove(j.id)
	s.forget(s.registry.finish(j))
}

// cancelPaused ends a paused job whose context has just ended.
func (s *Server) cancelPaused(j *job) {
	if errors.Is(context.Cause(j.ctx), errClosing) {
		s.end(j, errClosing) // for the next process to find
		return
	}
	s.closeMu.Lock()
	defer s.closeMu.Unlock()
	if s.closed {
		return
	}
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		s.end(j, s.discard(j))
	}()
}

// discard removes what a job whose context has ended has kept, unless it is for another process.
func (s *Server) discard(j *job) error {
	<-j.ctx.Done()
	if cause := context.Cause(j.ctx); errors.Is(cause, errClosing) {
		return cause
	}
	ex, err := s.newExecution(j)
	if err != nil {
		return fmt.Errorf("what the job has kept is not removed: %w", err)
	}
	return runExecution(j.ctx, ex)
}
