package fnapi_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/summerbeam/summerbeam/fnapi"
)

// fullPlace has no place for output until there is room.
type fullPlace struct {
	room  chan struct{}
	waits chan struct{} // has something in it when somebody waits
	asked atomic.Int64
}

func newFullPlace() *fullPlace {
	return &fullPlace{room: make(chan struct{}), waits: make(chan struct{}, 10)}
}

func (p *fullPlace) await(ctx context.Context) error {
	p.asked.Add(1)
	p.waits <- struct{}{}
	select {
	case <-p.room:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Output that there is no place for waits, also behind the worker's answer; the control stream
// doesn't.
func TestOutputWaitsForRoom(t *testing.T) {
	w, f := startFake(t, fnapi.Options{})
	full := newFullPlace()
	b, out := bundle("b1", plain("sink"))
	b.AwaitRoom = full.await
	ran := start(t.Context(), w, b)
	f.next()
	f.openData()
	f.input()
	f.output("b1", "sink", "some", false)
	wait(t, full.waits)
	f.answer("b1", &fnpb.ProcessBundleResponse{})
	f.output("b1", "sink", "more", true)
	// The control stream is read on: another bundle begins, and ends, since it writes nothing.
	silent := plain()
	silent.Id = "silent"
	b2, _ := bundle("b2", silent)
	ran2 := start(t.Context(), w, b2)
	f.next()
	f.input()
	f.answer("b2", &fnpb.ProcessBundleResponse{})
	if o := wait(t, ran2); o.err != nil {
		t.Fatal(o.err)
	}
	if got := out.get("sink"); len(got) > 0 {
		t.Fatalf("%q has come in spite of it", got)
	}
	close(full.room)
	if o := wait(t, ran); o.err != nil {
		t.Fatal(o.err)
	}
	if got := string(out.get("sink")); got != "somemore" || full.asked.Load() != 2 {
		t.Errorf("output %q, asked %d times", got, full.asked.Load())
	}
}

// A bundle that is given up while its output waits doesn't wait for room, and its worker goes on.
func TestCancelWhileOutputWaitsForRoom(t *testing.T) {
	w, f := startFake(t, fnapi.Options{})
	full := newFullPlace()
	b, _ := bundle("b1", plain("sink"))
	b.AwaitRoom = full.await
	ctx, cancel := context.WithCancel(t.Context())
	ran := start(ctx, w, b)
	f.next()
	f.openData()
	f.input()
	f.output("b1", "sink", "some", true)
	wait(t, full.waits)
	cancel()
	if o := wait(t, ran); !errors.Is(o.err, context.Canceled) {
		t.Fatalf("got %v", o.err)
	}
	f.answer("b1", &fnpb.ProcessBundleResponse{})

	b, out := bundle("b2", plain("sink"))
	ran = start(t.Context(), w, b)
	f.next()
	f.input()
	f.output("b2", "sink", "other", true)
	f.answer("b2", &fnpb.ProcessBundleResponse{})
	if o := wait(t, ran); o.err != nil || string(out.get("sink")) != "other" {
		t.Fatalf("output %q, error %v", out.get("sink"), o.err)
	}
}
