package fnapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"github.com/summerbeam/summerbeam/runner/engine"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Options of a Server. The zero value works, but for workers that have artifacts.
type Options struct {
	// Log gets what concerns no job. nil: discarded.
	Log *slog.Logger
	// Artifacts serves the files that workers retrieve. nil: there are none.
	Artifacts ArtifactSource
	// Endpoint is the address that workers dial, host:port. See SetEndpoint.
	Endpoint string
	// Dir is the working directory of worker processes. Empty: the server's own.
	Dir string
	// StartTimeout is how long Start waits for a worker to connect. 0: 60 s.
	StartTimeout time.Duration
	// StopTimeout is how long Close waits for a worker pool's answer or a
	// process's end before it goes on, or kills. 0: 3 s.
	StopTimeout time.Duration
	// FinalizeHold is how long new bundles are held back so that a worker falls
	// idle and can be told to finalize. 0: 100 ms.
	FinalizeHold time.Duration
}

// Server runs bundles on workers that connect over gRPC. It implements
// engine.Workers and is safe for concurrent use.
type Server struct {
	opts Options

	mu       sync.RWMutex // guards the fields below
	endpoint string
	workers  map[string]*worker
	closed   bool
}

var _ engine.Workers = (*Server)(nil)

// NewServer returns a server without workers.
func NewServer(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = time.Minute
	}
	if o.StopTimeout == 0 {
		o.StopTimeout = 3 * time.Second
	}
	if o.FinalizeHold == 0 {
		o.FinalizeHold = 100 * time.Millisecond
	}
	return &Server{opts: o, endpoint: o.Endpoint, workers: map[string]*worker{}}
}

// ServerOptions are what a grpc.Server needs that carries the Fn API.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		// A group or a state page may be as large as a protocol buffer can be.
		grpc.MaxRecvMsgSize(math.MaxInt32),
		grpc.MaxSendMsgSize(math.MaxInt32),
		// SDKs ping as they like, Python's also while a channel is idle. A server
		// that minds closes their connection with "too many pings".
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime: time.Second, PermitWithoutStream: true,
		}),
		// A dead host is noticed after three minutes. Not sooner: a LOOPBACK worker
		// that somebody looks at in a debugger answers no pings either.
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: time.Minute, Timeout: 2 * time.Minute,
		}),
	}
}

// Register adds the Fn API's services to a gRPC server, which should have been
// made with ServerOptions. ArtifactRetrievalService is one of them.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	sv := &services{s: s}
	fnpb.RegisterBeamFnControlServer(r, sv)
	fnpb.RegisterBeamFnDataServer(r, sv)
	fnpb.RegisterBeamFnStateServer(r, sv)
	fnpb.RegisterBeamFnLoggingServer(r, sv)
	fnpb.RegisterBeamFnWorkerStatusServer(r, sv)
	fnpb.RegisterProvisionServiceServer(r, sv)
	jobpb.RegisterArtifactRetrievalServiceServer(r, sv)
}

// services has the methods that gRPC calls, so that Server need not show them.
type services struct {
	fnpb.UnimplementedBeamFnControlServer
	fnpb.UnimplementedBeamFnDataServer
	fnpb.UnimplementedBeamFnStateServer
	fnpb.UnimplementedBeamFnLoggingServer
	fnpb.UnimplementedBeamFnWorkerStatusServer
	fnpb.UnimplementedProvisionServiceServer
	jobpb.UnimplementedArtifactRetrievalServiceServer
	s *Server
}

// SetEndpoint sets the address that workers dial. A server that listens on a port
// of the system's choice knows it only once it listens. Workers started before
// keep the old one.
func (s *Server) SetEndpoint(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endpoint = addr
}

// workerIDKey is the metadata key that SDKs name themselves by.
const workerIDKey = "worker_id"

// caller returns the worker that makes a call.
func (s *Server) caller(ctx context.Context) (*worker, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	ids := md.Get(workerIDKey)
	if len(ids) != 1 || ids[0] == "" {
		return nil, status.Errorf(codes.InvalidArgument,
			"the call must carry one %s in its metadata, it has %d", workerIDKey, len(ids))
	}
	s.mu.RLock()
	w := s.workers[ids[0]]
	s.mu.RUnlock()
	if w == nil {
		return nil, status.Errorf(codes.NotFound, "no worker %q is expected here: it was stopped, or belongs to another server", ids[0])
	}
	return w, nil
}

func (s *Server) add(w *worker) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return errors.New("the Fn API server is closed")
	case s.endpoint == "":
		return errors.New("the Fn API server has no endpoint for workers to dial")
	case s.workers[w.id] != nil:
		return fmt.Errorf("worker id %q is taken", w.id)
	}
	w.endpoint = s.endpoint
	s.workers[w.id] = w
	return nil
}

func (s *Server) remove(w *worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.workers[w.id] == w {
		delete(s.workers, w.id)
	}
}

// snapshot returns the workers there are now, in no order.
func (s *Server) snapshot() []*worker {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]*worker, 0, len(s.workers))
	for _, w := range s.workers {
		all = append(all, w)
	}
	return all
}

// Close stops all workers. Bundles that run end with engine.ErrWorkerLost.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, w := range s.snapshot() {
		wg.Go(func() { _ = w.Close() })
	}
	wg.Wait()
	return nil
}
