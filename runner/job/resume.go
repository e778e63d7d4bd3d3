package job

import (
	"context"
	"fmt"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"github.com/summerbeam/summerbeam/runner/engine"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"
)

// newJob makes a job that nobody knows yet.
func (s *Server) newJob(id string, req *jobpb.PrepareJobRequest) *job {
	j := &job{
		id:       id,
		name:     req.GetJobName(),
		pipeline: req.GetPipeline(),
		options:  req.GetPipelineOptions(),
		history:  newHistory(s.opts.Clock),
	}
	if j.options == nil {
		j.options = &structpb.Struct{}
	}
	j.log = newJobLog(s.opts.Log, j.history, j.id, j.name)
	return j
}

// newExecution compiles the job's pipeline.
func (s *Server) newExecution(j *job) (Execution, error) {
	info := &engine.JobInfo{ID: j.id, Name: j.name, Options: j.options, RetrievalToken: j.id, Log: j.log}
	return prepareExecution(s.opts.Engine, info, j.pipeline)
}

// prepare compiles a request's pipeline and enters the job under an id.
func (s *Server) prepare(id string, req *jobpb.PrepareJobRequest) (*job, error) {
	j := s.newJob(id, req)
	var err error
	if j.execution, err = s.newExecution(j); err != nil {
		s.opts.Log.Warn("job refused", "job", j.id, "job_name", j.name, "error", err)
		return nil, statusText(refusalCode(err), fmt.Sprintf("job %q can't run here: %v", j.name, err))
	}
	j.ctx, j.cancel = context.WithCancelCause(s.ctx)
	if err := s.addJob(j); err != nil {
		j.cancel(err)
		return nil, err
	}
	return j, nil
}

// Resume runs a job of an earlier process again, under the id that it had: whoever asks
// for it by that id finds it.
func (s *Server) Resume(id string, req *jobpb.PrepareJobRequest) error {
	j, err := s.prepare(id, req)
	if err != nil {
		return err
	}
	if err := s.artifacts.adopt(id); err != nil {
		err = fmt.Errorf("its artifacts: %w", err)
		s.cancelJob(j, err)
		return statusText(codes.Internal, err.Error())
	}
	s.opts.Log.Info("job goes on", "job", j.id, "job_name", j.name)
	return s.start(j)
}
