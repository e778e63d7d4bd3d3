package fnapi

import (
	"context"
	"errors"
	"fmt"
	"sync"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// statusStream asks a worker for dumps of its threads, memory and bundles.
type statusStream struct {
	requests chan *fnpb.WorkerStatusRequest
	ended    chan struct{}

	mu      sync.Mutex // guards the fields below
	last    int64
	waiting map[string]chan *fnpb.WorkerStatusResponse
}

// WorkerStatus serves the stream.
//
// It never ends in good order while the worker lives: the Go harness takes io.EOF
// for an empty request and writes dump after dump (harness/worker_status.go).
func (sv *services) WorkerStatus(stream fnpb.BeamFnWorkerStatus_WorkerStatusServer) error {
	w, err := sv.s.caller(stream.Context())
	if err != nil {
		return err
	}
	s := &statusStream{
		requests: make(chan *fnpb.WorkerStatusRequest),
		ended:    make(chan struct{}),
		waiting:  map[string]chan *fnpb.WorkerStatusResponse{},
	}
	go func() {
		defer close(s.ended)
		for {
			resp, err := stream.Recv()
			if err != nil {
				return
			}
			s.mu.Lock()
			if ch := s.waiting[resp.GetId()]; ch != nil {
				ch <- resp
				delete(s.waiting, resp.GetId())
			}
			s.mu.Unlock()
		}
	}()
	w.mu.Lock()
	w.status = s
	w.mu.Unlock()
	for {
		select {
		case req := <-s.requests:
			if err := stream.Send(req); err != nil {
				return err
			}
		case <-s.ended:
			return status.Error(codes.Canceled, "the worker has ended its status stream")
		case <-w.gone:
			return status.Error(codes.Canceled, "the worker was stopped")
		}
	}
}

// Status returns a dump of a worker's threads, memory and bundles, as its SDK
// makes it, for people to read. Not every SDK can.
func (s *Server) Status(ctx context.Context, workerID string) (string, error) {
	s.mu.RLock()
	w := s.workers[workerID]
	s.mu.RUnlock()
	if w == nil {
		return "", fmt.Errorf("no worker %q", workerID)
	}
	w.mu.Lock()
	st := w.status
	w.mu.Unlock()
	if st == nil {
		return "", fmt.Errorf("worker %q reports no status", workerID)
	}
	return st.ask(ctx)
}

func (s *statusStream) ask(ctx context.Context) (string, error) {
	ch := make(chan *fnpb.WorkerStatusResponse, 1)
	s.mu.Lock()
	s.last++
	id := fmt.Sprint(s.last)
	s.waiting[id] = ch
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waiting, id)
		s.mu.Unlock()
	}()
	requests := s.requests
	for {
		select {
		case requests <- &fnpb.WorkerStatusRequest{Id: id}:
			requests = nil
		case resp := <-ch:
			if e := resp.GetError(); e != "" {
				return "", errors.New(e)
			}
			return resp.GetStatusInfo(), nil
		case <-s.ended:
			return "", errors.New("the worker's status stream has ended")
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}
