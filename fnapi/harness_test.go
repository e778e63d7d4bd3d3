package fnapi_test

import (
	"bytes"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/fnapi"
	"github.com/summerbeam/summerbeam/runner/engine"
	"google.golang.org/protobuf/proto"
)

// upperStage is source -> upper -> sink.
func upperStage(t testing.TB) *fnpb.ProcessBundleDescriptor {
	return stageOf(t, func(s beam.Scope, in beam.PCollection) beam.PCollection { return beam.ParDo(s, upper, in) })
}

func TestHarnessManyBundlesAtOnce(t *testing.T) {
	s := serve(t, fnapi.Options{})
	w := loopback(t, s, "w1", nil)
	d := upperStage(t)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 20 {
				var in [][]byte
				for j := range 50 {
					in = append(in, windowed(t, fmt.Appendf(nil, "g%d i%d j%d", g, i, j)))
				}
				b, out := bundle(fmt.Sprintf("b%d.%d", g, i), d, in...)
				if _, err := w.Run(t.Context(), b); err != nil {
					t.Error(err)
				}
				want := bytes.ReplaceAll(bytes.ReplaceAll(bytes.ReplaceAll(bytes.Join(in, nil), []byte("g"), []byte("G")), []byte("i"), []byte("I")), []byte("j"), []byte("J"))
				if !bytes.Equal(out.get("sink"), want) {
					t.Errorf("bundle %s: got %q, want %q", b.ID, out.get("sink"), want)
				}
			}
		})
	}
	wg.Wait()
}

func TestHarnessError(t *testing.T) {
	s := serve(t, fnapi.Options{})
	w := loopback(t, s, "w1", nil)
	d := stageOf(t, func(s beam.Scope, in beam.PCollection) beam.PCollection { return beam.ParDo(s, fails, in) })
	for i := range 3 {
		b, _ := bundle(fmt.Sprint("b", i), d, windowed(t, []byte("gravel")))
		if _, err := w.Run(t.Context(), b); err == nil || !strings.Contains(err.Error(), "cannot stomach gravel") {
			t.Fatalf("got %v", err)
		}
	}
}

