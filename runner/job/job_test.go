package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/runner/engine"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
)

// fakeEngine prepares executions that call run, and has prepare say no.
type fakeEngine struct {
	prepare func(*engine.JobInfo, *pipepb.Pipeline) error
	run     func(context.Context, *engine.JobInfo) error
	drain   func()
	metrics func() (attempted, committed []*pipepb.MonitoringInfo)
}

func (e *fakeEngine) Prepare(info *engine.JobInfo, p *pipepb.Pipeline) (Execution, error) {
	if e.prepare != nil {
		if err := e.prepare(info, p); err != nil {
			return nil, err
		}
	}
	return &fakeExecution{e: e, info: info}, nil
}

type fakeExecution struct {
	e    *fakeEngine
	info *engine.JobInfo
	once sync.Once
}

func (x *fakeExecution) Outlives() bool { return false }

func (x *fakeExecution) Drain() {
	if x.e.drain != nil {
		x.e.drain()
	}
}

func (x *fakeExecution) Run(ctx context.Context) error {
	again := true
	x.once.Do(func() { again = false })
	if again {
		panic("Run was called twice")
	}
	if x.e.run == nil {
		return nil
	}
	return x.e.run(ctx, x.info)
}

func (x *fakeExecution) Metrics() (attempted, committed []*pipepb.MonitoringInfo) {
	if x.e.metrics == nil {
		return nil, nil
	}
	return x.e.metrics()
}

// untilCancelled is the run of a job that goes on for ever.
func untilCancelled(ctx context.Context, _ *engine.JobInfo) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// fixture is a server and a client of it.
type fixture struct {
	*testing.T
	ctx    context.Context
	engine *fakeEngine
	server *Server
	dir    string
	conn   *grpc.ClientConn
	jobs   jobpb.JobServiceClient
	staged jobpb.ArtifactStagingServiceClient
}

func newFixture(t *testing.T, set ...func(*Options)) *fixture {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	f := &fixture{T: t, ctx: ctx, engine: &fakeEngine{}, dir: t.TempDir()}
	n := 0
	o := Options{
		Engine:   f.engine,
		Dir:      f.dir,
		Endpoint: func() string { return "staging.example:1" },
		NewID:    func() string { n++; return fmt.Sprintf("job-%03d", n) },
		Log:      slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	for _, s := range set {
		s(&o)
	}
	var err error
	if f.server, err = NewServer(o); err != nil {
		t.Fatal(err)
	}
	l := bufconn.Listen(1 << 20)
	g := grpc.NewServer()
	f.server.Register(g)
	served := make(chan struct{})
	go func() {
		defer close(served)
		g.Serve(l)
	}()
	f.conn, err = grpc.NewClient("passthrough:///bufconn",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	f.jobs = jobpb.NewJobServiceClient(f.conn)
	f.staged = jobpb.NewArtifactStagingServiceClient(f.conn)
	t.Cleanup(func() {
		stop, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := f.server.Close(stop); err != nil {
			t.Errorf("Close: %v", err)
		}
		f.conn.Close()
		g.Stop()
		<-served
	})
	return f
}

// pipeline is one whose environment depends on the artifacts.
func pipeline(deps ...*pipepb.ArtifactInformation) *pipepb.Pipeline {
	return &pipepb.Pipeline{Components: &pipepb.Components{
		Environments: map[string]*pipepb.Environment{"env": {Dependencies: deps}},
	}}
}

func (f *fixture) prepare(p *pipepb.Pipeline) string {
	f.Helper()
	resp, err := f.jobs.Prepare(f.ctx, &jobpb.PrepareJobRequest{JobName: "test", Pipeline: p})
	if err != nil {
		f.Fatalf("Prepare: %v", err)
	}
	return resp.GetPreparationId()
}

func (f *fixture) run(id string) {
	f.Helper()
	resp, err := f.jobs.Run(f.ctx, &jobpb.RunJobRequest{PreparationId: id})
	if err != nil {
		f.Fatalf("Run: %v", err)
	}
	if resp.GetJobId() != id {
		f.Fatalf("Run returned job id %q for preparation %q", resp.GetJobId(), id)
	}
}

func (f *fixture) state(id string) jobpb.JobState_Enum {
	f.Helper()
	resp, err := f.jobs.GetState(f.ctx, &jobpb.GetJobStateRequest{JobId: id})
	if err != nil {
		f.Fatalf("GetState: %v", err)
	}
	return resp.GetState()
}

// messages reads the job's message stream to its end: states by name, and messages
// as "importance: text".
func (f *fixture) messages(id string) []string {
	f.Helper()
	stream, err := f.jobs.GetMessageStream(f.ctx, &jobpb.JobMessagesRequest{JobId: id})
	if err != nil {
		f.Fatal(err)
	}
	var got []string
	for {
		resp, err := stream.Recv()
		if err == io.EOF {
			return got
		}
		if err != nil {
			f.Fatalf("message stream after %q: %v", got, err)
		}
		got = append(got, messageString(resp))
	}
}

func messageString(resp *jobpb.JobMessagesResponse) string {
	if s := resp.GetStateResponse(); s != nil {
		return s.GetState().String()
	}
	m := resp.GetMessageResponse()
	return m.GetImportance().String()[len("JOB_MESSAGE_"):] + ": " + m.GetMessageText()
}

// states reads the job's state stream to its end.
func (f *fixture) states(id string) []jobpb.JobState_Enum {
	f.Helper()
	stream, err := f.jobs.GetStateStream(f.ctx, &jobpb.GetJobStateRequest{JobId: id})
	if err != nil {
		f.Fatal(err)
	}
	var got []jobpb.JobState_Enum
	for {
		ev, err := stream.Recv()
		if err == io.EOF {
			return got
		}
		if err != nil {
			f.Fatalf("state stream after %v: %v", got, err)
		}
		got = append(got, ev.GetState())
	}
}

func (f *fixture) cancel(id string) jobpb.JobState_Enum {
	f.Helper()
	resp, err := f.jobs.Cancel(f.ctx, &jobpb.CancelJobRequest{JobId: id})
	if err != nil {
		f.Fatalf("Cancel: %v", err)
	}
	return resp.GetState()
}

var errTest = errors.New("DoFn failed:\nTraceback (most recent call last):\n  File \"x.py\", line 1\nValueError: no \xff way")
