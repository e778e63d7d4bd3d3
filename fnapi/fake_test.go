package fnapi_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/fnapi"
	"github.com/summerbeam/summerbeam/runner/engine"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// fake is a worker that does what its test says, message by message.
type fake struct {
	t       testing.TB
	id      string
	conn    *grpc.ClientConn
	ctx     context.Context
	control fnpb.BeamFnControl_ControlClient
	data    fnpb.BeamFnData_DataClient
	state   fnpb.BeamFnState_StateClient

	requests chan *fnpb.InstructionRequest // closed when the control stream ends
	ended    error                         // why; read it after that
}

// fakePool is a worker pool of fakes.
type fakePool struct {
	fnpb.UnimplementedBeamFnExternalWorkerPoolServer
	t      testing.TB
	refuse string
	silent bool
	// deaf, if not nil, is how long it doesn't answer when it is to stop a worker.
	deaf  chan struct{}
	fakes chan *fake

	mu      sync.Mutex
	stopped []string
}

func (p *fakePool) StartWorker(_ context.Context, req *fnpb.StartWorkerRequest) (*fnpb.StartWorkerResponse, error) {
	if p.refuse != "" || p.silent {
		return &fnpb.StartWorkerResponse{Error: p.refuse}, nil
	}
	f := &fake{t: p.t, id: req.GetWorkerId(), conn: dial(p.t, req.GetControlEndpoint().GetUrl())}
	f.ctx = metadata.AppendToOutgoingContext(context.Background(), "worker_id", f.id)
	var err error
	if f.control, err = fnpb.NewBeamFnControlClient(f.conn).Control(f.ctx); err != nil {
		p.t.Error(err)
	}
	f.requests = make(chan *fnpb.InstructionRequest, 100)
	go func() {
		defer close(f.requests)
		for {
			req, err := f.control.Recv()
			if err != nil {
				f.ended = err
				return
			}
			f.requests <- req
		}
	}()
	p.fakes <- f
	return &fnpb.StartWorkerResponse{}, nil
}

