package metamorphic

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/harness/init"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal/extworker"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/summerbeam/summerbeam/internal/testkit"
	"github.com/summerbeam/summerbeam/runner"
	"github.com/summerbeam/summerbeam/runner/engine"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/statebackend/stores"
)

// site has servers, one for each store that there is, and a pool of the Go SDK's workers. The
// servers' jobs are durable.
type site struct {
	servers map[string]*grpc.ClientConn
	workers *pipepb.Environment
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{servers: make(map[string]*grpc.ClientConn)}
	for _, store := range []string{stores.Pebble, stores.Default()} {
		if s.servers[store] == nil {
			s.servers[store] = serve(t, store)
		}
	}
	pool, err := extworker.StartLoopback(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Stop(context.Background()) })
	if s.workers, err = graphx.CreateEnvironment(context.Background(), graphx.URNEnvExternal, pool.EnvironmentConfig); err != nil {
		t.Fatal(err)
	}
	s.workers.Dependencies = nil // they are in this process, and need no binary
	return s
}

// serve runs a server until the test ends.
func serve(t *testing.T, store string) *grpc.ClientConn {
	t.Helper()
	s, err := runner.Open(runner.Config{
		DataDir: t.TempDir(), Store: store, Log: slog.New(slog.DiscardHandler),
		Engine: engine.Config{Core: core.Config{StartMillis: start}},
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
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	return conn
}

// submit runs a pipeline on a server to its end.
func (w way) submit(ctx context.Context, s *site, name string, pb *pipepb.Pipeline) error {
	id, err := testkit.Submit(ctx, s.servers[w.store], name, pb, w.options())
	if err != nil {
		return err
	}
	return testkit.Await(ctx, s.servers[w.store], id)
}

// options are those of a job that is to be run in a way.
func (w way) options() map[string]any {
	options := map[string]any{
		"summerbeam_shards":          fmt.Sprint(w.shards),
		"summerbeam_slots":           fmt.Sprint(w.slots),
		"summerbeam_bundle_elements": fmt.Sprint(w.bundleElements),
		"summerbeam_force_splits":    fmt.Sprint(w.split),
		"summerbeam_split_after":     "1ms",
		"summerbeam_epoch_interval":  "1ms",
	}
	named := make(map[string]any)
	for name, v := range options {
		named["beam:option:"+name+":v1"] = v
	}
	return named
}
