package fnapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/summerbeam/summerbeam/fnapi"
	"github.com/summerbeam/summerbeam/runner/engine"
)

func TestWorkerEndsInABundle(t *testing.T) {
	w, f := startFake(t, fnapi.Options{})
	b, _ := bundle("b1", plain("sink"), []byte("abc"))
	ran := start(t.Context(), w, b)
	f.next()
	f.openData()
	f.input()
	f.output("b1", "sink", "some", false)
	_ = f.conn.Close()
	if o := wait(t, ran); !errors.Is(o.err, engine.ErrWorkerLost) || !strings.Contains(o.err.Error(), "stream ended") {
		t.Fatalf("got %v", o.err)
	}
	b, _ = bundle("b2", plain("sink"), []byte("abc"))
	if _, err := w.Run(t.Context(), b); !errors.Is(err, engine.ErrWorkerLost) {
		t.Fatalf("on a lost worker: got %v", err)
	}
}

func TestBrokenDataStreamLosesTheWorker(t *testing.T) {
	w, f := startFake(t, fnapi.Options{})
	b, _ := bundle("b1", plain("sink"), []byte("abc"))
	ran := start(t.Context(), w, b)
	f.next()
	ctx, cancel := context.WithCancel(f.ctx)
	f.ctx = ctx
	f.openData()
	f.input()
	cancel()
	if o := wait(t, ran); !errors.Is(o.err, engine.ErrWorkerLost) || !strings.Contains(o.err.Error(), "data stream ended") {
		t.Fatalf("got %v", o.err)
	}
}

func TestBundleErrorHasTheWholeText(t *testing.T) {
	w, f := startFake(t, fnapi.Options{})
	text := "Traceback:\n" + strings.Repeat("  File x, line 1\n", 5000) + "ValueError: boom"
	b, _ := bundle("b1", plain("sink"), []byte("abc"))
	ran := start(t.Context(), w, b)
	// The answer comes before the data stream is open: nobody must wait for that.
	f.respond(&fnpb.InstructionResponse{InstructionId: f.next().GetInstructionId(), Error: text})
	o := wait(t, ran)
	if o.err == nil || !strings.Contains(o.err.Error(), text) || !strings.Contains(o.err.Error(), "bundle b1") {
		t.Fatalf("got %.200v", o.err)
	}
	if errors.Is(o.err, engine.ErrWorkerLost) {
		t.Fatal("a bundle's error must not be the worker's end")
	}
}

func TestOutputInPieces(t *testing.T) {
	w, f := startFake(t, fnapi.Options{})
	b, out := bundle("b1", plain("left", "right"), []byte("abc"))
	ran := start(t.Context(), w, b)
	f.next()
	f.openData()
	if in, _ := f.input(); string(in) != "abc" {
		t.Fatalf("input %q", in)
	}
	f.output("b1", "left", "half an el", false)
	f.output("b1", "right", "xyz", true)
	f.output("b1", "left", "ement", false)
	f.answer("b1", &fnpb.ProcessBundleResponse{ResidualRoots: []*fnpb.DelayedBundleApplication{{}}})
	time.Sleep(20 * time.Millisecond)
	select {
	case o := <-ran:
		t.Fatalf("done before the last output: %v", o)
	default:
	}
	f.output("b1", "left", "!", true)
	o := wait(t, ran)
	if o.err != nil {
		t.Fatal(o.err)
	}
	if l, r := out.get("left"), out.get("right"); string(l) != "half an element!" || string(r) != "xyz" {
		t.Fatalf("left %q, right %q", l, r)
	}
	if len(o.res.Residuals) != 1 || o.res.Finalize {
		t.Fatalf("result %+v", o.res)
	}
}

