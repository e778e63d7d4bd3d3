package bundletest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/google/go-cmp/cmp"

	"github.com/summerbeam/summerbeam/runner/engine"
)

// Suite is what Run needs to know of a worker.
type Suite struct {
	// Start starts the worker. Its DoFns must be this package's, and if they run in
	// another process Hooks don't reach them: leave SameProcess false then.
	Start       func(t testing.TB) engine.Worker
	SameProcess bool
}

var bundleIDs atomic.Int64

// Job is a job for a worker to be started in.
func Job() *engine.JobInfo { return &engine.JobInfo{ID: "job", Name: "test"} }

// Stages by what their ParDo does.
var stages = map[string]func(s beam.Scope){
	"behave":   func(s beam.Scope) { beam.ParDo0(s, &behave{}, beam.ParDo(s, &source{}, beam.Impulse(s))) },
	"emitting": func(s beam.Scope) { beam.ParDo(s, &emitting{}, beam.ParDo(s, &source{}, beam.Impulse(s))) },
	"identity": func(s beam.Scope) { beam.ParDo(s, &identity{}, beam.ParDo(s, &kvSource{}, beam.Impulse(s))) },
	"counting": func(s beam.Scope) { beam.ParDo(s, &counting{}, beam.ParDo(s, &source{}, beam.Impulse(s))) },
	"finalizing": func(s beam.Scope) {
		beam.ParDo(s, &finalizing{}, beam.ParDo(s, &source{}, beam.Impulse(s)))
	},
	"listing": func(s beam.Scope) {
		side := beam.ParDo(s, &stringSource{}, beam.Impulse(s))
		beam.ParDo(s, &listing{}, beam.ParDo(s, &source{}, beam.Impulse(s)), beam.SideInput{Input: side})
	},
	"looking": func(s beam.Scope) {
		side := beam.ParDo(s, &stringKVSource{}, beam.Impulse(s))
		beam.ParDo(s, &looking{}, beam.ParDo(s, &stringSource{}, beam.Impulse(s)), beam.SideInput{Input: side})
	},
	"stateful": func(s beam.Scope) {
		beam.ParDo(s, newStateful(), beam.ParDo(s, &stringKVSource{}, beam.Impulse(s)))
	},
	"timed": func(s beam.Scope) {
		beam.ParDo0(s, newTimed(), beam.ParDo(s, &stringKVSource{}, beam.Impulse(s)))
	},
	"ranging": func(s beam.Scope) { beam.ParDo(s, &ranging{}, beam.ParDo(s, &source{}, beam.Impulse(s))) },
}

// MustStage makes a stage by its name.
func MustStage(t testing.TB, name string) *Stage {
	t.Helper()
	st, err := NewStage(stages[name], name == "ranging")
	if err != nil {
		t.Fatalf("stage %s: %v", name, err)
	}
	return st
}

// Bundle is a bundle of the stage with its fakes.
type Bundle struct {
	engine.Bundle
	Out *Output
	St  *State
}

// Bundle makes a bundle of n elements in chunks.
func (st *Stage) Bundle(n int, chunks ...[]byte) *Bundle {
	b := &Bundle{Out: &Output{}, St: &State{}}
	b.Bundle = engine.Bundle{
		ID:            fmt.Sprintf("bundle-%d", bundleIDs.Add(1)),
		Stage:         "stage",
		Descriptor:    st.Descriptor,
		Source:        st.Source,
		Elements:      int64(n),
		Input:         Chunks(chunks...),
		TimerFamilies: st.Families,
		Output:        b.Out.Data,
		TimerOutput:   b.Out.Timers,
		State:         b.St,
	}
	return b
}

// Run runs it. Calls of its fakes count as late afterwards.
func (b *Bundle) Run(ctx context.Context, w engine.Worker) (*engine.Result, error) {
	res, err := w.Run(ctx, &b.Bundle)
	b.Out.Over()
	b.St.Over()
	return res, err
}

// MustRun is Run for a bundle that must succeed.
func (b *Bundle) MustRun(t testing.TB, w engine.Worker) *engine.Result {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	res, err := b.Run(ctx, w)
	if err != nil {
		t.Fatalf("bundle of %s: %v", b.Descriptor.GetId(), err)
	}
	return res
}

// One encodes an element of one byte string or string.
func One(s string) []byte { return Element(Bytes(s)) }

// Run runs the scripts that any worker must pass.
func (s Suite) Run(t *testing.T) {
	t.Run("elements", s.elements)
	t.Run("large", s.large)
	t.Run("metrics", s.metrics)
	t.Run("side inputs", s.sideInputs)
	t.Run("state", s.state)
	t.Run("timers", s.timers)
	t.Run("errors", s.errors)
	t.Run("self checkpoint", s.selfCheckpoint)
	if s.SameProcess {
		t.Run("split restriction", s.splitRestriction)
		t.Run("finalization", s.finalization)
	}
}

