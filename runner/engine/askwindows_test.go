package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/graph"
	"github.com/summerbeam/summerbeam/triggers"
)

// mergingCoders are those of questions about intervals.
func mergingCoders() map[string]*pipepb.Coder {
	all := testCoders()
	add := func(id, like string, parts ...string) {
		all[id] = &pipepb.Coder{Spec: all[like].GetSpec(), ComponentCoderIds: parts}
	}
	all["list"] = &pipepb.Coder{Spec: &pipepb.FunctionSpec{Urn: "beam:coder:iterable:v1"}, ComponentCoderIds: []string{"interval"}}
	add("merge", "kv", "interval", "list")
	all["merges"] = &pipepb.Coder{Spec: &pipepb.FunctionSpec{Urn: "beam:coder:iterable:v1"}, ComponentCoderIds: []string{"merge"}}
	add("both", "kv", "list", "merges")
	add("asked", "kv", "bytes", "list")
	add("answered", "kv", "bytes", "both")
	add("in", "w", "asked", "global")
	add("out", "w", "answered", "global")
	return all
}

// mergeFn says what a set of windows merges into: each key is a new window, made of
// its value.
type mergeFn func(set []coders.IntervalWindow) map[coders.IntervalWindow][]coders.IntervalWindow

// mergingWorker answers as an SDK does.
func mergingWorker(t testing.TB, fn mergeFn) asker {
	scan, err := coders.CompileWindowed(mergingCoders(), "in")
	if err != nil {
		t.Fatal(err)
	}
	return func(_ context.Context, _ *graph.Question, in []byte, n int64) ([]byte, error) {
		var out []byte
		var e coders.Element
		for ; len(in) > 0; n-- {
			size, err := scan.Next(in, &e)
			if err != nil {
				return nil, err
			}
			in = in[size:]
			var set []coders.IntervalWindow
			for b := e.Value[4:]; len(b) > 0; {
				w, k, err := coders.ReadIntervalWindow(b)
				if err != nil {
					return nil, err
				}
				set = append(set, w)
				b = b[k:]
			}
			out = coders.AppendHeader(out, 0, nil, 1, []byte{coders.PaneNoFiring})
			out = append(out, e.Key...)
			merged := fn(set)
			gone := make(map[coders.IntervalWindow]bool)
			for _, from := range merged {
				for _, w := range from {
					gone[w] = true
				}
			}
			var stay []coders.IntervalWindow
			for _, w := range set {
				if !gone[w] {
					stay = append(stay, w)
				}
			}
			out = binary.BigEndian.AppendUint32(out, uint32(len(stay)))
			for _, w := range stay {
				out = coders.AppendIntervalWindow(out, w)
			}
			// A size that its writer did not know.
			out = binary.BigEndian.AppendUint32(out, ^uint32(0))
			for to, from := range merged {
				out = coders.AppendVarint(out, 1)
				out = coders.AppendIntervalWindow(out, to)
				out = binary.BigEndian.AppendUint32(out, uint32(len(from)))
				for _, w := range from {
					out = coders.AppendIntervalWindow(out, w)
				}
			}
			out = coders.AppendVarint(out, 0)
		}
		if n != 0 {
			return nil, fmt.Errorf("the count of elements is off by %d", n)
		}
		return out, nil
	}
}

