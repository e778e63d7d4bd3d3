package fnapi

import (
	"context"
	"fmt"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Control carries instructions to the worker and its answers back.
func (sv *services) Control(stream fnpb.BeamFnControl_ControlServer) error {
	w, err := sv.s.caller(stream.Context())
	if err != nil {
		return err
	}
	if err := w.attach(); err != nil {
		return err
	}
	go func() {
		for {
			resp, err := stream.Recv()
			if err != nil {
				w.broke("control", err)
				return
			}
			w.answered(resp)
		}
	}()
	for {
		select {
		case req := <-w.requests:
			if req.GetProcessBundle() != nil {
				if r := w.run(req.GetInstructionId()); r != nil {
					r.begun.Store(true)
				}
			}
			if err := stream.Send(req); err != nil {
				w.broke("control", err)
				<-w.gone
				return err
			}
		case <-w.gone:
			return w.farewell()
		}
	}
}

// attach takes the worker's control stream; there is one in its life.
func (w *worker) attach() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost != nil {
		return status.Error(codes.Aborted, w.lost.Error())
	}
	if w.control {
		return status.Errorf(codes.AlreadyExists, "worker %q has a control stream already", w.id)
	}
	w.control = true
	close(w.connected)
	return nil
}

// answered hands a response to whom it is for.
func (w *worker) answered(resp *fnpb.InstructionResponse) {
	id := resp.GetInstructionId()
	w.mu.Lock()
	r, ch := w.runs[id], w.answers[id]
	delete(w.answers, id)
	w.mu.Unlock()
	switch {
	case ch != nil:
		ch <- resp // has room for the one answer
	case r != nil:
		r.respond(resp)
	default:
		w.log.Debug("answer to an unknown instruction dropped", "instruction", id)
	}
}

// send puts a request on the control stream.
func (w *worker) send(ctx context.Context, req *fnpb.InstructionRequest) error {
	select {
	case w.requests <- req:
		return nil
	case <-w.gone:
		return w.lostErr()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ask sends a request and waits for its answer. The request gets its id here.
func (w *worker) ask(ctx context.Context, req *fnpb.InstructionRequest) (*fnpb.InstructionResponse, error) {
	ch := make(chan *fnpb.InstructionResponse, 1)
	w.mu.Lock()
	w.lastRequest++
	req.InstructionId = fmt.Sprintf("%s#%d", w.id, w.lastRequest)
	w.answers[req.InstructionId] = ch
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.answers, req.InstructionId)
		w.mu.Unlock()
	}()
	if err := w.send(ctx, req); err != nil {
		return nil, err
	}
	select {
	case resp := <-ch:
		if e := resp.GetError(); e != "" {
			return nil, fmt.Errorf("worker %s: %s", w.id, e)
		}
		return resp, nil
	case <-w.gone:
		return nil, w.lostErr()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// GetProcessBundleDescriptor hands out what Run has registered. SDKs ask when
// they first see a descriptor's id.
func (sv *services) GetProcessBundleDescriptor(ctx context.Context, req *fnpb.GetProcessBundleDescriptorRequest) (*fnpb.ProcessBundleDescriptor, error) {
	w, err := sv.s.caller(ctx)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.descriptors[req.GetProcessBundleDescriptorId()]
	if d == nil {
		return nil, status.Errorf(codes.NotFound, "worker %q has no descriptor %q", w.id, req.GetProcessBundleDescriptorId())
	}
	return d.proto, nil
}