func TestHarnessLogs(t *testing.T) {
	s := serve(t, fnapi.Options{})
	out := &logs{}
	w := loopback(t, s, "w1", out.logger())
	d := stageOf(t, func(s beam.Scope, in beam.PCollection) beam.PCollection { return beam.ParDo(s, logged, in) })
	b, _ := bundle("b1", d, windowed(t, []byte("a ghost")))
	if _, err := w.Run(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	out.await(t, `level=WARN msg="seen a ghost" worker=w1 stage="the stage" bundle=b1`)
}

func TestHarnessStatus(t *testing.T) {
	s := serve(t, fnapi.Options{})
	loopback(t, s, "w1", nil)
	var dump string
	var err error
	for range 500 { // the harness opens its status stream in its own time
		if dump, err = s.Status(t.Context(), "w1"); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil || !strings.Contains(dump, "Goroutine Dump") {
		t.Fatalf("got %.100q, %v", dump, err)
	}
}

// Bundles finalize while others run. Without the gate, the race detector or the
// runtime itself finds the harness's maps in use by two.
func TestHarnessFinalize(t *testing.T) {
	for len(finalized) > 0 { // of an earlier run of this test
		<-finalized
	}
	s := serve(t, fnapi.Options{FinalizeHold: 20 * time.Millisecond})
	w := loopback(t, s, "w1", nil)
	d := stageOf(t, func(s beam.Scope, in beam.PCollection) beam.PCollection { return beam.ParDo(s, &finalizing{}, in) })
	var wg sync.WaitGroup
	const n, groups = 25, 4
	for g := range groups {
		wg.Go(func() {
			for i := range n {
				id := fmt.Sprintf("b%d.%d", g, i)
				b, _ := bundle(id, d, windowed(t, []byte(id)))
				res, err := w.Run(t.Context(), b)
				if err != nil || !res.Finalize {
					t.Errorf("got %+v, %v", res, err)
					return
				}
				if err := w.Finalize(t.Context(), id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	// Each of them, though the harness uses its plans again.
	if len(finalized) != n*groups {
		t.Errorf("%d of %d callbacks were called", len(finalized), n*groups)
	}
}

// Two timer families in one transform, and a bundle whose input is complete
// before the harness has set it up: the harness must neither hang nor end early.
func TestHarnessTimersAndState(t *testing.T) {
	s := serve(t, fnapi.Options{})
	w := loopback(t, s, "w1", nil)
	d := stageOf(t, func(s beam.Scope, in beam.PCollection) beam.PCollection {
		return beam.ParDo(s, newRemembering(), beam.ParDo(s, keyed, in))
	})
	families := timerFamilies(t, d)
	if len(families) != 2 {
		t.Fatalf("timer families %v", families)
	}
	state := &fakeState{}
	for round := range 10 {
		// A descriptor that is new to the harness: it needs a while to set it up.
		fresh := proto.CloneOf(d)
		fresh.Id = fmt.Sprint("stage", round)
		b, out := bundle(fmt.Sprint("set", round), fresh, windowed(t, []byte("only first"), []byte("other")))
		b.State, b.TimerFamilies = state, families
		if _, err := w.Run(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		var set []engine.TimerChunk
		for _, f := range families {
			if data := out.get(f.Transform + "/" + f.Family); len(data) > 0 {
				set = append(set, engine.TimerChunk{TimerFamily: f, Data: data})
			}
		}
		if len(set) != 2 {
			t.Fatalf("timers set: %v", set)
		}
		b, out = bundle(fmt.Sprint("fire", round), fresh)
		b.State, b.TimerFamilies = state, families
		b.Timers = seq(set)
		if _, err := w.Run(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		got := string(out.get("sink"))
		for _, want := range []string{"first", "second", "only first", "other"} {
			if !strings.Contains(got, want) {
				t.Fatalf("round %d: output %q lacks %q", round, got, want)
			}
		}
		state.mu.Lock()
		state.bags = nil
		state.mu.Unlock()
	}
}

// timerFamilies are those of a descriptor's ParDos.
func timerFamilies(t *testing.T, d *fnpb.ProcessBundleDescriptor) []engine.TimerFamily {
	t.Helper()
	var families []engine.TimerFamily
	for id, tr := range d.GetTransforms() {
		p := &pipepb.ParDoPayload{}
		if tr.GetSpec().GetUrn() != "beam:transform:pardo:v1" {
			continue
		}
		if err := proto.Unmarshal(tr.GetSpec().GetPayload(), p); err != nil {
			t.Fatal(err)
		}
		for f := range p.GetTimerFamilySpecs() {
			families = append(families, engine.TimerFamily{Transform: id, Family: f})
		}
	}
	return families
}

func seq(all []engine.TimerChunk) iter.Seq2[engine.TimerChunk, error] {
	return func(yield func(engine.TimerChunk, error) bool) {
		for _, c := range all {
			if !yield(c, nil) {
				return
			}
		}
	}
}

// Large input of unknown size comes in few messages, or the Go harness, which
// buffers 20 of them, would stop reading for all bundles.
func TestLargeInputInFewMessages(t *testing.T) {
	w, f := startFake(t, fnapi.Options{})
	const chunk, n = 1 << 16, 1 << 11 // 128 MiB
	b, _ := bundle("b1", plain())
	b.Input = func(yield func([]byte, error) bool) {
		buf := make([]byte, chunk)
		for range n {
			if !yield(buf, nil) {
				return
			}
		}
	}
	ran := start(t.Context(), w, b)
	f.next()
	f.openData()
	data, messages := f.input()
	f.answer("b1", &fnpb.ProcessBundleResponse{})
	if o := wait(t, ran); o.err != nil {
		t.Fatal(o.err)
	}
	if len(data) != chunk*n || len(messages) > 16 {
		t.Errorf("%d bytes in %d messages", len(data), len(messages))
	}
	if first := len(messages[0].GetData()[0].GetData()); first > 1<<20 {
		t.Errorf("the first message has %d bytes", first)
	}
}

// Timers follow the data, in messages of their own; ends are blocks of their own.
func TestInputOrder(t *testing.T) {
	w, f := startFake(t, fnapi.Options{})
	b, _ := bundle("b1", plain(), []byte("ab"), []byte("c"))
	b.TimerFamilies = []engine.TimerFamily{{Transform: "t", Family: "f"}, {Transform: "t", Family: "g"}}
	var timers []engine.TimerChunk
	for i, f := range []int{0, 0, 1, 0} {
		timers = append(timers, engine.TimerChunk{TimerFamily: b.TimerFamilies[f], Data: fmt.Append(nil, i+1)})
	}
	b.Timers = seq(timers)
	ran := start(t.Context(), w, b)
	f.next()
	f.openData()
	_, messages := f.input()
	var got strings.Builder
	for _, m := range messages {
		for _, tm := range m.GetTimers() {
			fmt.Fprintf(&got, "timers %s:%s last=%v\n", tm.GetTimerFamilyId(), tm.GetTimers(), tm.GetIsLast())
		}
		for _, d := range m.GetData() {
			fmt.Fprintf(&got, "data %s last=%v\n", d.GetData(), d.GetIsLast())
		}
	}
	want := "data abc last=false\ntimers f:12 last=false\ntimers g:3 last=false\ntimers f:4 last=false\n" +
		"timers f: last=true\ntimers g: last=true\ndata  last=true\n"
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
	err := f.data.Send(&fnpb.Elements{Timers: []*fnpb.Elements_Timers{
		{InstructionId: "b1", TransformId: "t", TimerFamilyId: "f", IsLast: true},
		{InstructionId: "b1", TransformId: "t", TimerFamilyId: "g", IsLast: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	f.answer("b1", &fnpb.ProcessBundleResponse{})
	if o := wait(t, ran); o.err != nil {
		t.Fatal(o.err)
	}
}