func (s Suite) elements(t *testing.T) {
	w := s.Start(t)
	st := MustStage(t, "identity")
	els := slices.Concat(KV("a", "1"), KV("b", ""), KV("", "3"))
	for range 3 { // The plan is used again.
		b := st.Bundle(3, els[:len(KV("a", "1"))], els[len(KV("a", "1")):])
		b.MustRun(t, w)
		if got := b.Out.Of(st.Sink); !bytes.Equal(got, els) {
			t.Errorf("got %x\nwant %x", got, els)
		}
	}
	b := st.Bundle(0)
	b.MustRun(t, w)
	if got := b.Out.Of(st.Sink); len(got) > 0 {
		t.Errorf("an empty bundle has put out %x", got)
	}
}

func (s Suite) large(t *testing.T) {
	w := s.Start(t)
	st := MustStage(t, "identity")
	var in []byte
	const n = 3000
	for i := range n {
		in = append(in, KV(fmt.Sprint(i), strings.Repeat("x", i))...)
	}
	b := st.Bundle(n, in)
	b.MustRun(t, w)
	if !bytes.Equal(b.Out.Of(st.Sink), in) {
		t.Error("output differs from input")
	}
}

// Metric finds a payload by the end of its URN and a label.
func Metric(infos []*pipepb.MonitoringInfo, urn, label, value string) []byte {
	for _, m := range infos {
		if m.GetUrn() == urn && m.GetLabels()[label] == value {
			return m.GetPayload()
		}
	}
	return nil
}

func (s Suite) metrics(t *testing.T) {
	w := s.Start(t)
	st := MustStage(t, "counting")
	for range 2 { // A bundle's metrics are its own, also on a used plan.
		res := st.Bundle(2, One("a"), One("abc")).MustRun(t, w)
		for urn, want := range map[string][]byte{
			"beam:metric:user:sum_int64:v1":          Varint(2),
			"beam:metric:user:distribution_int64:v1": slices.Concat(Varint(2), Varint(4), Varint(1), Varint(3)),
		} {
			if got := Metric(res.Metrics, urn, "PTRANSFORM", st.Transform); !bytes.Equal(got, want) {
				t.Errorf("%s: %x, want %x", urn, got, want)
			}
		}
		if Metric(res.Metrics, "beam:metric:user:latest_int64:v1", "NAME", "last") == nil {
			t.Error("no gauge")
		}
		if got := Metric(res.Metrics, "beam:metric:data_channel:read_index:v1", "PTRANSFORM", st.Source); !bytes.Equal(got, Varint(2)) {
			t.Errorf("read index %x, want 2", got)
		}
		for _, pc := range st.Descriptor.GetTransforms()[st.Transform].GetOutputs() {
			if got := Metric(res.Metrics, "beam:metric:element_count:v1", "PCOLLECTION", pc); !bytes.Equal(got, Varint(2)) {
				t.Errorf("element count of the output %x, want 2", got)
			}
			if Metric(res.Metrics, "beam:metric:sampled_byte_size:v1", "PCOLLECTION", pc) == nil {
				t.Error("no byte size of the output")
			}
		}
		if Metric(res.Metrics, "beam:metric:ptransform_execution_time:total_msecs:v1", "PTRANSFORM", st.Transform) == nil {
			t.Error("no execution time")
		}
	}
}

func (s Suite) sideInputs(t *testing.T) {
	w := s.Start(t)
	st := MustStage(t, "listing")
	b := st.Bundle(2, One("a"), One("b"))
	b.St.Page = 3 // Pages cut values anywhere.
	b.St.Set("iterable i1 w=", slices.Concat(Bytes("one"), Bytes("two"), Bytes("three")))
	b.MustRun(t, w)
	want := bytes.Repeat(slices.Concat(One("one"), One("two"), One("three")), 2)
	if got := b.Out.Of(st.Sink); !bytes.Equal(got, want) {
		t.Errorf("iterable: got %q\nwant %q", got, want)
	}

	st = MustStage(t, "looking")
	b = st.Bundle(2, One("k"), One("none"))
	b.St.Page = 2
	b.St.Set("multimap i1 w= k=016b", slices.Concat(Bytes("v1"), Bytes("v2")))
	b.MustRun(t, w)
	want = slices.Concat(One("k=v1"), One("k=v2"))
	if got := b.Out.Of(st.Sink); !bytes.Equal(got, want) {
		t.Errorf("multimap: got %q\nwant %q", got, want)
	}
}