func TestEmbeddedOutput(t *testing.T) {
	w, f := startFake(t, fnapi.Options{})
	b, out := bundle("b1", plain("sink"), []byte("abc"))
	b.TimerFamilies = []engine.TimerFamily{{Transform: "t", Family: "f"}}
	ran := start(t.Context(), w, b)
	f.next()
	f.openData()
	f.input()
	f.answer("b1", &fnpb.ProcessBundleResponse{Elements: &fnpb.Elements{
		Data:   []*fnpb.Elements_Data{{TransformId: "sink", Data: []byte("data")}, {TransformId: "sink", IsLast: true}},
		Timers: []*fnpb.Elements_Timers{{TransformId: "t", TimerFamilyId: "f", Timers: []byte("timer"), IsLast: true}},
	}})
	if o := wait(t, ran); o.err != nil {
		t.Fatal(o.err)
	}
	if string(out.get("sink")) != "data" || string(out.get("t/f")) != "timer" {
		t.Fatalf("got %v", out.data)
	}
}

// What is small goes along with the request, ends of streams included; the worker needs
// no data stream for it.
func TestEmbeddedInput(t *testing.T) {
	w, f := startFake(t, fnapi.Options{}, "beam:protocol:control_request_elements_embedding:v1")
	b, _ := bundle("b1", plain("sink"), []byte("abc"), []byte("def"))
	b.TimerFamilies = []engine.TimerFamily{{Transform: "t", Family: "f"}}
	ran := start(t.Context(), w, b)
	e := f.next().GetProcessBundle().GetElements()
	var data string
	ended := false
	for _, d := range e.GetData() {
		data += string(d.GetData())
		ended = ended || d.GetIsLast()
	}
	if data != "abcdef" || !ended || len(e.GetTimers()) != 1 || !e.GetTimers()[0].GetIsLast() {
		t.Fatalf("embedded %v", e)
	}
	f.openData()
	f.output("b1", "sink", "", true)
	f.answer("b1", &fnpb.ProcessBundleResponse{Elements: &fnpb.Elements{
		Timers: []*fnpb.Elements_Timers{{TransformId: "t", TimerFamilyId: "f", IsLast: true}},
	}})
	if o := wait(t, ran); o.err != nil {
		t.Fatal(o.err)
	}

	large := bytes.Repeat([]byte("x"), 40<<10)
	b, _ = bundle("b2", plain("sink"), large, large)
	ran = start(t.Context(), w, b)
	if e := f.next().GetProcessBundle().GetElements(); e != nil {
		t.Fatalf("embedded %d blocks of a large input", len(e.GetData()))
	}
	if in, _ := f.input(); len(in) != 80<<10 {
		t.Fatalf("%d bytes by the data stream, want %d", len(in), 80<<10)
	}
	f.output("b2", "sink", "", true)
	f.answer("b2", &fnpb.ProcessBundleResponse{Elements: &fnpb.Elements{
		Timers: []*fnpb.Elements_Timers{{TransformId: "t", TimerFamilyId: "f", IsLast: true}},
	}})
	if o := wait(t, ran); o.err != nil {
		t.Fatal(o.err)
	}
}

func TestInputThatFailsBeforeTheBundleBegan(t *testing.T) {
	w, f := startFake(t, fnapi.Options{}, "beam:protocol:control_request_elements_embedding:v1")
	b, _ := bundle("b1", plain("sink"))
	want := errors.New("the disk is gone")
	b.Input = func(yield func([]byte, error) bool) { _ = yield([]byte("abc"), nil) && yield(nil, want) }
	if o := wait(t, start(t.Context(), w, b)); !errors.Is(o.err, want) {
		t.Fatalf("got %v, want %v", o.err, want)
	}
	f.quiet()
}

