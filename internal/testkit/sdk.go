// Package testkit has what tests of several packages share: pipelines written down as
// protos, and an SDK whose DoFns and WindowFns are Go funcs over encoded bytes. With these
// tests say what the Go SDK has no words for: custom WindowFns, how windows merge,
// on-window-expiration, stable and time-sorted input.
package testkit

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// SDK is a scripted SDK. Its workers speak the Fn API over gRPC, as those of all SDKs do.
// Scripts are called by as many goroutines as there are bundles.
type SDK struct {
	// DoFns by what a ParDo's payload has as its DoFn.
	DoFns map[string]DoFn
	// Windows by what is the payload of a WindowFn, or of a window mapping.
	Windows map[string]WindowFn
}

// DoFn is a scripted one.
type DoFn struct {
	// Process gets each element once for each of its windows.
	Process func(*Call, Element) error
	// Timer gets the timers that fire, that of a window's expiration too.
	Timer func(*Call, Timer) error
}

// WindowFn is a scripted one. Windows are in their encoding.
type WindowFn struct {
	// Assign returns an element's windows.
	Assign func(Element) []string
	// Merge says what becomes of a set of windows of one key: the windows that there are
	// then and were not before, or others merge into; each with those that become part of it.
	Merge func(windows []string) map[string][]string
	// Map returns the window of a side input that goes with one of the main input.
	Map func(window string) string
}

// Element is a windowed value, in one window. Key, Value, Window and Pane are encoded; the key
// of what is no KV is empty, an empty pane stands for that of elements that were not grouped.
type Element struct {
	Key, Value, Window, Pane string
	Timestamp                int64 // ms
}

// Timer is one that fires, or is set or cleared. Key and Window are encoded.
type Timer struct {
	Family, Tag, Key, Window string
	// Fire and Hold (the output timestamp) are in ms.
	Fire, Hold int64
	Clear      bool
}

// Start serves a pool of the SDK's workers until the test ends, and returns the environment
// that a pipeline names to have them.
func (s *SDK) Start(t testing.TB) *pipepb.Environment {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &pool{sdk: s, workers: make(map[string]*worker)}
	g := grpc.NewServer()
	fnpb.RegisterBeamFnExternalWorkerPoolServer(g, p)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, w := range p.workers {
			w.stop()
		}
	})
	payload, err := proto.Marshal(&pipepb.ExternalPayload{Endpoint: &pipepb.ApiServiceDescriptor{Url: l.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	return &pipepb.Environment{Urn: "beam:env:external:v1", Payload: payload}
}

type pool struct {
	fnpb.UnimplementedBeamFnExternalWorkerPoolServer
	sdk *SDK

	mu      sync.Mutex // guards the field below
	workers map[string]*worker
}

func (p *pool) StartWorker(_ context.Context, req *fnpb.StartWorkerRequest) (*fnpb.StartWorkerResponse, error) {
	w, err := connect(p.sdk, req.GetWorkerId(), req.GetControlEndpoint().GetUrl())
	if err != nil {
		return nil, fmt.Errorf("scripted worker: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.workers[req.GetWorkerId()] = w
	return &fnpb.StartWorkerResponse{}, nil
}

func (p *pool) StopWorker(_ context.Context, req *fnpb.StopWorkerRequest) (*fnpb.StopWorkerResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.workers[req.GetWorkerId()]; w != nil {
		w.stop()
		delete(p.workers, req.GetWorkerId())
	}
	return &fnpb.StopWorkerResponse{}, nil
}
