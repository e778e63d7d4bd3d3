package job

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal/runnerlib"
	"github.com/summerbeam/summerbeam/runner/engine"
	"google.golang.org/grpc"
)

// listen serves the fixture's server at a real port as well, for clients that dial
// themselves.
func (f *fixture) listen() string {
	f.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.server.opts.Endpoint = func() string { return l.Addr().String() }
	g := grpc.NewServer()
	f.server.Register(g)
	go g.Serve(l)
	f.Cleanup(g.Stop)
	return l.Addr().String()
}

// goPipeline is the smallest pipeline of the Go SDK.
func goPipeline(t testing.TB) *pipepb.Pipeline {
	t.Helper()
	p := beam.NewPipeline()
	beam.Impulse(p.Root())
	edges, _, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	env, err := graphx.CreateEnvironment(context.Background(), "beam:env:external:v1", func(context.Context) string { return "localhost:1" })
	if err != nil {
		t.Fatal(err)
	}
	pb, err := graphx.Marshal(edges, &graphx.Options{Environment: env})
	if err != nil {
		t.Fatal(err)
	}
	return pb
}

// TestGoSDK submits with the Go SDK's own client, from Prepare to the metrics, as
// --environment_type=LOOPBACK does: what it stages is an empty file.
func TestGoSDK(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()) // the SDK leaves the empty file behind
	f := newFixture(t)
	endpoint := f.listen()
	worker := make(chan error, 1)
	f.engine.prepare = func(info *engine.JobInfo, p *pipepb.Pipeline) error {
		info.Log.Warn("prepared") // a message before Run
		return nil
	}
	f.engine.run = func(_ context.Context, info *engine.JobInfo) error {
		jobs, _ := f.jobs.GetPipeline(f.ctx, &jobpb.GetJobPipelineRequest{JobId: info.ID})
		for _, env := range jobs.GetPipeline().GetComponents().GetEnvironments() {
			for _, dep := range env.GetDependencies() {
				b, err := f.read(info.RetrievalToken, dep)
				if err == nil && len(b) > 0 {
					err = fmt.Errorf("the artifact has %d bytes", len(b))
				}
				worker <- err
			}
		}
		return nil
	}
	opt := &runnerlib.JobOptions{Name: "go", Loopback: true}
	res, err := runnerlib.Execute(f.ctx, goPipeline(t), endpoint, opt, false)
	if err != nil {
		t.Fatalf("Execute: %v", err)
	}
	if err := <-worker; err != nil {
		t.Errorf("the worker's artifact: %v", err)
	}
	if got := f.state(res.JobID()); got != jobpb.JobState_DONE {
		t.Errorf("the job is %v", got)
	}

	f.engine.run = func(context.Context, *engine.JobInfo) error { return fmt.Errorf("stage s01: %w", errTest) }
	_, err = runnerlib.Execute(f.ctx, goPipeline(t), endpoint, opt, false)
	if err == nil || !strings.Contains(err.Error(), "Traceback (most recent call last)") || !strings.Contains(err.Error(), "ValueError") {
		t.Errorf("a failed job gave the Go SDK %v", err)
	}

	f.engine.prepare = func(*engine.JobInfo, *pipepb.Pipeline) error { return fmt.Errorf("no such transform") }
	_, err = runnerlib.Execute(f.ctx, goPipeline(t), endpoint, opt, false)
	if err == nil || !strings.Contains(err.Error(), "no such transform") {
		t.Errorf("a refused job gave the Go SDK %v", err)
	}
}