func (s Suite) state(t *testing.T) {
	w := s.Start(t)
	st := MustStage(t, "stateful")
	// A write of a value is a clear and an append, a string comes in two appends:
	// its length and its bytes.
	write := []string{
		"append bag bag w= k=016b 02", "append bag bag w= k=016b 6231",
		"append bag bag w= k=016b 02", "append bag bag w= k=016b 6232",
		"clear bag val w= k=016b", "append bag val w= k=016b 01", "append bag val w= k=016b 76",
		"clear map map w= k=016b mk=026d6b", "append map map w= k=016b mk=026d6b 02", "append map map w= k=016b mk=026d6b 6d76",
		"clear map set w= k=016b mk=0173", "append map set w= k=016b mk=0173 01",
		"append list list w= k=016b 050466697665", "append list list w= k=016b 0705736576656e",
	}
	b := st.Bundle(1, KV("k", "write"))
	b.MustRun(t, w)
	if diff := cmp.Diff(write, b.St.Calls()); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}

	b = st.Bundle(1, KV("k", "read"))
	b.St.Page = 2
	b.St.Set("bag bag w= k=016b", slices.Concat(Bytes("b1"), Bytes("b2")))
	b.St.Set("bag val w= k=016b", Bytes("v"))
	b.St.Set("map map w= k=016b mk=026d6b", Bytes("mv"))
	b.St.Set("mapkeys map w= k=016b", Bytes("mk"))
	b.St.Set("map set w= k=016b mk=0173", Varint(1))
	b.St.Set("list list w= k=016b [-9223372036854775808,9223372036854775807)", slices.Concat(Varint(5), Bytes("five"), Varint(7), Bytes("seven")))
	b.MustRun(t, w)
	if got, want := b.Out.Of(st.Sink), One("[b1 b2]vmv[mk] true [{7 seven}]"); !bytes.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
	for _, want := range []string{"get bag bag w= k=016b 2", "get list list w= k=016b [-9223372036854775808,9223372036854775807) 4"} {
		if !slices.Contains(b.St.Calls(), want) {
			t.Errorf("calls don't hold %q: %q", want, b.St.Calls())
		}
	}

	b = st.Bundle(1, KV("k", "clear"))
	b.MustRun(t, w)
	clears := []string{"clear bag bag w= k=016b", "clear bag val w= k=016b", "clear map map w= k=016b mk=026d6b",
		"clear mapkeys map w= k=016b", "clear mapkeys set w= k=016b", "clear list list w= k=016b [6,9)"}
	if diff := cmp.Diff(clears, b.St.Calls()); diff != "" {
		t.Errorf("clears (-want +got):\n%s", diff)
	}
}

func (s Suite) timers(t *testing.T) {
	w := s.Start(t)
	st := MustStage(t, "timed")
	b := st.Bundle(1, KV("k", "tag"))
	b.MustRun(t, w)
	if got, want := b.Out.Families(), strings.Join(families(st), " "); got != want {
		t.Fatalf("timers of families %q, want %q", got, want)
	}
	// What was set comes back as fired.
	b2 := st.Bundle(0)
	b2.Timers = func(yield func(engine.TimerChunk, error) bool) {
		for _, f := range st.Families {
			if !yield(engine.TimerChunk{TimerFamily: f, Data: b.Out.Timer(f)}, nil) {
				return
			}
		}
	}
	b2.MustRun(t, w)
	var want []string
	for _, key := range []string{"k/event/tag", "k/proc/"} {
		want = append(want, fmt.Sprintf("append bag seen w= k=016b %02x", len(key)), fmt.Sprintf("append bag seen w= k=016b %x", key))
	}
	if diff := cmp.Diff(want, b2.St.Calls()); diff != "" {
		t.Errorf("what OnTimer did (-want +got):\n%s", diff)
	}
}

func families(st *Stage) []string {
	var out []string
	for _, f := range st.Families {
		out = append(out, f.Family)
	}
	return out
}

func (s Suite) errors(t *testing.T) {
	w := s.Start(t)
	st := MustStage(t, "behave")
	for el, want := range map[string][]string{
		"fail":  {"user code says no", "behave"},
		"panic": {"user code panics", "behave).ProcessElement", "dofns.go"},
	} {
		_, err := st.Bundle(1, One(el)).Run(context.Background(), w)
		if err == nil {
			t.Errorf("%s: no error", el)
			continue
		}
		for _, part := range want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: error doesn't tell %q: %v", el, part, err)
			}
		}
	}
	// The worker goes on.
	st.Bundle(1, One("fine")).MustRun(t, w)

	b := MustStage(t, "identity").Bundle(1, KV("a", "b"))
	b.Out.Fail = errors.New("no room")
	if _, err := b.Run(context.Background(), w); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("a refused output gives %v", err)
	}

	st = MustStage(t, "listing")
	b = st.Bundle(1, One("a"))
	b.St.Fail = errors.New("state is away")
	if _, err := b.Run(context.Background(), w); err == nil || !strings.Contains(err.Error(), "state is away") {
		t.Errorf("a refused state call gives %v", err)
	}
}

