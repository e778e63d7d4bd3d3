package metamorphic

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/harness/init"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal/extworker"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal/runnerlib"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/summerbeam/summerbeam/runner"
	"github.com/summerbeam/summerbeam/runner/engine"
	"github.com/summerbeam/summerbeam/runner/engine/core"
)

// servedChecks bounds how many pipelines go to a server: each starts a worker of its own.
const servedChecks = 10

// TestServedPanes: the same by a server, with workers over gRPC. Its jobs are durable.
func TestServedPanes(t *testing.T) {
	s, err := runner.Open(runner.Config{
		DataDir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Engine: engine.Config{Core: core.Config{BundleElements: 2, StartMillis: start, EpochInterval: time.Millisecond}},
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	pool, err := extworker.StartLoopback(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Stop(context.Background()) })
	env, err := graphx.CreateEnvironment(ctx, graphx.URNEnvExternal, pool.EnvironmentConfig)
	if err != nil {
		t.Fatal(err)
	}
	// The SDK's client wants to stage a binary; workers of this process need none.
	binary := filepath.Join(t.TempDir(), "worker")
	if err := os.WriteFile(binary, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	checks := 0
	rapid.Check(t, func(t *rapid.T) {
		p := drawProgram(t)
		if checks++; checks > servedChecks {
			return
		}
		id := seen.begin()
		pb, err := p.pipeline(env, id, 0)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(ctx, time.Minute)
		defer stop()
		if _, err := runnerlib.Execute(ctx, pb, l.Addr().String(), &runnerlib.JobOptions{Name: "metamorphic", Worker: binary}, false); err != nil {
			t.Fatalf("%v\n%v", p, err)
		}
		if diff := cmp.Diff(lines(p.run(start).panes), lines(seen.take(id))); diff != "" {
			t.Fatalf("%v\nserved (-model +run):\n%s", p, diff)
		}
	})
}
