package inproc_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"github.com/summerbeam/summerbeam/fnapi/inproc"
	bt "github.com/summerbeam/summerbeam/fnapi/inproc/bundletest"
	"github.com/summerbeam/summerbeam/runner/engine"
)

var errGivenUp = errors.New("given up")

// hook sets a hook of the DoFns for the test.
func hook(t testing.TB, name string, f any) {
	bt.Hooks.Store(name, f)
	t.Cleanup(func() { bt.Hooks.Delete(name) })
}

// entered returns a channel that is closed when the DoFn is at the element.
func entered(t testing.TB) <-chan struct{} {
	ch := make(chan struct{})
	hook(t, "entered", sync.OnceFunc(func() { close(ch) }))
	return ch
}

func wait[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("nothing happens")
		panic("unreachable")
	}
}

// The SDK takes a cancelled context for the end of the input and says nil.
func TestCancelledBundleFails(t *testing.T) {
	w := start(t)
	at := entered(t)
	b := bt.MustStage(t, "behave").Bundle(2, bt.One("ctx"), bt.One("fine"))
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() { <-at; cancel(errGivenUp) }()
	if _, err := b.Run(ctx, w); !errors.Is(err, errGivenUp) {
		t.Errorf("a cancelled bundle gives %v", err)
	}
	if _, err := b.Run(ctx, w); !errors.Is(err, errGivenUp) {
		t.Errorf("a bundle with an ended context gives %v", err)
	}
}

// So it does while it waits for input.
func TestCancelledWhileWaitingForInput(t *testing.T) {
	w := start(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	b := bt.MustStage(t, "identity").Bundle(2)
	release := make(chan struct{})
	defer close(release)
	b.Input = func(yield func([]byte, error) bool) {
		if !yield(bt.KV("a", "b"), nil) {
			return
		}
		cancel(errGivenUp)
		<-release // An engine's iterator would end with ctx; a worse one must not hold Run.
	}
	if _, err := b.Run(ctx, w); !errors.Is(err, errGivenUp) {
		t.Errorf("got %v", err)
	}
}

// The SDK takes an element that is cut off for the end of its input, too.
func TestCutInput(t *testing.T) {
	w := start(t)
	el := bt.KV("key", "value")
	st := bt.MustStage(t, "identity")
	// Any cut is in the second element; the first one comes out as if all were well.
	for cut := 1; cut < len(el); cut++ {
		_, err := st.Bundle(2, el, el[:cut]).Run(context.Background(), w)
		if err == nil {
			t.Errorf("cut at %d of %d: no error", cut, len(el))
		}
	}
	_, err := st.Bundle(2, el).Run(context.Background(), w)
	if err == nil || !strings.Contains(err.Error(), "read 1 elements of 2") {
		t.Errorf("too few elements give %v", err)
	}
}

func TestInputError(t *testing.T) {
	w := start(t)
	b := bt.MustStage(t, "identity").Bundle(2)
	b.Input = func(yield func([]byte, error) bool) {
		if yield(bt.KV("a", "b"), nil) {
			yield(nil, errors.New("disk gone"))
		}
	}
	if _, err := b.Run(context.Background(), w); err == nil || !strings.Contains(err.Error(), "disk gone") {
		t.Errorf("got %v", err)
	}
	b = bt.MustStage(t, "identity").Bundle(1)
	b.Input = func(func([]byte, error) bool) { panic("broken queue") }
	if _, err := b.Run(context.Background(), w); err == nil || !strings.Contains(err.Error(), "broken queue") {
		t.Errorf("got %v", err)
	}
}

// The SDK drops what timer writers return.
func TestTimerOutputError(t *testing.T) {
	w := start(t)
	b := bt.MustStage(t, "timed").Bundle(1, bt.KV("k", "tag"))
	b.Out.Fail = errors.New("no room")
	if _, err := b.Run(context.Background(), w); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("got %v", err)
	}
}

