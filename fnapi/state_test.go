package fnapi_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/summerbeam/summerbeam/fnapi"
	"google.golang.org/protobuf/proto"
)

// fakeState keeps bags in memory, two bytes a page.
type fakeState struct {
	block   bool
	entered chan struct{}
	calls   atomic.Int64

	mu   sync.Mutex
	bags map[string]string
}

func bagKey(k string) *fnpb.StateKey {
	return &fnpb.StateKey{Type: &fnpb.StateKey_BagUserState_{BagUserState: &fnpb.StateKey_BagUserState{
		TransformId: "t", UserStateId: "s", Key: []byte(k),
	}}}
}

func (s *fakeState) Get(ctx context.Context, key *fnpb.StateKey, token []byte) ([]byte, []byte, error) {
	s.calls.Add(1)
	if s.block {
		s.entered <- struct{}{}
		<-ctx.Done()
		return nil, nil, context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := string(key.GetBagUserState().GetKey())
	switch k {
	case "panic":
		panic("oh no")
	case "error":
		return nil, nil, errors.New("no such state")
	}
	at := 0
	if token != nil {
		_, _ = fmt.Sscan(string(token), &at)
	}
	rest := s.bags[k][at:]
	if len(rest) <= 2 {
		return []byte(rest), nil, nil
	}
	return []byte(rest[:2]), fmt.Append(nil, at+2), nil
}

func (s *fakeState) Append(_ context.Context, key *fnpb.StateKey, data []byte) error {
	s.calls.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bags == nil {
		s.bags = map[string]string{}
	}
	s.bags[string(key.GetBagUserState().GetKey())] += string(data)
	return nil
}

func (s *fakeState) Clear(_ context.Context, key *fnpb.StateKey) error {
	s.calls.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.bags, string(key.GetBagUserState().GetKey()))
	return nil
}

// A client sends a clear, appends and a read without waiting in between.
func TestStateKeepsItsOrder(t *testing.T) {
	w, f := startFake(t, fnapi.Options{})
	b, _ := bundle("b1", plain(), []byte("abc"))
	b.State = &fakeState{bags: map[string]string{"k": "old"}}
	ran := start(t.Context(), w, b)
	f.next()
	f.openData()
	f.openState()
	f.input()
	send := func(r *fnpb.StateRequest) {
		r.InstructionId, r.StateKey = "b1", bagKey("k")
		if err := f.state.Send(r); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 20 {
		send(&fnpb.StateRequest{Id: "clear", Request: &fnpb.StateRequest_Clear{Clear: &fnpb.StateClearRequest{}}})
		for i := range 5 {
			send(&fnpb.StateRequest{Id: "append", Request: &fnpb.StateRequest_Append{Append: &fnpb.StateAppendRequest{Data: fmt.Append(nil, i)}}})
		}
		send(&fnpb.StateRequest{Id: "get", Request: &fnpb.StateRequest_Get{Get: &fnpb.StateGetRequest{}}})
		var got string
		for token := []byte(nil); ; {
			resp, err := f.state.Recv()
			if err != nil || resp.GetError() != "" {
				t.Fatal(resp, err)
			}
			if resp.GetId() != "get" {
				continue
			}
			got += string(resp.GetGet().GetData())
			if token = resp.GetGet().GetContinuationToken(); token == nil {
				break
			}
			send(&fnpb.StateRequest{Id: "get", Request: &fnpb.StateRequest_Get{Get: &fnpb.StateGetRequest{ContinuationToken: token}}})
		}
		if got != "01234" {
			t.Fatalf("round %d: got %q", round, got)
		}
	}
	f.answer("b1", &fnpb.ProcessBundleResponse{})
	if o := wait(t, ran); o.err != nil {
		t.Fatal(o.err)
	}
}

func TestStateRefusals(t *testing.T) {
	w, f := startFake(t, fnapi.Options{})
	b, _ := bundle("b1", plain(), []byte("abc"))
	b.State = &fakeState{}
	ran := start(t.Context(), w, b)
	f.next()
	f.openData()
	f.openState()
	f.input()

	newKind := &fnpb.StateKey{} // field 99, a message: a kind of state yet to come
	if err := proto.Unmarshal([]byte{0x9a, 0x06, 0x00}, newKind); err != nil {
		t.Fatal(err)
	}
	newField := bagKey("k")
	if err := (proto.UnmarshalOptions{Merge: true}).Unmarshal([]byte{0x9a, 0x06, 0x00}, newField.GetBagUserState()); err != nil {
		t.Fatal(err)
	}
	get := func(k *fnpb.StateKey) *fnpb.StateRequest {
		return &fnpb.StateRequest{InstructionId: "b1", StateKey: k, Request: &fnpb.StateRequest_Get{Get: &fnpb.StateGetRequest{}}}
	}
	for name, c := range map[string]struct {
		req  *fnpb.StateRequest
		want string
	}{
		"other bundle":  {&fnpb.StateRequest{InstructionId: "b9", StateKey: bagKey("k"), Request: get(nil).Request}, `"b9"`},
		"no key":        {get(nil), "no key"},
		"empty key":     {get(&fnpb.StateKey{}), "kind"},
		"new kind":      {get(newKind), "kind"},
		"new field":     {get(newField), "field"},
		"no request":    {&fnpb.StateRequest{InstructionId: "b1", StateKey: bagKey("k")}, "get, append and clear"},
		"state's error": {get(bagKey("error")), "no such state"},
		"state's panic": {get(bagKey("panic")), "oh no"},
	} {
		c.req.Id = name
		resp := f.ask(c.req)
		if resp.GetId() != name || !strings.Contains(resp.GetError(), c.want) {
			t.Errorf("%s: got %v", name, resp)
		}
	}
	if resp := f.ask(get(bagKey("k"))); resp.GetError() != "" {
		t.Errorf("a good request: %v", resp)
	}
	f.answer("b1", &fnpb.ProcessBundleResponse{})
	if o := wait(t, ran); o.err != nil {
		t.Fatal(o.err)
	}
}