func newSDKMergingShard(t *testing.T, trigger *pipepb.Trigger, fn mergeFn) *triggerShard {
	s := newTriggerShard(t, "ikv", &pipepb.WindowingStrategy{Trigger: trigger, AccumulationMode: pipepb.AccumulationMode_DISCARDING})
	plan := &graph.Plan{Coders: mergingCoders()}
	var err error
	s.tr.merger, err = compileMerger(plan, &graph.Stage{Input: &graph.Input{Grouping: &graph.Grouping{
		WindowCoder: "interval", Merging: &graph.Question{OutputCoder: "out"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	s.tr.merger.ask = mergingWorker(t, fn)
	return s
}

// byHundreds merges the windows of a hundred milliseconds if there are two or more.
func byHundreds(set []coders.IntervalWindow) map[coders.IntervalWindow][]coders.IntervalWindow {
	of := make(map[int64][]coders.IntervalWindow)
	for _, w := range set {
		of[w.Start/100] = append(of[w.Start/100], w)
	}
	out := make(map[coders.IntervalWindow][]coders.IntervalWindow)
	for h, ws := range of {
		to := coders.IntervalWindow{Start: h * 100, End: h*100 + 100}
		ws = slices.DeleteFunc(ws, func(w coders.IntervalWindow) bool { return w == to })
		if len(of[h]) > 1 {
			out[to] = ws
		}
	}
	return out
}

// TestWindowsMergedByTheSDK: elements go to what their windows have become, with what
// older windows had; a window that nothing merges with stays.
func TestWindowsMergedByTheSDK(t *testing.T) {
	s := newSDKMergingShard(t, nil, byHundreds)
	at := func(start int64, key, value string) []byte { return kv(start, key, value, five(start)) }
	s.expect(s.run(at(110, "a", "1"), at(120, "a", "2"), at(230, "a", "3"), at(110, "b", "4")))
	s.expect(s.run(at(130, "a", "5")))
	s.wm = 150
	s.expect(s.run(), "[110,115) b=4 #0")
	s.expect(s.run(at(160, "a", "6")))
	s.wm = 200
	s.expect(s.run(), "[100,200) a=1,2,5,6 #0")
	s.expect(s.run(at(110, "a", "late")))
	s.wm = 500
	s.expect(s.run(), "[230,235) a=3 #0")
	left := 0
	st, err := s.store.opened()
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Scan(nil, nil, func([]byte, []byte) bool { left++; return true }); err != nil {
		t.Fatal(err)
	}
	if left != 0 {
		t.Errorf("%d records are left of windows that are over", left)
	}
}

// TestAWindowThatMergesWithoutItsElement: an element goes along with its window also when that
// was there before, and another element of the same run has made it merge.
func TestAWindowThatMergesWithoutItsElement(t *testing.T) {
	s := newSDKMergingShard(t, nil, byHundreds)
	at := func(start int64, value string) []byte { return kv(start, "a", value, five(start)) }
	s.expect(s.run(at(110, "1")))
	s.expect(s.run(at(110, "2"), at(120, "3")))
	s.wm = 200
	s.expect(s.run(), "[100,200) a=1,2,3 #0")
}

// TestCountsMergeWithWindows: a trigger that counts has counted what merged windows have.
func TestCountsMergeWithWindows(t *testing.T) {
	s := newSDKMergingShard(t, &pipepb.Trigger{Trigger: &pipepb.Trigger_Repeat_{Repeat: &pipepb.Trigger_Repeat{Subtrigger: count(3)}}}, byHundreds)
	at := func(start int64, value string) []byte { return kv(start, "a", value, five(start)) }
	s.expect(s.run(at(110, "1")))
	s.expect(s.run(at(120, "2")))
	s.expect(s.run(at(130, "3")), "[100,200) a=1,2,3 #0")
	s.expect(s.run(at(140, "4")))
	s.wm = 500
	s.expect(s.run(), "[100,200) a=4 #1")
}

// TestQuestionsAboutWindows: all keys of a run are asked for at once, and answers that
// don't belong to a question are refused.
func TestQuestionsAboutWindows(t *testing.T) {
	s := newSDKMergingShard(t, nil, byHundreds)
	ask, asked := s.tr.merger.ask, 0
	s.tr.merger.ask = func(ctx context.Context, q *graph.Question, in []byte, n int64) ([]byte, error) {
		asked++
		return ask(ctx, q, in, n)
	}
	var els [][]byte
	for i := range 50 {
		els = append(els, kv(1, fmt.Sprint(i), "v", five(1)))
	}
	s.run(els...)
	s.run(els...)
	if asked != 1 {
		t.Errorf("asked %d times, want once: the second run brings no new window", asked)
	}
	set := [][]string{{string(coders.AppendIntervalWindow(nil, five(1)))}}
	good, err := s.tr.merger.merge(t.Context(), set)
	if err != nil || len(good) != 1 {
		t.Fatalf("got %v, %v", good, err)
	}
	for name, answer := range map[string]func([]byte) []byte{
		"none":  func([]byte) []byte { return nil },
		"twice": func(b []byte) []byte { return append(slices.Clone(b), b...) },
		"cut":   func(b []byte) []byte { return b[:len(b)-1] },
	} {
		s.tr.merger.ask = func(ctx context.Context, q *graph.Question, in []byte, n int64) ([]byte, error) {
			b, err := ask(ctx, q, in, n)
			return answer(b), err
		}
		if _, err := s.tr.merger.merge(t.Context(), set); err == nil {
			t.Errorf("%s: the answer is taken", name)
		}
	}
}

// FuzzMergedWindows: whatever a worker answers, it is taken apart or refused.
func FuzzMergedWindows(f *testing.F) {
	m, err := compileMerger(&graph.Plan{Coders: mergingCoders()}, &graph.Stage{Input: &graph.Input{Grouping: &graph.Grouping{
		WindowCoder: "interval", Merging: &graph.Question{OutputCoder: "out"},
	}}})
	if err != nil {
		f.Fatal(err)
	}
	var good []byte
	ask := mergingWorker(f, byHundreds)
	m.ask = func(ctx context.Context, q *graph.Question, in []byte, n int64) ([]byte, error) {
		b, err := ask(ctx, q, in, n)
		good = b
		return b, err
	}
	w := func(at int64) string { return string(coders.AppendIntervalWindow(nil, five(at))) }
	if _, err := m.merge(context.Background(), [][]string{{w(1), w(2), w(300)}, {w(7)}}); err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		m.ask = func(context.Context, *graph.Question, []byte, int64) ([]byte, error) { return data, nil }
		merged, err := m.merge(context.Background(), [][]string{{w(1)}, {w(2)}})
		if err == nil && len(merged) != 2 {
			t.Errorf("%d answers", len(merged))
		}
	})
}

// overlapping merges windows that overlap, as sessions do.
func overlapping(set []coders.IntervalWindow) map[coders.IntervalWindow][]coders.IntervalWindow {
	merged, into := triggers.MergeIntervals(set)
	out := make(map[coders.IntervalWindow][]coders.IntervalWindow)
	for i, w := range set {
		if to := merged[into[i]]; to != w {
			out[to] = append(out[to], w)
		}
	}
	return out
}
