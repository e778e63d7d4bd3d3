package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/summerbeam/summerbeam/fnapi"
	"github.com/summerbeam/summerbeam/runner/job"
	"google.golang.org/grpc"
)

// Server is a runner behind Beam's portability APIs: the Job API for clients and
// the Fn API for workers, all on one port.
type Server struct {
	jobs  *jobs
	job   *job.Server
	fnapi *fnapi.Server
	grpc  *grpc.Server

	unlock func() error // of the data directory
	// left are jobs of an earlier process.
	left []tenant

	endpointMu sync.Mutex
	endpoint   string
}

const remoteStateSlots = 64

// Open makes a server that doesn't listen yet.
func Open(cfg Config) (*Server, error) {
	j, err := newJobs(cfg)
	if err != nil {
		return nil, err
	}
	unlock, err := lockDir(j.dir)
	if err != nil {
		return nil, errors.Join(err, j.close())
	}
	// An SDK sends its state requests one by one and waits for each answer. Many
	// bundles together fill the stream: a count per key of 100,000 elements took 15 s with
	// four of them, and 4 s with 64.
	if c := &j.cfg.Engine.Core; c.StateSlots == 0 {
		c.StateSlots, c.StateShards = remoteStateSlots, remoteStateSlots
	}
	j.sweepUnnamed(time.Now())
	s := &Server{jobs: j, left: j.tenants(), unlock: unlock}
	var keep []string
	for _, t := range s.left {
		keep = append(keep, t.id)
	}
	s.fnapi = fnapi.NewServer(fnapi.Options{Log: j.cfg.Log, Artifacts: artifacts{s}})
	j.workers = s.fnapi
	s.job, err = job.NewServer(job.Options{
		Engine:   j,
		Dir:      j.artifactsDir(),
		Endpoint: s.address,
		Log:      j.cfg.Log,

		KeepArtifacts:   keep,
		PipelineOptions: described(),
	})
	if err != nil {
		return nil, errors.Join(err, unlock(), j.close())
	}
	j.superseded = s.job.Superseded
	s.grpc = grpc.NewServer(fnapi.ServerOptions()...)
	s.job.Register(s.grpc)
	s.fnapi.Register(s.grpc)
	s.grpc.RegisterService(&controlDesc, s)
	return s, nil
}

// Metrics are the server's and its running jobs', for a Prometheus registry.
func (s *Server) Metrics() prometheus.Collector { return collector{s.jobs} }

func (s *Server) address() string {
	s.endpointMu.Lock()
	defer s.endpointMu.Unlock()
	return s.endpoint
}

// stopTimeout bounds how long running jobs have to stop their workers.
const stopTimeout = 10 * time.Second

// Serve serves on l until ctx ends; then it cancels all jobs, stops their workers
// and returns. A server serves once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.endpointMu.Lock()
	s.endpoint = l.Addr().String()
	s.endpointMu.Unlock()
	s.fnapi.SetEndpoint(l.Addr().String())
	failed := make(chan error, 1)
	go func() { failed <- s.grpc.Serve(l) }()
	s.jobs.cfg.Log.Info("serving", "endpoint", l.Addr().String(), "store", s.jobs.cfg.Store, "data_dir", s.jobs.cfg.DataDir)
	s.resume(ctx, s.left)
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("serving %s: %w", l.Addr(), err)
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	err = errors.Join(err, s.job.Close(stop), s.fnapi.Close())
	s.grpc.Stop()
	return errors.Join(err, s.unlock(), s.jobs.close())
}

// artifacts leads the workers' artifact requests to the job service, which is made
// after the Fn API server that it needs.
type artifacts struct{ s *Server }

func (a artifacts) OpenArtifact(ctx context.Context, token string, info *pipepb.ArtifactInformation) (io.ReadCloser, error) {
	return a.s.job.Artifacts().OpenArtifact(ctx, token, info)
}

func (a artifacts) ResolveArtifacts(ctx context.Context, token string, infos []*pipepb.ArtifactInformation) ([]*pipepb.ArtifactInformation, error) {
	return a.s.job.Artifacts().ResolveArtifacts(ctx, token, infos)
}
