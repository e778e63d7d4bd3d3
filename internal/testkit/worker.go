package testkit

import (
	"context"
	"errors"
	"fmt"
	"sync"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/summerbeam/summerbeam/internal/rpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// worker is one scripted worker: its streams, and what waits for something on them.
type worker struct {
	sdk    *SDK
	ctx    context.Context
	stop   func()
	client fnpb.BeamFnControlClient

	// sending is held while one of the streams is written to.
	sending sync.Mutex
	control fnpb.BeamFnControl_ControlClient
	data    fnpb.BeamFnData_DataClient
	state   fnpb.BeamFnState_StateClient

	mu          sync.Mutex // guards the fields below
	inputs      map[string]chan *fnpb.Elements
	asked       map[string]chan *fnpb.StateResponse
	lastRequest int
	descriptors map[string]*fnpb.ProcessBundleDescriptor
}

// connect opens all streams of a worker to a runner.
func connect(s *SDK, id, endpoint string) (*worker, error) {
	conn, err := rpc.Connect(endpoint)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), "worker_id", id))
	w := &worker{
		sdk: s, ctx: ctx, client: fnpb.NewBeamFnControlClient(conn),
		inputs:      make(map[string]chan *fnpb.Elements),
		asked:       make(map[string]chan *fnpb.StateResponse),
		descriptors: make(map[string]*fnpb.ProcessBundleDescriptor),
	}
	w.stop = func() {
		cancel()
		_ = conn.Close()
	}
	var errs [3]error
	w.data, errs[0] = fnpb.NewBeamFnDataClient(conn).Data(ctx)
	w.state, errs[1] = fnpb.NewBeamFnStateClient(conn).State(ctx)
	w.control, errs[2] = w.client.Control(ctx)
	if err := errors.Join(errs[:]...); err != nil {
		w.stop()
		return nil, err
	}
	go w.obey()
	go w.receive()
	go w.learn()
	return w, nil
}

// obey answers the instructions.
func (w *worker) obey() {
	for {
		req, err := w.control.Recv()
		if err != nil {
			w.stop()
			return
		}
		resp := &fnpb.InstructionResponse{InstructionId: req.GetInstructionId()}
		switch r := req.GetRequest().(type) {
		case *fnpb.InstructionRequest_ProcessBundle:
			go func() {
				resp.Response = &fnpb.InstructionResponse_ProcessBundle{ProcessBundle: &fnpb.ProcessBundleResponse{}}
				if err := w.process(req.GetInstructionId(), r.ProcessBundle.GetProcessBundleDescriptorId()); err != nil {
					resp.Error = err.Error()
				}
				_ = w.send(func() error { return w.control.Send(resp) })
			}()
			continue
		case *fnpb.InstructionRequest_ProcessBundleProgress:
			resp.Response = &fnpb.InstructionResponse_ProcessBundleProgress{ProcessBundleProgress: &fnpb.ProcessBundleProgressResponse{}}
		case *fnpb.InstructionRequest_ProcessBundleSplit: // it never splits
			resp.Response = &fnpb.InstructionResponse_ProcessBundleSplit{ProcessBundleSplit: &fnpb.ProcessBundleSplitResponse{}}
		default:
			resp.Error = fmt.Sprintf("a scripted worker knows no %T", r)
		}
		_ = w.send(func() error { return w.control.Send(resp) })
	}
}

func (w *worker) send(send func() error) error {
	w.sending.Lock()
	defer w.sending.Unlock()
	return send()
}

// receive hands what comes on the data stream to the bundles.
func (w *worker) receive() {
	for {
		e, err := w.data.Recv()
		if err != nil {
			return
		}
		var ids []string
		for _, d := range e.GetData() {
			ids = append(ids, d.GetInstructionId())
		}
		for _, t := range e.GetTimers() {
			ids = append(ids, t.GetInstructionId())
		}
		// A message is of one bundle, or of none.
		if len(ids) > 0 {
			w.input(ids[0]) <- e
		}
	}
}

// input is where the messages of a bundle come, which may be before it begins.
func (w *worker) input(id string) chan *fnpb.Elements {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inputs[id] == nil {
		w.inputs[id] = make(chan *fnpb.Elements, 100)
	}
	return w.inputs[id]
}

// learn hands the answers on the state stream to those who have asked.
func (w *worker) learn() {
	for {
		resp, err := w.state.Recv()
		if err != nil {
			return
		}
		w.mu.Lock()
		ch := w.asked[resp.GetId()]
		delete(w.asked, resp.GetId())
		w.mu.Unlock()
		if ch != nil {
			ch <- resp
		}
	}
}

// ask sends a state request, which gets its id here, and waits for the answer.
func (w *worker) ask(req *fnpb.StateRequest) (*fnpb.StateResponse, error) {
	ch := make(chan *fnpb.StateResponse, 1)
	w.mu.Lock()
	w.lastRequest++
	req.Id = fmt.Sprint(w.lastRequest)
	w.asked[req.Id] = ch
	w.mu.Unlock()
	if err := w.send(func() error { return w.state.Send(req) }); err != nil {
		return nil, err
	}
	select {
	case resp := <-ch:
		if e := resp.GetError(); e != "" {
			return nil, errors.New(e)
		}
		return resp, nil
	case <-w.ctx.Done():
		return nil, w.ctx.Err()
	}
}

// process runs a bundle: first it takes all of its input.
func (w *worker) process(id, descriptor string) error {
	d, err := w.descriptor(descriptor)
	if err != nil {
		return err
	}
	b, err := newBundle(w, id, d)
	if err != nil {
		return err
	}
	in := w.input(id)
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.inputs, id)
	}()
	var all []*fnpb.Elements
	for ends := 1 + len(b.families); ends > 0; {
		select {
		case e := <-in:
			all = append(all, e)
			for _, d := range e.GetData() {
				if d.GetIsLast() {
					ends--
				}
			}
			for _, t := range e.GetTimers() {
				if t.GetIsLast() {
					ends--
				}
			}
		case <-w.ctx.Done():
			return w.ctx.Err()
		}
	}
	for _, e := range all {
		if err := b.take(e); err != nil {
			return err
		}
	}
	out := b.output()
	return w.send(func() error { return w.data.Send(out) })
}

func (w *worker) descriptor(id string) (*fnpb.ProcessBundleDescriptor, error) {
	w.mu.Lock()
	d := w.descriptors[id]
	w.mu.Unlock()
	if d != nil {
		return d, nil
	}
	d, err := w.client.GetProcessBundleDescriptor(w.ctx, &fnpb.GetProcessBundleDescriptorRequest{ProcessBundleDescriptorId: id})
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.descriptors[id] = d
	return d, nil
}

// port is the coder of a source or sink.
func port(payload []byte) (string, error) {
	var p fnpb.RemoteGrpcPort
	err := proto.Unmarshal(payload, &p)
	return p.GetCoderId(), err
}