func (p *fakePool) StopWorker(_ context.Context, req *fnpb.StopWorkerRequest) (*fnpb.StopWorkerResponse, error) {
	if p.deaf != nil {
		<-p.deaf
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = append(p.stopped, req.GetWorkerId())
	return &fnpb.StopWorkerResponse{}, nil
}

func dial(t testing.TB, addr string) *grpc.ClientConn {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
	if err != nil {
		t.Error(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// newFakePool serves a pool and returns its environment.
func newFakePool(t testing.TB) (*fakePool, *pipepb.Environment) {
	t.Helper()
	lis, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &fakePool{t: t, fakes: make(chan *fake, 10)}
	g := grpc.NewServer()
	fnpb.RegisterBeamFnExternalWorkerPoolServer(g, p)
	go func() { _ = g.Serve(lis) }()
	t.Cleanup(g.Stop)
	payload, err := proto.Marshal(&pipepb.ExternalPayload{Endpoint: &pipepb.ApiServiceDescriptor{Url: lis.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	return p, &pipepb.Environment{Urn: "beam:env:external:v1", Payload: payload}
}

// startFake starts one fake worker.
func startFake(t testing.TB, o fnapi.Options, capabilities ...string) (engine.Worker, *fake) {
	t.Helper()
	w, f, _ := startFakeOn(t, serve(t, o), &engine.JobInfo{ID: "job-1", Name: "test"}, capabilities...)
	return w, f
}

func startFakeOn(t testing.TB, s *fnapi.Server, job *engine.JobInfo, capabilities ...string) (engine.Worker, *fake, *fakePool) {
	t.Helper()
	p, env := newFakePool(t)
	env.Capabilities = capabilities
	w, err := s.Start(t.Context(), job, "w1", "env", env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w, <-p.fakes, p
}

// next receives an instruction.
func (f *fake) next() *fnpb.InstructionRequest {
	f.t.Helper()
	req := wait(f.t, f.requests)
	if req == nil {
		f.t.Fatalf("control stream: %v", f.ended)
	}
	return req
}

// quiet sees that no instruction comes for a moment.
func (f *fake) quiet() {
	f.t.Helper()
	select {
	case req := <-f.requests:
		f.t.Fatalf("got %v, want nothing yet", req)
	case <-time.After(30 * time.Millisecond):
	}
}

// answer answers a bundle.
func (f *fake) answer(id string, resp *fnpb.ProcessBundleResponse) {
	f.respond(&fnpb.InstructionResponse{InstructionId: id, Response: &fnpb.InstructionResponse_ProcessBundle{ProcessBundle: resp}})
}

func (f *fake) respond(resp *fnpb.InstructionResponse) {
	f.t.Helper()
	if err := f.control.Send(resp); err != nil {
		f.t.Errorf("control stream: %v", err)
	}
}

func (f *fake) openData() {
	f.t.Helper()
	var err error
	if f.data, err = fnpb.NewBeamFnDataClient(f.conn).Data(f.ctx); err != nil {
		f.t.Error(err)
	}
}

func (f *fake) openState() {
	f.t.Helper()
	var err error
	if f.state, err = fnpb.NewBeamFnStateClient(f.conn).State(f.ctx); err != nil {
		f.t.Error(err)
	}
}

// input reads data messages until the source's stream ends.
func (f *fake) input() (data []byte, messages []*fnpb.Elements) {
	f.t.Helper()
	for {
		e, err := f.data.Recv()
		if err != nil {
			f.t.Errorf("data stream: %v", err)
			return data, messages
		}
		messages = append(messages, e)
		for _, d := range e.GetData() {
			data = append(data, d.GetData()...)
			if d.GetIsLast() {
				return data, messages
			}
		}
	}
}

// output sends a block of a sink.
func (f *fake) output(id, sink, data string, last bool) {
	f.t.Helper()
	err := f.data.Send(&fnpb.Elements{Data: []*fnpb.Elements_Data{{InstructionId: id, TransformId: sink, Data: []byte(data), IsLast: last}}})
	if err != nil {
		f.t.Errorf("data stream: %v", err)
	}
}

// ask sends a state request and returns the response.
func (f *fake) ask(req *fnpb.StateRequest) *fnpb.StateResponse {
	f.t.Helper()
	if err := f.state.Send(req); err != nil {
		f.t.Errorf("state stream: %v", err)
		return nil
	}
	resp, err := f.state.Recv()
	if err != nil {
		f.t.Errorf("state stream: %v", err)
	}
	return resp
}

// plain is a descriptor of a source and sinks; fakes need no more.
func plain(sinks ...string) *fnpb.ProcessBundleDescriptor {
	port, _ := proto.Marshal(&fnpb.RemoteGrpcPort{CoderId: "c"})
	d := &fnpb.ProcessBundleDescriptor{Id: "plain", Transforms: map[string]*pipepb.PTransform{
		"source": {UniqueName: "source", Spec: &pipepb.FunctionSpec{Urn: "beam:runner:source:v1", Payload: port}},
	}}
	for _, s := range sinks {
		d.Transforms[s] = &pipepb.PTransform{UniqueName: s, Spec: &pipepb.FunctionSpec{Urn: "beam:runner:sink:v1", Payload: port}}
	}
	return d
}

// outcome is what Run returns.
type outcome struct {
	res *engine.Result
	err error
}

// start runs a bundle in the background.
func start(ctx context.Context, w engine.Worker, b *engine.Bundle) chan outcome {
	ch := make(chan outcome, 1)
	go func() {
		res, err := w.Run(ctx, b)
		ch <- outcome{res, err}
	}()
	return ch
}

// wait takes an outcome that must come soon.
func wait[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("waited 10 s in vain")
		panic("unreachable")
	}
}