// paneless is the element as it leaves a splittable DoFn: the Go SDK (2.77) loses
// the pane there and writes the zero one.
func paneless(el []byte) []byte {
	el[len(Element())-1] = 0
	return el
}

func (s Suite) selfCheckpoint(t *testing.T) {
	w := s.Start(t)
	st := MustStage(t, "ranging")
	b := st.Bundle(2, st.Restriction("yield", 0, 100), st.Restriction("go", 50, 52))
	res := b.MustRun(t, w)
	var want []byte
	for _, i := range []int64{0, 1, 2, 3, 4, 50, 51} {
		want = append(want, paneless(Element(Varint(i)))...)
	}
	if got := b.Out.Of(st.Sink); !bytes.Equal(got, want) {
		t.Errorf("output %x\nwant   %x", got, want)
	}
	if len(res.Residuals) != 1 {
		t.Fatalf("%d residuals, want 1", len(res.Residuals))
	}
	r := res.Residuals[0]
	if diff := cmp.Diff(paneless(st.Restriction("yield", 5, 100)), r.GetApplication().GetElement()); diff != "" {
		t.Errorf("residual (-want +got):\n%s", diff)
	}
	if got := r.GetRequestedTimeDelay().AsDuration(); got != 3*time.Second {
		t.Errorf("delay %v, want 3s", got)
	}
	if got := r.GetApplication().GetTransformId(); got != st.Transform {
		t.Errorf("transform %q, want %q", got, st.Transform)
	}
	// Residuals are the bundle's own.
	if res := st.Bundle(1, st.Restriction("go", 0, 2)).MustRun(t, w); len(res.Residuals) > 0 {
		t.Errorf("the next bundle has residuals of the last: %v", res.Residuals)
	}
}

func (s Suite) splitRestriction(t *testing.T) {
	w := s.Start(t)
	st := MustStage(t, "ranging")
	st.Bundle(1, st.Restriction("go", 0, 5)).MustRun(t, w) // The plan is used already.
	b := st.Bundle(2, st.Restriction("wait", 0, 100), st.Restriction("go", 200, 210))
	claimed, resume := make(chan struct{}), make(chan struct{})
	Hooks.Store("claimed", func() { close(claimed); <-resume })
	defer Hooks.Delete("claimed")
	go func() {
		<-claimed
		resp, err := w.Split(context.Background(), b.ID, 0.1, 2)
		if err != nil || resp == nil {
			t.Errorf("split: %v, %v", resp, err)
		} else {
			// About a tenth of the 1.9 elements that remain is in the first one.
			ch := resp.GetChannelSplits()[0]
			if ch.GetTransformId() != st.Source || ch.GetLastPrimaryElement() != -1 || ch.GetFirstResidualElement() != 1 {
				t.Errorf("channel split %v", ch)
			}
			if len(resp.GetPrimaryRoots()) != 1 || len(resp.GetResidualRoots()) != 1 {
				t.Errorf("roots %v", resp)
			}
		}
		close(resume)
	}()
	b.MustRun(t, w)
	n := len(b.Out.Of(st.Sink))
	if all := 100 * len(Element(Varint(1))); n == 0 || n >= all {
		t.Errorf("%d bytes of output, want some and fewer than %d", n, all)
	}
	// The split doesn't stay with the plan.
	b = st.Bundle(2, st.Restriction("go", 0, 5), st.Restriction("go", 7, 9))
	b.MustRun(t, w)
	if got, want := len(b.Out.Of(st.Sink)), 7*len(Element(Varint(1))); got != want {
		t.Errorf("%d bytes of output, want %d", got, want)
	}
}

func (s Suite) finalization(t *testing.T) {
	w := s.Start(t)
	st := MustStage(t, "finalizing")
	got := make(chan string, 10)
	Hooks.Store("finalized", func(s string) { got <- s })
	defer Hooks.Delete("finalized")
	if st.Bundle(1, One("plain")).MustRun(t, w).Finalize {
		t.Error("a bundle without callbacks wants finalization")
	}
	// One after the other, so that plans get used again if they can be.
	for _, el := range []string{"one", "two", "three"} {
		b := st.Bundle(1, One(el))
		if !b.MustRun(t, w).Finalize {
			t.Fatal("the bundle doesn't want finalization")
		}
		if err := w.Finalize(context.Background(), b.ID); err != nil {
			t.Fatal(err)
		}
		select {
		case s := <-got:
			if s != el {
				t.Errorf("called back for %q, want %q", s, el)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("not called back for %q", el)
		}
	}
	b := st.Bundle(1, One("fail"))
	b.MustRun(t, w)
	if err := w.Finalize(context.Background(), b.ID); err == nil {
		t.Error("a callback's error is lost")
	}
	if len(got) != 1 {
		t.Errorf("%d more callbacks, want 1", len(got))
	}
}