func TestBrokenPlanIsTakenDown(t *testing.T) {
	w := start(t)
	down := make(chan struct{}, 10)
	hook(t, "teardown", func() { down <- struct{}{} })
	st := bt.MustStage(t, "behave")
	for _, el := range []string{"fail", "panic", "goexit"} {
		if _, err := st.Bundle(1, bt.One(el)).Run(context.Background(), w); err == nil {
			t.Errorf("%s: no error", el)
		}
		wait(t, down)
	}
	for range 3 { // One plan for all three.
		st.Bundle(1, bt.One("fine")).MustRun(t, w)
	}
	if len(down) > 0 {
		t.Error("a good plan was taken down")
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	wait(t, down)
	if len(down) > 0 {
		t.Error("there was more than one plan")
	}
}

func TestUnknownTransform(t *testing.T) {
	w := start(t)
	st := bt.MustStage(t, "identity")
	for name, urn := range map[string]string{"transform": "beam:transform:nobody_knows:v1", "none": ""} {
		b := st.Bundle(1, bt.KV("a", "b"))
		d := proto.CloneOf(st.Descriptor)
		d.Id += name
		d.Transforms[st.Transform].Spec.Urn = urn
		b.Descriptor = d
		if _, err := b.Run(context.Background(), w); err == nil || !strings.Contains(err.Error(), "the Go SDK can't run the stage") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestSplitOfElements(t *testing.T) {
	w := start(t)
	st := bt.MustStage(t, "behave")
	at := entered(t)
	release := make(chan struct{})
	hook(t, "hang", func() { <-release })
	els := []([]byte){bt.One("hang")}
	for range 9 {
		els = append(els, bt.One("fine"))
	}
	b := st.Bundle(10, els...)
	go func() {
		defer close(release)
		<-at
		resp, err := w.Split(context.Background(), b.ID, 0.5, 10)
		if err != nil || resp == nil {
			t.Errorf("split: %v, %v", resp, err)
			return
		}
		// Half of the 9.5 elements that remain: [0, 5) and [5, 10).
		if c := resp.GetChannelSplits()[0]; c.GetLastPrimaryElement() != 4 || c.GetFirstResidualElement() != 5 {
			t.Errorf("channel split %v", c)
		}
		// And once more, of what is left.
		if resp, err = w.Split(context.Background(), b.ID, 0.5, 10); err != nil || resp.GetChannelSplits()[0].GetFirstResidualElement() != 3 {
			t.Errorf("second split: %v, %v", resp, err)
		}
		infos, err := w.Progress(context.Background(), b.ID)
		if err != nil || !bytes.Equal(bt.Metric(infos, "beam:metric:data_channel:read_index:v1", "PTRANSFORM", st.Source), bt.Varint(0)) {
			t.Errorf("progress: %v, %v", infos, err)
		}
	}()
	res := b.MustRun(t, w)
	if got := bt.Metric(res.Metrics, "beam:metric:data_channel:read_index:v1", "PTRANSFORM", st.Source); !bytes.Equal(got, bt.Varint(3)) {
		t.Errorf("read index %x, want 3", got)
	}
	if resp, err := w.Split(context.Background(), b.ID, 0.5, 10); resp != nil || err != nil {
		t.Errorf("a bundle that is over was split: %v, %v", resp, err)
	}
	if infos, err := w.Progress(context.Background(), b.ID); infos != nil || err != nil {
		t.Errorf("a bundle that is over has progress: %v, %v", infos, err)
	}
}

// A split while the source waits for input would hold the source's lock for 500 ms.
func TestSplitWhileWaiting(t *testing.T) {
	w := start(t)
	st := bt.MustStage(t, "ranging")
	st.Bundle(1, st.Restriction("go", 0, 3)).MustRun(t, w)
	b := st.Bundle(1)
	b.Input = func(yield func([]byte, error) bool) {
		var took []time.Duration
		for range 5 {
			began := time.Now()
			if resp, err := w.Split(context.Background(), b.ID, 0.5, 1); resp != nil || err != nil {
				t.Errorf("split: %v, %v", resp, err)
			}
			took = append(took, time.Since(began))
		}
		// The median: any one may be slow on a busy machine.
		slices.Sort(took)
		if d := took[len(took)/2]; d > 400*time.Millisecond {
			t.Errorf("a split took %v", d)
		}
		yield(st.Restriction("go", 0, 5), nil)
	}
	b.MustRun(t, w)
}

// What is split off is lost if the answer finds nobody: the bundle must not
// end well then.
func TestSplitNotWaitedFor(t *testing.T) {
	w := start(t)
	st := bt.MustStage(t, "ranging")
	b := st.Bundle(1, st.Restriction("wait", 0, 100))
	resume := make(chan struct{})
	ctx, leave := context.WithCancelCause(context.Background())
	hook(t, "splitting", func() { leave(errGivenUp); <-resume })
	hook(t, "claimed", func() {
		go func() {
			if _, err := w.Split(ctx, b.ID, 0.5, 1); !errors.Is(err, errGivenUp) {
				t.Errorf("split: %v", err)
			}
			close(resume)
		}()
		// The caller is gone before the tracker has answered.
		<-ctx.Done()
		<-resume
	})
	if _, err := b.Run(context.Background(), w); err == nil || !strings.Contains(err.Error(), "too late") {
		t.Errorf("got %v", err)
	}
}

func TestSplitPanics(t *testing.T) {
	w := start(t)
	st := bt.MustStage(t, "ranging")
	b := st.Bundle(1, st.Restriction("wait", 0, 20))
	hook(t, "splitting", func() { panic("bad tracker") })
	hook(t, "claimed", func() {
		if _, err := w.Split(context.Background(), b.ID, 0.5, 1); err == nil || !strings.Contains(err.Error(), "bad tracker") {
			t.Errorf("split: %v", err)
		}
	})
	b.MustRun(t, w)
}

func TestFinalizationCallbackPanics(t *testing.T) {
	w := start(t)
	b := bt.MustStage(t, "finalizing").Bundle(1, bt.One("panic"))
	b.MustRun(t, w)
	if err := w.Finalize(context.Background(), b.ID); err == nil || !strings.Contains(err.Error(), "callback panics") {
		t.Errorf("got %v", err)
	}
	if err := w.Finalize(context.Background(), b.ID); err != nil {
		t.Errorf("finalized twice: %v", err)
	}
}

func TestClosedWorker(t *testing.T) {
	w := start(t)
	at := entered(t)
	st := bt.MustStage(t, "behave")
	go func() { <-at; w.Close() }()
	if _, err := st.Bundle(1, bt.One("ctx")).Run(context.Background(), w); !errors.Is(err, engine.ErrWorkerLost) {
		t.Errorf("a bundle on a worker that closes gives %v", err)
	}
	if _, err := st.Bundle(1, bt.One("fine")).Run(context.Background(), w); !errors.Is(err, engine.ErrWorkerLost) {
		t.Errorf("a bundle on a closed worker gives %v", err)
	}
}

func TestChunks(t *testing.T) {
	w := start(t)
	st := bt.MustStage(t, "emitting")
	for range 2 {
		b := st.Bundle(2, bt.One("a"), bt.One("b"))
		b.MustRun(t, w)
		one := len(bt.One(string(make([]byte, 50_000))))
		total := 0
		for _, c := range b.Out.Chunks() {
			if len(c)%one != 0 || len(c) == 0 || len(c) > 256<<10 {
				t.Errorf("chunk of %d bytes; elements have %d", len(c), one)
			}
			if cap(c) > 2*len(c) {
				t.Errorf("chunk of %d bytes holds %d", len(c), cap(c))
			}
			total += len(c)
		}
		if total != 40*one {
			t.Errorf("%d bytes, want %d", total, 40*one)
		}
	}
}

// A small output behind a large one must not hold the large one's buffer.
func TestChunksDontHoldMore(t *testing.T) {
	w := start(t)
	st := bt.MustStage(t, "identity")
	large, small := bt.KV("k", string(make([]byte, 100_000))), bt.KV("k", string(make([]byte, 1000)))
	st.Bundle(1, large).MustRun(t, w)
	b := st.Bundle(1, small)
	b.MustRun(t, w)
	if c := b.Out.Chunks()[0]; cap(c) > 2*len(c) {
		t.Errorf("chunk of %d bytes holds %d", len(c), cap(c))
	}
}

func TestExecutionTimes(t *testing.T) {
	st := bt.MustStage(t, "counting")
	w, err := inproc.Workers{Options: inproc.Options{SamplePeriod: 5 * time.Millisecond}}.Start(context.Background(), bt.Job(), "w1", "go", st.Env)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for range 2 { // The sampler ends between bundles and begins again.
		res := st.Bundle(1, bt.One("slow")).MustRun(t, w)
		ms := bt.Metric(res.Metrics, "beam:metric:pardo_execution_time:process_bundle_msecs:v1", "PTRANSFORM", st.Transform)
		if len(ms) != 1 || ms[0] < 20 {
			t.Errorf("60 ms in ProcessElement are reported as %v", ms)
		}
		time.Sleep(30 * time.Millisecond)
	}
}

func TestElementTimeout(t *testing.T) {
	beam.PipelineOptions.Set("element_processing_timeout", "30ms")
	defer beam.PipelineOptions.Set("element_processing_timeout", "")
	st := bt.MustStage(t, "behave")
	w, err := inproc.Workers{Options: inproc.Options{SamplePeriod: 5 * time.Millisecond}}.Start(context.Background(), bt.Job(), "w1", "go", st.Env)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	release := make(chan struct{})
	defer close(release)
	hook(t, "hang", func() { <-release })
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	if _, err := st.Bundle(1, bt.One("hang")).Run(ctx, w); err == nil || !strings.Contains(err.Error(), "exceeded the specified timeout") {
		t.Errorf("got %v", err)
	}
}

func TestOtherEnvironments(t *testing.T) {
	for name, caps := range map[string][]string{
		"isn't of the Go SDK": {"beam:version:sdk_base:python:x"},
		"another Go SDK":      {"beam:version:sdk_base:go:apache/beam_go_sdk:0.0.1"},
	} {
		e := &pipepb.Environment{Urn: "beam:env:docker:v1", Capabilities: caps}
		_, err := inproc.Workers{}.Start(context.Background(), bt.Job(), "w", "other", e)
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "summerbeam serve") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Many bundles at once, split and asked all the time: with -race.
func TestManyBundles(t *testing.T) {
	w := start(t)
	st := bt.MustStage(t, "identity")
	var els []byte
	var at []int
	for range 200 {
		at = append(at, len(els))
		els = append(els, bt.KV("key", "value")...)
	}
	at = append(at, len(els))
	var running sync.Map
	stop := make(chan struct{})
	var asker sync.WaitGroup
	var splits atomic.Int64
	asker.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			running.Range(func(id, residual any) bool {
				if _, err := w.Progress(context.Background(), id.(string)); err != nil {
					t.Error(err)
				}
				if resp, err := w.Split(context.Background(), id.(string), 0.5, 200); err != nil {
					t.Error(err)
				} else if resp != nil {
					residual.(*atomic.Int64).Store(resp.GetChannelSplits()[0].GetFirstResidualElement())
					splits.Add(1)
				}
				return true
			})
		}
	})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				b := st.Bundle(200, els[:at[100]], els[at[100]:])
				r := new(atomic.Int64)
				r.Store(200)
				running.Store(b.ID, r)
				b.MustRun(t, w)
				running.Delete(b.ID)
				// A split's answer may come a moment after Run's.
				deadline := time.Now().Add(time.Second)
				for time.Now().Before(deadline) && len(b.Out.Of(st.Sink)) != at[min(r.Load(), 200)] {
					time.Sleep(time.Millisecond)
				}
				if got := b.Out.Of(st.Sink); len(got) != at[min(r.Load(), 200)] || !bytes.HasPrefix(els, got) {
					t.Errorf("%d bytes of output; split at %d", len(got), r.Load())
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	asker.Wait()
	t.Logf("%d splits", splits.Load())
}

// Output waits where there is no place for it, and no longer than its bundle.
func TestOutputWaitsForRoom(t *testing.T) {
	w := start(t)
	waits, room := make(chan struct{}, 10), make(chan struct{})
	await := func(ctx context.Context) error {
		waits <- struct{}{}
		select {
		case <-room:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	run := func() (*bt.Bundle, <-chan error) {
		b := bt.MustStage(t, "identity").Bundle(1, bt.KV("a", "b"))
		b.AwaitRoom = await
		ended := make(chan error, 1)
		go func() {
			_, err := b.Run(ctx, w)
			ended <- err
		}()
		return b, ended
	}
	_, ended := run()
	wait(t, waits)
	cancel(errGivenUp)
	if err := <-ended; !errors.Is(err, errGivenUp) {
		t.Errorf("got %v", err)
	}
	ctx = context.Background()
	b, ended := run()
	wait(t, waits)
	if n := len(b.Out.Chunks()); n > 0 {
		t.Errorf("%d chunks have come in spite of it", n)
	}
	close(room)
	if err := <-ended; err != nil || len(b.Out.Chunks()) != 1 {
		t.Errorf("%d chunks, error %v", len(b.Out.Chunks()), err)
	}
}
