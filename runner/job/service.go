package job

import (
	"context"
	"errors"
	"fmt"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// jobService implements Beam's JobService.
type jobService struct {
	jobpb.UnimplementedJobServiceServer
	s *Server
}

// Prepare compiles the pipeline. All that is not supported is refused here, before
// anything is staged, in one error.
func (js jobService) Prepare(_ context.Context, req *jobpb.PrepareJobRequest) (*jobpb.PrepareJobResponse, error) {
	s := js.s
	if req.GetPipeline() == nil {
		return nil, statusText(codes.InvalidArgument, "the request has no pipeline")
	}
	id, err := s.newID()
	if err != nil {
		return nil, statusText(codes.Internal, err.Error())
	}
	if _, err := s.prepare(id, req); err != nil {
		return nil, err
	}
	s.opts.Log.Info("job prepared", "job", id, "job_name", req.GetJobName())
	return &jobpb.PrepareJobResponse{
		PreparationId:           id,
		StagingSessionToken:     id,
		ArtifactStagingEndpoint: &pipepb.ApiServiceDescriptor{Url: s.opts.Endpoint()},
	}, nil
}

// addJob enters a prepared job.
func (s *Server) addJob(j *job) error {
	// Held throughout, so that Close sees the job or addJob sees that it was called.
	s.closeMu.Lock()
	defer s.closeMu.Unlock()
	if s.closed {
		return errUnavailable()
	}
	forgotten, err := s.registry.add(j)
	if err != nil {
		return statusText(codes.Internal, err.Error())
	}
	s.artifacts.expect(j.id, j.pipeline.GetComponents().GetEnvironments())
	s.forget(forgotten)
	return nil
}

// refusalCode tells apart what is wrong with the pipeline from what we lack.
func refusalCode(err error) codes.Code {
	var panicked *panicError
	switch {
	case errors.As(err, &panicked):
		return codes.Internal
	case errors.Is(err, errors.ErrUnsupported):
		return codes.Unimplemented
	}
	if st, ok := status.FromError(err); ok {
		return st.Code()
	}
	return codes.InvalidArgument
}

// Run starts a prepared job. It goes on whether or not the client stays.
func (js jobService) Run(_ context.Context, req *jobpb.RunJobRequest) (*jobpb.RunJobResponse, error) {
	s := js.s
	j, err := s.job(req.GetPreparationId())
	if err != nil {
		return nil, err
	}
	// The request's retrieval token is not looked at: a job gets its own files, and
	// SDKs send the staging token, an older one's or none.
	if err := s.artifacts.seal(j.id, j.outlives()); err != nil {
		return nil, statusText(codes.FailedPrecondition, fmt.Sprintf("job %s: %v", j.id, err))
	}
	if err := s.start(j); err != nil {
		return nil, err
	}
	return &jobpb.RunJobResponse{JobId: j.id}, nil
}

// start lets a prepared job run.
func (s *Server) start(j *job) error {
	s.closeMu.Lock()
	defer s.closeMu.Unlock()
	if s.closed {
		return errUnavailable()
	}
	if !s.registry.start(j) {
		return statusText(codes.FailedPrecondition, fmt.Sprintf(
			"job %s was run before and is %s: a preparation runs once, prepare the pipeline again", j.id, j.history.current().state.GetState()))
	}
	s.running.Add(1)
	go s.run(j)
	return nil
}

// GetJobs lists the jobs in the order in which they were prepared.
func (js jobService) GetJobs(context.Context, *jobpb.GetJobsRequest) (*jobpb.GetJobsResponse, error) {
	resp := &jobpb.GetJobsResponse{}
	for _, j := range js.s.registry.all() {
		resp.JobInfo = append(resp.JobInfo, &jobpb.JobInfo{
			JobId:           j.id,
			JobName:         j.name,
			PipelineOptions: j.options,
			State:           j.history.current().state.GetState(),
		})
	}
	return resp, nil
}

// GetState returns the job's latest state change.
func (js jobService) GetState(_ context.Context, req *jobpb.GetJobStateRequest) (*jobpb.JobStateEvent, error) {
	j, err := js.s.job(req.GetJobId())
	if err != nil {
		return nil, err
	}
	return j.history.current().state, nil
}

// GetPipeline returns the pipeline as it was submitted.
func (js jobService) GetPipeline(_ context.Context, req *jobpb.GetJobPipelineRequest) (*jobpb.GetJobPipelineResponse, error) {
	j, err := js.s.job(req.GetJobId())
	if err != nil {
		return nil, err
	}
	return &jobpb.GetJobPipelineResponse{Pipeline: j.pipeline}, nil
}

// Cancel asks the job to stop and returns at once. Repeating it does no harm.
func (js jobService) Cancel(_ context.Context, req *jobpb.CancelJobRequest) (*jobpb.CancelJobResponse, error) {
	j, err := js.s.job(req.GetJobId())
	if err != nil {
		return nil, err
	}
	return &jobpb.CancelJobResponse{State: js.s.cancelJob(j, ErrCancelled)}, nil
}

// Drain asks the job to read no more, to let what it has read flow out and to end, and
// returns at once. Repeating it does no harm.
func (js jobService) Drain(_ context.Context, req *jobpb.DrainJobRequest) (*jobpb.DrainJobResponse, error) {
	j, err := js.s.job(req.GetJobId())
	if err != nil {
		return nil, err
	}
	switch state := js.s.drainJob(j); state {
	case jobpb.JobState_DRAINING, jobpb.JobState_DRAINED:
		return &jobpb.DrainJobResponse{State: state}, nil
	case jobpb.JobState_STOPPED:
		return nil, statusText(codes.FailedPrecondition, fmt.Sprintf("job %s does not run: run it first, or cancel it", j.id))
	default:
		return nil, statusText(codes.FailedPrecondition, fmt.Sprintf("job %s can't be drained, it is %s", j.id, stateName(state)))
	}
}

// GetJobMetrics returns the job's metrics so far.
func (js jobService) GetJobMetrics(_ context.Context, req *jobpb.GetJobMetricsRequest) (*jobpb.GetJobMetricsResponse, error) {
	j, err := js.s.job(req.GetJobId())
	if err != nil {
		return nil, err
	}
	attempted, committed, err := j.metrics()
	if err != nil {
		return nil, statusText(codes.Internal, err.Error())
	}
	return &jobpb.GetJobMetricsResponse{Metrics: &jobpb.MetricResults{Attempted: attempted, Committed: committed}}, nil
}

// PipelineOption describes an option that users may set on their pipelines.
type PipelineOption struct {
	// Name as in --name=value.
	Name string
	Type jobpb.PipelineOptionType_Enum
	// Description is for the SDK's help text, Default for its reader.
	Description, Default string
}

// DescribePipelineOptions lists the runner's own options. Python adds them to its
// command line parser, and takes no harm from those it has already.
func (js jobService) DescribePipelineOptions(context.Context, *jobpb.DescribePipelineOptionsRequest) (*jobpb.DescribePipelineOptionsResponse, error) {
	resp := &jobpb.DescribePipelineOptionsResponse{}
	for _, o := range js.s.opts.PipelineOptions {
		resp.Options = append(resp.Options, &jobpb.PipelineOptionDescriptor{
			Name:         o.Name,
			Type:         o.Type,
			Description:  o.Description,
			DefaultValue: o.Default,
			Group:        "summerbeam",
		})
	}
	return resp, nil
}

// job returns the job of a request.
func (s *Server) job(id string) (*job, error) {
	if j := s.registry.get(id); j != nil {
		return j, nil
	}
	return nil, statusText(codes.NotFound, fmt.Sprintf("there is no job %q: it was never prepared here, or it ended long ago and is forgotten", id))
}

func errUnavailable() error {
	return statusText(codes.Unavailable, errClosing.Error())
}

// statusText is a status error whose text fits into what clients accept. It goes in an
// HTTP/2 trailer, percent-encoded, and gRPC's C core, which Python has, breaks the
// whole call with an error of its own when trailers are over 8 KiB.
func statusText(c codes.Code, text string) error {
	const most = 6000
	size := 0
	for i := range len(text) {
		if b := text[i]; b < ' ' || b > '~' || b == '%' {
			size += 3
		} else {
			size++
		}
		if size > most {
			text = fmt.Sprintf("%s... (%d more bytes; the server's log has all)", text[:i], len(text)-i)
			break
		}
	}
	return status.Error(c, clip(text, len(text)))
}
