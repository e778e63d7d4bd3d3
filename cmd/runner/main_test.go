package main

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/summerbeam/summerbeam/runner/engine"
	"github.com/summerbeam/summerbeam/runner/engine/capsule"
	"github.com/summerbeam/summerbeam/runner/job"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"summerbeam": main})
}

// TestScript runs the scripts in testdata/script. In each $ENDPOINT is a server that
// has a running job, job-1, and $DEAD an address where nobody listens.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			if err := writeCapsule(env.WorkDir + "/sample.capsule.zip"); err != nil {
				return err
			}
			endpoint, stop, err := serveOneJob(env.WorkDir + "/.artifacts")
			if err != nil {
				return err
			}
			env.Defer(stop)
			env.Setenv("ENDPOINT", endpoint)
			_, port, err := net.SplitHostPort(endpoint)
			if err != nil {
				return err
			}
			env.Setenv("PORT", port)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			env.Setenv("DEAD", l.Addr().String())
			return l.Close()
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"started": started,
		},
	})
}

// writeCapsule writes a capsule of two elements.
func writeCapsule(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	c := capsule.Capsule{
		Header:     capsule.Header{Job: "job-1", Name: "clicks", Stage: "s02", Transforms: []string{"parse", "count"}, Transform: "count", Elements: 2},
		Descriptor: &fnpb.ProcessBundleDescriptor{}, Error: "division by zero",
	}
	return errors.Join(c.Write(f), f.Close())
}

// started waits until the server with the data directory args[0] is about to listen.
func started(ts *testscript.TestScript, _ bool, args []string) {
	for range 1000 {
		if _, err := os.Stat(ts.MkAbs(args[0] + "/artifacts")); err == nil {
			time.Sleep(100 * time.Millisecond)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("no server has made %s", args[0])
}

// engine4ever runs jobs until they are cancelled, drained or not.
type engine4ever struct{}

func (engine4ever) Prepare(*engine.JobInfo, *pipepb.Pipeline) (job.Execution, error) {
	return engine4ever{}, nil
}

func (engine4ever) Run(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func (engine4ever) Outlives() bool { return false }

func (engine4ever) Drain() {}

func (engine4ever) Metrics() (attempted, committed []*pipepb.MonitoringInfo) { return nil, nil }

func serveOneJob(dir string) (endpoint string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	s, err := job.NewServer(job.Options{
		Engine:   engine4ever{},
		Dir:      dir,
		Endpoint: func() string { return endpoint },
		NewID:    func() string { return "job-1" },
	})
	if err != nil {
		return "", nil, err
	}
	g := grpc.NewServer()
	s.Register(g)
	go g.Serve(l)
	ctx := context.Background()
	stop = func() {
		_ = s.Close(ctx)
		g.Stop()
	}
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return "", stop, err
	}
	defer conn.Close()
	jobs := jobpb.NewJobServiceClient(conn)
	resp, err := jobs.Prepare(ctx, &jobpb.PrepareJobRequest{JobName: "word\tcount", Pipeline: &pipepb.Pipeline{}})
	if err == nil {
		_, err = jobs.Run(ctx, &jobpb.RunJobRequest{PreparationId: resp.GetPreparationId()})
	}
	return l.Addr().String(), stop, err
}
