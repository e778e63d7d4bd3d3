package fnapi

import (
	"context"
	"fmt"
	"sync"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// stateStream is a worker's state stream. Responses come from the goroutines of
// many bundles.
type stateStream struct {
	w    *worker
	grpc fnpb.BeamFnState_StateServer
	mu   sync.Mutex // held while sending
}

// State answers the state requests of all bundles of a worker.
//
// SDKs send clears and appends without waiting for the answers, and a read after
// them; so the requests of one bundle are answered one after another, in order.
// Bundles don't wait for each other.
func (sv *services) State(stream fnpb.BeamFnState_StateServer) error {
	w, err := sv.s.caller(stream.Context())
	if err != nil {
		return err
	}
	s := &stateStream{w: w, grpc: stream}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			req, err := stream.Recv()
			if err != nil {
				w.broke("state", err)
				return
			}
			r := w.run(req.GetInstructionId())
			if r == nil || !r.state.add(stateCall{s, req}) {
				s.reply(req, nil, fmt.Errorf("bundle %q doesn't run on worker %q", req.GetInstructionId(), w.id))
			}
		}
	}()
	select {
	case <-w.gone:
	case <-ended:
		<-w.gone
	}
	return w.farewell()
}

// reply sends the response to req, or err. A failed send shows at the reader too.
func (s *stateStream) reply(req *fnpb.StateRequest, resp *fnpb.StateResponse, err error) {
	if err != nil {
		resp = &fnpb.StateResponse{Error: err.Error()}
	}
	resp.Id = req.GetId()
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.grpc.Send(resp)
}

// stateCall is a request and the stream that it came on.
type stateCall struct {
	stream *stateStream
	req    *fnpb.StateRequest
}

// stateQueue answers the state requests of one bundle with one goroutine, which
// is there only while there are requests.
type stateQueue struct {
	run *run

	mu      sync.Mutex // guards the fields below
	calls   []stateCall
	serving bool
	over    bool

	// calling is held while the bundle's State is called.
	calling sync.Mutex
}

// add takes a request, or says that the bundle is over.
func (q *stateQueue) add(c stateCall) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.over {
		return false
	}
	q.calls = append(q.calls, c)
	if !q.serving {
		q.serving = true
		go q.serve()
	}
	return true
}

// close returns when no call of State is under way. The run's context is over.
func (q *stateQueue) close() {
	q.mu.Lock()
	q.over = true
	q.mu.Unlock()
	q.calling.Lock()
	defer q.calling.Unlock()
}

func (q *stateQueue) serve() {
	for {
		q.mu.Lock()
		if len(q.calls) == 0 {
			q.serving = false
			q.calls = nil
			q.mu.Unlock()
			return
		}
		c := q.calls[0]
		q.calls[0] = stateCall{}
		q.calls = q.calls[1:]
		q.mu.Unlock()
		resp, err := q.answer(c.req)
		c.stream.reply(c.req, resp, err)
	}
}

func (q *stateQueue) answer(req *fnpb.StateRequest) (*fnpb.StateResponse, error) {
	q.calling.Lock()
	defer q.calling.Unlock()
	q.mu.Lock()
	over := q.over
	q.mu.Unlock()
	if over || q.run.ctx.Err() != nil {
		return nil, fmt.Errorf("bundle %q is over", req.GetInstructionId())
	}
	return answerState(q.run.ctx, q.run, req)
}

// answerState asks the bundle's State.
func answerState(ctx context.Context, r *run, req *fnpb.StateRequest) (resp *fnpb.StateResponse, err error) {
	defer recoverTo(&err)
	key := req.GetStateKey()
	if err := checkKey(key); err != nil {
		return nil, err
	}
	if r.b.State == nil {
		return nil, fmt.Errorf("stage %q has no state", r.stage)
	}
	switch q := req.GetRequest().(type) {
	case *fnpb.StateRequest_Get:
		data, next, err := r.b.State.Get(ctx, key, q.Get.GetContinuationToken())
		if err != nil {
			return nil, err
		}
		return &fnpb.StateResponse{Response: &fnpb.StateResponse_Get{
			Get: &fnpb.StateGetResponse{Data: data, ContinuationToken: next},
		}}, nil
	case *fnpb.StateRequest_Append:
		if err := r.b.State.Append(ctx, key, q.Append.GetData()); err != nil {
			return nil, err
		}
		return &fnpb.StateResponse{Response: &fnpb.StateResponse_Append{Append: &fnpb.StateAppendResponse{}}}, nil
	case *fnpb.StateRequest_Clear:
		if err := r.b.State.Clear(ctx, key); err != nil {
			return nil, err
		}
		return &fnpb.StateResponse{Response: &fnpb.StateResponse_Clear{Clear: &fnpb.StateClearResponse{}}}, nil
	default:
		return nil, fmt.Errorf("a state request of a kind that this runner doesn't know; it knows get, append and clear")
	}
}

// checkKey refuses keys that say more than this runner understands: a kind of
// state, or a field that narrows the key, of a newer SDK.
func checkKey(key *fnpb.StateKey) error {
	if key == nil {
		return fmt.Errorf("the state request has no key")
	}
	// Nearly all of them, without reflection.
	if b := key.GetBagUserState(); b != nil && len(key.ProtoReflect().GetUnknown()) == 0 && len(b.ProtoReflect().GetUnknown()) == 0 {
		return nil
	}
	unknown := len(key.ProtoReflect().GetUnknown()) > 0
	known := ""
	key.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		known = string(f.Name())
		unknown = unknown || len(v.Message().GetUnknown()) > 0
		return true
	})
	switch {
	case known == "":
		return fmt.Errorf("a state key of a kind that this runner doesn't know")
	case unknown:
		return fmt.Errorf("a state key of kind %s with a field that this runner doesn't know", known)
	}
	return nil
}