func TestBundleFailures(t *testing.T) {
	for _, c := range []struct {
		name  string
		setup func(b *engine.Bundle)
		act   func(f *fake)
		want  string
	}{
		{"output fails", func(b *engine.Bundle) {
			b.Output = func(string, []byte) error { return errors.New("disk full") }
		}, func(f *fake) { f.output("b1", "sink", "x", false) }, "disk full"},
		{"output panics", func(b *engine.Bundle) {
			b.Output = func(string, []byte) error { panic("oh no") }
		}, func(f *fake) { f.output("b1", "sink", "x", false) }, "oh no"},
		{"unknown sink", nil, func(f *fake) { f.output("b1", "elsewhere", "x", false) }, `"elsewhere"`},
		{"data after the end", nil, func(f *fake) {
			f.output("b1", "sink", "x", true)
			f.output("b1", "sink", "x", false)
		}, "after its end"},
		{"input fails", func(b *engine.Bundle) {
			b.Input = func(yield func([]byte, error) bool) { yield(nil, errors.New("cannot read")) }
		}, nil, "cannot read"},
		{"input panics", func(b *engine.Bundle) {
			b.Input = func(func([]byte, error) bool) { panic("oh no") }
		}, nil, "oh no"},
		{"wrong answer", nil, func(f *fake) {
			f.respond(&fnpb.InstructionResponse{InstructionId: "b1", Response: &fnpb.InstructionResponse_Register{}})
		}, "answered with"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, f := startFake(t, fnapi.Options{})
			b, _ := bundle("b1", plain("sink"), []byte("abc"))
			if c.setup != nil {
				c.setup(b)
			}
			ran := start(t.Context(), w, b)
			f.next()
			f.openData()
			f.input() // is ended in any case
			if c.act != nil {
				c.act(f)
			}
			o := wait(t, ran)
			if o.err == nil || !strings.Contains(o.err.Error(), c.want) {
				t.Fatalf("got %v, want %q", o.err, c.want)
			}
			f.respond(&fnpb.InstructionResponse{InstructionId: "b1", Error: "late"})
			b, _ = bundle("b2", plain("sink"))
			ran = start(t.Context(), w, b)
			f.next()
			f.input()
			f.output("b2", "sink", "", true)
			f.answer("b2", &fnpb.ProcessBundleResponse{})
			if o := wait(t, ran); o.err != nil {
				t.Fatalf("the worker is spoilt: %v", o.err)
			}
		})
	}
}

// A worker that says it is done before it has all the input has lost some.
func TestEarlyAnswer(t *testing.T) {
	w, f := startFake(t, fnapi.Options{})
	b, _ := bundle("b1", plain())
	held := make(chan struct{})
	defer close(held)
	b.Input = func(yield func([]byte, error) bool) {
		if yield(make([]byte, 2<<20), nil) {
			<-held
		}
	}
	ran := start(t.Context(), w, b)
	f.next()
	f.openData()
	if _, err := f.data.Recv(); err != nil {
		t.Fatal(err)
	}
	f.answer("b1", &fnpb.ProcessBundleResponse{})
	for { // until the answer is noted: then there is nothing to split
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		_, err := w.Split(ctx, "b1", 0, 1)
		cancel()
		if err == nil {
			break
		}
	}
	held <- struct{}{}
	if o := wait(t, ran); o.err == nil || !strings.Contains(o.err.Error(), "before its input was complete") {
		t.Fatalf("got %v", o.err)
	}
}

