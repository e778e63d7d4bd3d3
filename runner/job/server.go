package job

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc"
)

// Options configure a Server. Engine, Dir and Endpoint are needed.
type Options struct {
	// Engine compiles and runs the jobs.
	Engine Engine
	// Dir is where artifacts are stored, a directory for each job. It is made if
	// need be and is the server's own: job directories that an earlier process
	// left behind in it are removed, but for those of KeepArtifacts.
	Dir string
	// Endpoint returns the address at which clients reach the artifact staging
	// service: the one the server is registered at. It is asked at each Prepare.
	Endpoint func() string
	// Log gets the server's records and all jobs'. Default: discarded.
	Log *slog.Logger
	// Clock tells the time of state changes and messages. Default: time.Now.
	Clock func() time.Time
	// NewID returns ids of jobs: unique, and usable as file names. Default: random.
	NewID func() string
	// Keep is the number of finished jobs that are remembered, and that of prepared
	// ones which were never run. Beyond it the oldest are forgotten. Default: 1000.
	Keep int
	// ArtifactLimit bounds one artifact, JobArtifactsLimit all of a job, in bytes.
	// Defaults: 4 GiB and 16 GiB.
	ArtifactLimit, JobArtifactsLimit int64
	// KeepArtifacts are the jobs of an earlier process whose artifacts stay, for Resume.
	KeepArtifacts []string
	// PipelineOptions are the options that SDKs may offer to their users.
	PipelineOptions []PipelineOption
}

// Server is the job service. It is safe for concurrent use.
type Server struct {
	opts      Options
	registry  *registry
	artifacts *Artifacts

	// ctx is the parent of all executions: a job goes on when the client that
	// submitted it goes.
	ctx    context.Context
	cancel context.CancelCauseFunc

	closeMu sync.Mutex
	closed  bool           // guarded by closeMu
	running sync.WaitGroup // Add is called with closeMu held and closed false
}

// errClosing is the cause with which executions end when the server does.
var errClosing = errors.New("the server is shutting down")

// NewServer returns a server without jobs.
func NewServer(o Options) (*Server, error) {
	if o.Engine == nil || o.Dir == "" || o.Endpoint == nil {
		return nil, errors.New("job server: Engine, Dir and Endpoint must be set")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.NewID == nil {
		o.NewID = func() string { return "job-" + strings.ToLower(rand.Text()[:12]) }
	}
	if o.Keep <= 0 {
		o.Keep = 1000
	}
	if o.ArtifactLimit <= 0 {
		o.ArtifactLimit = 4 << 30
	}
	if o.JobArtifactsLimit <= 0 {
		o.JobArtifactsLimit = 16 << 30
	}
	artifacts, err := openArtifacts(o.Dir, o.ArtifactLimit, o.JobArtifactsLimit, o.Log, o.KeepArtifacts)
	if err != nil {
		return nil, fmt.Errorf("job server: artifact directory %s: %w", o.Dir, err)
	}
	s := &Server{opts: o, registry: newRegistry(o.Keep), artifacts: artifacts}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s, nil
}

// Register adds the job and artifact staging services to r.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	jobpb.RegisterJobServiceServer(r, jobService{s: s})
	jobpb.RegisterArtifactStagingServiceServer(r, stagingService{s: s})
	jobpb.RegisterLegacyArtifactStagingServiceServer(r, legacyStagingService{s: s})
}

// Artifacts returns the staged artifacts, for the workers' side to serve.
func (s *Server) Artifacts() *Artifacts { return s.artifacts }

// Close cancels all jobs and waits until they have ended, so that all streams
// end too; not longer than ctx. Nothing can be prepared or run any more.
func (s *Server) Close(ctx context.Context) error {
	s.closeMu.Lock()
	first := !s.closed
	s.closed = true
	s.closeMu.Unlock()

	for _, j := range s.registry.all() {
		s.cancelJob(j, errClosing)
	}
	s.cancel(errClosing)

	ended := make(chan struct{})
	go func() {
		s.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		return fmt.Errorf("job server: jobs are still stopping: %w", context.Cause(ctx))
	}
	if first {
		if err := s.artifacts.close(); err != nil && !errors.Is(err, fs.ErrClosed) {
			return fmt.Errorf("job server: artifact directory: %w", err)
		}
	}
	return nil
}

// newID returns an id that is safe as a single path element.
func (s *Server) newID() (string, error) {
	id := s.opts.NewID()
	if id == "" || id == "." || id == ".." || strings.ContainsAny(id, "/\\\x00") || !filepath.IsLocal(id) {
		return "", fmt.Errorf("BUG: job id %q can't name a directory", id)
	}
	return id, nil
}
