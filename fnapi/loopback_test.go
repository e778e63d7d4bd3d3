package fnapi_test

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/coder"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/exec"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/typex"
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal/extworker"
	"github.com/summerbeam/summerbeam/fnapi"
	"github.com/summerbeam/summerbeam/runner/engine"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// serve returns a server that listens on a port of its own.
func serve(t testing.TB, o fnapi.Options) *fnapi.Server {
	t.Helper()
	lis, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	o.Endpoint = lis.Addr().String()
	s := fnapi.NewServer(o)
	g := grpc.NewServer(fnapi.ServerOptions()...)
	s.Register(g)
	go func() { _ = g.Serve(lis) }()
	t.Cleanup(func() {
		_ = s.Close()
		g.Stop()
	})
	return s
}

// goEnvironment is the environment of a Go SDK's worker pool.
func goEnvironment(t testing.TB, addr string) *pipepb.Environment {
	t.Helper()
	e, err := graphx.CreateEnvironment(t.Context(), "beam:env:external:v1", func(context.Context) string { return addr })
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// loopback starts a worker of a real Go harness in this process.
func loopback(t testing.TB, s *fnapi.Server, id string, log *slog.Logger) engine.Worker {
	t.Helper()
	pool, err := extworker.StartLoopback(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Stop(context.Background()) })
	job := &engine.JobInfo{ID: "job-1", Name: "test", Log: log}
	w, err := s.Start(t.Context(), job, id, "go", goEnvironment(t, pool.EnvironmentConfig(t.Context())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

// stageOf makes a descriptor of a pipeline's ParDos, which must follow one
// another from one Impulse to no output or one: source -> ParDos -> sink.
func stageOf(t testing.TB, build func(s beam.Scope, in beam.PCollection) beam.PCollection) *fnpb.ProcessBundleDescriptor {
	t.Helper()
	p, s := beam.NewPipelineWithRoot()
	build(s, beam.Impulse(s))
	edges, _, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := graphx.Marshal(edges, &graphx.Options{Environment: goEnvironment(t, "nowhere:1")})
	if err != nil {
		t.Fatal(err)
	}
	return descriptorOf(t, pipe)
}

// descriptorOf makes a descriptor of a pipeline's primitive transforms.
func descriptorOf(t testing.TB, pipe *pipepb.Pipeline) *fnpb.ProcessBundleDescriptor {
	t.Helper()
	c := pipe.GetComponents()
	d := &fnpb.ProcessBundleDescriptor{
		Id:                  "stage",
		Transforms:          map[string]*pipepb.PTransform{},
		Pcollections:        c.GetPcollections(),
		WindowingStrategies: c.GetWindowingStrategies(),
		Coders:              c.GetCoders(),
		Environments:        c.GetEnvironments(),
	}
	source, sink := "", ""
	consumed := map[string]bool{}
	for id, tr := range c.GetTransforms() {
		if len(tr.GetSubtransforms()) > 0 {
			continue
		}
		if tr.GetSpec().GetUrn() == graphx.URNImpulse {
			for _, o := range tr.GetOutputs() {
				source = o
			}
			continue
		}
		d.Transforms[id] = tr
		for _, in := range tr.GetInputs() {
			consumed[in] = true
		}
	}
	for _, tr := range d.Transforms {
		for _, o := range tr.GetOutputs() {
			if !consumed[o] {
				sink = o
			}
		}
	}
	port := func(urn, collection string) *pipepb.FunctionSpec {
		cid := "windowed_" + collection
		ws := c.GetWindowingStrategies()[c.GetPcollections()[collection].GetWindowingStrategyId()]
		d.Coders[cid] = &pipepb.Coder{
			Spec:              &pipepb.FunctionSpec{Urn: "beam:coder:windowed_value:v1"},
			ComponentCoderIds: []string{c.GetPcollections()[collection].GetCoderId(), ws.GetWindowCoderId()},
		}
		b, err := proto.Marshal(&fnpb.RemoteGrpcPort{CoderId: cid})
		if err != nil {
			t.Fatal(err)
		}
		return &pipepb.FunctionSpec{Urn: urn, Payload: b}
	}
	d.Transforms["source"] = &pipepb.PTransform{UniqueName: "source", Spec: port("beam:runner:source:v1", source), Outputs: map[string]string{"i0": source}}
	if sink != "" {
		d.Transforms["sink"] = &pipepb.PTransform{UniqueName: "sink", Spec: port("beam:runner:sink:v1", sink), Inputs: map[string]string{"i0": sink}}
	}
	return d
}

// windowed encodes values as windowed values of the global window.
func windowed(t testing.TB, values ...[]byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	for _, v := range values {
		if err := exec.EncodeWindowedValueHeader(exec.MakeWindowEncoder(coder.NewGlobalWindow()), window.SingleGlobalWindow, mtime.ZeroTimestamp, typex.NoFiringPane(), &buf); err != nil {
			t.Fatal(err)
		}
		if err := coder.EncodeBytes(v, &buf); err != nil {
			t.Fatal(err)
		}
	}
	return buf.Bytes()
}

// chunks yields byte slices as a bundle's input.
func chunks(all ...[]byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, c := range all {
			if !yield(c, nil) {
				return
			}
		}
	}
}

// sinks gathers what a bundle puts out.
type sinks struct {
	mu   sync.Mutex
	data map[string][]byte
}

func (s *sinks) output(sink string, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.data == nil {
		s.data = map[string][]byte{}
	}
	s.data[sink] = append(s.data[sink], data...)
	return nil
}

func (s *sinks) timers(transform, family string, data []byte) error {
	return s.output(transform+"/"+family, data)
}

func (s *sinks) get(name string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data[name]
}

// bundle makes a bundle that gathers its output.
func bundle(id string, d *fnpb.ProcessBundleDescriptor, in ...[]byte) (*engine.Bundle, *sinks) {
	s := &sinks{}
	return &engine.Bundle{
		ID: id, Stage: "the stage", Descriptor: d, Source: "source",
		Input: chunks(in...), Output: s.output, TimerOutput: s.timers,
	}, s
}

func TestLoopbackIdentity(t *testing.T) {
	s := serve(t, fnapi.Options{})
	w := loopback(t, s, "w1", nil)
	d := stageOf(t, func(s beam.Scope, in beam.PCollection) beam.PCollection { return beam.ParDo(s, upper, in) })
	for i := range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		b, out := bundle(fmt.Sprint("b", i), d, windowed(t, []byte("one"), []byte("two")), windowed(t, []byte("three")))
		b.Elements = 3
		res, err := w.Run(ctx, b)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if want := windowed(t, []byte("ONE"), []byte("TWO"), []byte("THREE")); !bytes.Equal(out.get("sink"), want) {
			t.Fatalf("got %q, want %q", out.get("sink"), want)
		}
		if len(res.Metrics) == 0 || res.Metrics[0].GetUrn() == "" {
			t.Fatalf("metrics %v", res.Metrics)
		}
	}
}