func TestCancelWhileTheWorkerHangs(t *testing.T) {
	w, f := startFake(t, fnapi.Options{})
	cause := errors.New("the user has had enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	b, out := bundle("b1", plain("sink"), []byte("abc"))
	st := &fakeState{entered: make(chan struct{}, 1), block: true}
	b.State = st
	returned := make(chan struct{})
	inner := b.Output
	b.Output = func(sink string, data []byte) error {
		select {
		case <-returned:
			t.Error("Output called after Run has returned")
		default:
		}
		return inner(sink, data)
	}
	ran := start(ctx, w, b)
	f.next()
	f.openData()
	f.openState()
	f.output("b1", "sink", "early", false)
	get := &fnpb.StateRequest{Id: "1", InstructionId: "b1", StateKey: bagKey("k"), Request: &fnpb.StateRequest_Get{Get: &fnpb.StateGetRequest{}}}
	for range 2 { // the second waits behind the first
		if err := f.state.Send(get); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, st.entered)
	time.Sleep(20 * time.Millisecond)
	cancel(cause)
	o := wait(t, ran)
	close(returned)
	if o.err != cause {
		t.Fatalf("got %v, want the cause", o.err)
	}
	for range 2 {
		if resp, err := f.state.Recv(); err != nil || resp.GetError() == "" {
			t.Fatalf("state request under way: %v %v", resp, err)
		}
	}
	// What the worker still does for the bundle comes to nothing.
	f.input()
	f.output("b1", "sink", "late", true)
	if resp := f.ask(get); !strings.Contains(resp.GetError(), "b1") {
		t.Fatalf("late state request: %v", resp)
	}
	if got := string(out.get("sink")); got != "early" && got != "" {
		t.Fatalf("output %q", got)
	}
	f.answer("b1", &fnpb.ProcessBundleResponse{})
	if n := st.calls.Load(); n != 1 {
		t.Fatalf("%d state calls", n)
	}

	b, _ = bundle("b2", plain("sink"))
	ran = start(t.Context(), w, b)
	f.next()
	f.input()
	f.output("b2", "sink", "", true)
	f.answer("b2", &fnpb.ProcessBundleResponse{})
	if o := wait(t, ran); o.err != nil {
		t.Fatal(o.err)
	}
}

// A worker that doesn't read must not hold Run when its context ends.
func TestCancelWhileTheDataStreamIsBlocked(t *testing.T) {
	w, f := startFake(t, fnapi.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	b, _ := bundle("b1", plain())
	stuck := make(chan struct{}, 1)
	b.Input = func(yield func([]byte, error) bool) {
		chunk := make([]byte, 1<<20)
		for i := 0; yield(chunk, nil); i++ {
			if i == 0 { // the second blocks: the worker doesn't read the first
				stuck <- struct{}{}
			}
		}
	}
	ran := start(ctx, w, b)
	f.next()
	f.openData()
	wait(t, stuck)
	time.Sleep(50 * time.Millisecond)
	cancel()
	if o := wait(t, ran); !errors.Is(o.err, context.Canceled) {
		t.Fatalf("got %v", o.err)
	}
}

// A slow bundle must not hold up the others of its worker.
func TestBundlesDoNotWaitForEachOther(t *testing.T) {
	w, f := startFake(t, fnapi.Options{})
	slow := &fakeState{entered: make(chan struct{}, 1), block: true}
	b1, _ := bundle("b1", plain("sink"), []byte("abc"))
	b1.State = slow
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ran1 := start(ctx, w, b1)
	f.next()
	f.openData()
	f.openState()
	f.input()
	req := &fnpb.StateRequest{Id: "1", InstructionId: "b1", StateKey: bagKey("k"), Request: &fnpb.StateRequest_Get{Get: &fnpb.StateGetRequest{}}}
	if err := f.state.Send(req); err != nil {
		t.Fatal(err)
	}
	wait(t, slow.entered)
	for i := range 50 {
		id := fmt.Sprint("other", i)
		b, _ := bundle(id, plain("sink"), []byte("abc"))
		b.State = &fakeState{}
		ran := start(t.Context(), w, b)
		f.next()
		f.input()
		if resp := f.ask(&fnpb.StateRequest{Id: "2", InstructionId: id, StateKey: bagKey("k"), Request: req.Request}); resp.GetError() != "" {
			t.Fatal(resp)
		}
		f.output(id, "sink", "", true)
		f.answer(id, &fnpb.ProcessBundleResponse{})
		if o := wait(t, ran); o.err != nil {
			t.Fatal(o.err)
		}
	}
	cancel()
	wait(t, ran1)
}
