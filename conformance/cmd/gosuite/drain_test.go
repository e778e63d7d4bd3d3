package main

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc"
)

// jobServer has jobs that others run, and one that begins to run after a while.
type jobServer struct {
	jobpb.UnimplementedJobServiceServer
	mu      sync.Mutex
	asked   int
	drained []string
}

func (s *jobServer) GetJobs(context.Context, *jobpb.GetJobsRequest) (*jobpb.GetJobsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	state := jobpb.JobState_STARTING
	if s.asked > 2 {
		state = jobpb.JobState_RUNNING
	}
	return &jobpb.GetJobsResponse{JobInfo: []*jobpb.JobInfo{
		{JobId: "1", JobName: "other", State: jobpb.JobState_RUNNING},
		{JobId: "2", JobName: "go-testdrain-17", State: jobpb.JobState_DONE},
		{JobId: "3", JobName: "go-testdrain-17", State: state},
	}}, nil
}

func (s *jobServer) Drain(_ context.Context, req *jobpb.DrainJobRequest) (*jobpb.DrainJobResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drained = append(s.drained, req.GetJobId())
	return &jobpb.DrainJobResponse{}, nil
}

func TestServedDrain(t *testing.T) {
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &jobServer{}
	g := grpc.NewServer()
	jobpb.RegisterJobServiceServer(g, s)
	go g.Serve(l)
	defer g.Stop()
	stop := servedDrain(l.Addr().String()).start(t.Context())
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		s.mu.Lock()
		n := len(s.drained)
		s.mu.Unlock()
		if n > 0 {
			break
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(s.drained, " "); got != "3" {
		t.Errorf("drained %q, want job 3 alone", got)
	}
}

func TestNothingToDrain(t *testing.T) {
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &jobServer{asked: -1000}
	g := grpc.NewServer()
	jobpb.RegisterJobServiceServer(g, s)
	go g.Serve(l)
	defer g.Stop()
	stop := servedDrain(l.Addr().String()).start(t.Context())
	time.Sleep(200 * time.Millisecond)
	if err := stop(); err == nil {
		t.Error("no error, though nothing was drained")
	}
}
