package triggers

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"pgregory.net/rapid"

	"github.com/summerbeam/summerbeam/internal/coders"
)

// drawTrigger draws a trigger in the syntax of the scripts.
func drawTrigger(t *rapid.T, depth int, counting bool) string {
	leaves := []string{"Default", "Never", "AfterWatermark()", "AfterProcessingTime(3)", "AfterProcessingTime(2, period=7)", "AfterSynchronizedProcessingTime()"}
	if counting {
		leaves = append(leaves, "Always", "AfterCount(1)", "AfterCount(2)", "AfterCount(3)", "AfterCount(5)")
	}
	if depth == 0 {
		return rapid.SampledFrom(leaves).Draw(t, "leaf")
	}
	sub := func() string { return drawTrigger(t, depth-1, counting) }
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0, 1, 2:
		return rapid.SampledFrom(leaves).Draw(t, "leaf")
	case 3:
		return "Repeatedly(" + sub() + ")"
	case 4:
		return "OrFinally(" + sub() + ", " + sub() + ")"
	case 5:
		return "AfterWatermark(early=" + sub() + ")"
	case 6:
		return "AfterWatermark(early=" + sub() + ", late=" + sub() + ")"
	case 7:
		return "AfterEach(" + sub() + ", " + sub() + ")"
	case 8:
		return "AfterAll(" + sub() + ", " + sub() + ")"
	}
	return "AfterAny(" + sub() + ", " + sub() + ", " + sub() + ")"
}

// drawStrategy draws a strategy, and says it in words.
func drawStrategy(t *rapid.T, counting bool) (*pipepb.WindowingStrategy, windowing, string) {
	fn := rapid.SampledFrom([]string{"FixedWindows(10)", "SlidingWindows(10, 4)", "Sessions(6)", "GlobalWindows"}).Draw(t, "window")
	text := drawTrigger(t, 3, counting)
	tr, err := parseTrigger(text)
	if err != nil {
		t.Fatal(err)
	}
	win, err := parseWindowing(fn)
	if err != nil {
		t.Fatal(err)
	}
	ws := &pipepb.WindowingStrategy{
		Trigger:          tr,
		AccumulationMode: pipepb.AccumulationMode_Enum(rapid.Int32Range(1, 2).Draw(t, "mode")),
		OutputTime:       pipepb.OutputTime_Enum(rapid.Int32Range(1, 3).Draw(t, "output")),
		ClosingBehavior:  pipepb.ClosingBehavior_Enum(rapid.Int32Range(1, 2).Draw(t, "closing")),
		OnTimeBehavior:   pipepb.OnTimeBehavior_Enum(rapid.Int32Range(1, 2).Draw(t, "on time")),
		AllowedLateness:  rapid.SampledFrom([]int64{0, 7, 40}).Draw(t, "lateness"),
	}
	return ws, win, fn + " " + text
}

// event is one step of a drawn run.
type event struct {
	elements []int64
	now      Now
}

// drawEvents draws elements and moves of the clocks, which never go back.
func drawEvents(t *rapid.T) []event {
	var now Now
	now.Watermark = coders.MinTimestamp
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) event {
		if rapid.Bool().Draw(t, "elements") {
			return event{elements: rapid.SliceOfN(rapid.Int64Range(0, 60), 1, 5).Draw(t, "at")}
		}
		switch rapid.IntRange(0, 3).Draw(t, "clock") {
		case 0:
			now.Processing += rapid.Int64Range(1, 5).Draw(t, "by")
		case 1:
			now.Synchronized = now.Processing - rapid.Int64Range(0, 3).Draw(t, "behind")
		default:
			now.Watermark = max(now.Watermark, 0) + rapid.Int64Range(1, 20).Draw(t, "by")
		}
		return event{now: now}
	}), 1, 30).Draw(t, "events")
}

func (h *harness) play(events []event) {
	for _, e := range events {
		if e.elements != nil {
			h.elements(e.elements...)
		} else {
			h.advance(e.now)
		}
	}
}

func (h *harness) end() {
	now := h.now
	now.Watermark = coders.MaxTimestamp
	h.advance(now)
	if len(h.cell) > 0 {
		h.t.Errorf("%d windows outlive time", len(h.cell))
	}
}

// TestPanes checks what is true of the panes of any strategy: each element that was not
// dropped comes out, and the panes count as the model has it.
func TestPanes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ws, win, _ := drawStrategy(t, true)
		h := newHarness(t, ws, win)
		if rapid.Bool().Draw(t, "quiet") {
			h.s = h.s.QuietClosing()
		}
		h.batched = rapid.Bool().Draw(t, "batched")
		events := drawEvents(t)
		sent := 0
		for _, e := range events {
			for _, v := range e.elements {
				sent += len(win.assign(v))
			}
		}
		h.play(events)
		h.end()
		panes, dropped := h.take()
		checkPanes(t, panes)
		got := 0
		switch {
		case h.s.Discarding():
			for _, p := range panes {
				got += len(p.values)
			}
		case win.merging:
			return // which panes were superseded is not known here
		default:
			last := map[coders.IntervalWindow]int{}
			for _, p := range panes {
				if len(p.values) < last[p.window] {
					t.Errorf("%v has less than the pane before", p)
				}
				last[p.window] = len(p.values)
			}
			for _, n := range last {
				got += n
			}
		}
		if got+len(dropped) != sent {
			t.Errorf("%d elements came out and %d were dropped, of %d: %v %v", got, len(dropped), sent, panes, dropped)
		}
	})
}

// checkPanes checks the order of each window's panes. A session may come back to a
// window it had before: it begins anew then.
func checkPanes(t *rapid.T, panes []pane) {
	before := map[coders.IntervalWindow]coders.Pane{}
	for _, p := range panes {
		is := p.pane
		b, ok := before[p.window]
		if is.First {
			b, ok = coders.Pane{Index: -1, NonSpeculative: -1}, true
		}
		want := b.NonSpeculative + 1
		if is.Timing == coders.Early {
			want = -1
		}
		order := b.Timing == coders.Early || is.Timing == coders.Late
		if !ok || b.Last || is.Index != b.Index+1 || is.NonSpeculative != want || !order {
			t.Errorf("%v comes after %+v", p, b)
		}
		before[p.window] = is
	}
}

// TestTogether checks that a strategy which does not need its elements one by one makes
// the same panes whether they come so or not.
func TestTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ws, win, _ := drawStrategy(t, false)
		events := drawEvents(t)
		var panes [2][]pane
		var dropped [2][]string
		for i := range panes {
			h := newHarness(t, ws, win)
			if h.s.PerElement() {
				t.Fatal("it counts")
			}
			h.batched, h.apart = true, i == 0
			h.play(events)
			h.end()
			panes[i], dropped[i] = h.take()
		}
		if !reflect.DeepEqual(panes[0], panes[1]) || !slices.Equal(dropped[0], dropped[1]) {
			t.Errorf("one by one: %v %v\ntogether:   %v %v", panes[0], dropped[0], panes[1], dropped[1])
		}
	})
}

// TestJumps checks that the panes are the same if the watermark goes to the end of time
// in one step or in many.
func TestJumps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ws, win, _ := drawStrategy(t, true)
		ts := rapid.SliceOfN(rapid.Int64Range(0, 60), 1, 12).Draw(t, "elements")
		marks := rapid.SliceOfN(rapid.Int64Range(1, 120), 0, 9).Draw(t, "watermarks")
		slices.Sort(marks)
		var panes [2]map[string][]string
		for i := range panes {
			h := newHarness(t, ws, win)
			h.elements(ts...)
			if i > 0 {
				for _, m := range marks {
					now := h.now
					now.Watermark = m
					h.advance(now)
				}
			}
			h.end()
			panes[i] = map[string][]string{}
			ps, _ := h.take()
			for _, p := range ps {
				w := windowText(p.window)
				panes[i][w] = append(panes[i][w], p.String())
			}
		}
		if !reflect.DeepEqual(panes[0], panes[1]) {
			t.Errorf("in one step: %v\nin many:     %v", panes[0], panes[1])
		}
	})
}

// TestMergeIntervals checks merging against merging pairs until there are none.
func TestMergeIntervals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ws := rapid.SliceOf(rapid.Custom(func(t *rapid.T) coders.IntervalWindow {
			start := rapid.Int64Range(0, 40).Draw(t, "start")
			return coders.IntervalWindow{Start: start, End: start + rapid.Int64Range(1, 8).Draw(t, "size")}
		})).Draw(t, "windows")
		merged, into := MergeIntervals(ws)
		want := slices.Clone(ws)
		for again := true; again; {
			again = false
			for i := range want {
				for j := i + 1; j < len(want) && !again; j++ {
					a, b := want[i], want[j]
					if a.Start < b.End && b.Start < a.End {
						want[i] = coders.IntervalWindow{Start: min(a.Start, b.Start), End: max(a.End, b.End)}
						want = slices.Delete(want, j, j+1)
						again = true
					}
				}
			}
		}
		slices.SortFunc(want, func(a, b coders.IntervalWindow) int { return int(a.Start - b.Start) })
		if !slices.Equal(merged, want) {
			t.Errorf("%v merge into %v, want %v", ws, merged, want)
		}
		for i, w := range ws {
			if m := merged[into[i]]; m.Start > w.Start || m.End < w.End {
				t.Errorf("%v went into %v", w, m)
			}
		}
	})
}

func TestMergeEmptyIntervals(t *testing.T) {
	merged, into := MergeIntervals([]coders.IntervalWindow{{Start: 5, End: 5}, {Start: 1, End: 5}, {Start: 5, End: 5}, {Start: 7, End: 9}, {Start: 8, End: 8}})
	if want := []coders.IntervalWindow{{Start: 1, End: 5}, {Start: 5, End: 5}, {Start: 7, End: 9}}; !slices.Equal(merged, want) {
		t.Errorf("%v, want %v", merged, want)
	}
	if want := []int{1, 0, 1, 2, 2}; !slices.Equal(into, want) {
		t.Errorf("%v, want %v", into, want)
	}
	if merged, into := MergeIntervals(nil); len(merged) != 0 || len(into) != 0 {
		t.Errorf("nothing merges into %v, %v", merged, into)
	}
}

// TestMergeNothing checks that nothing comes of merging with nothing.
func TestMergeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ws, _, _ := drawStrategy(t, true)
		win, err := parseWindowing("FixedWindows(10)")
		if err != nil {
			t.Fatal(err)
		}
		win.merging = true
		events := drawEvents(t)
		var panes [2][]pane
		for i := range panes {
			h := newHarness(t, ws, win)
			h.idle = i > 0
			h.play(events)
			h.end()
			panes[i], _ = h.take()
		}
		if !reflect.DeepEqual(panes[0], panes[1]) {
			t.Errorf("without: %v\nwith:    %v", panes[0], panes[1])
		}
	})
}

// String makes rapid's reports readable.
func (e event) String() string {
	if e.elements != nil {
		return fmt.Sprintf("elements %v", e.elements)
	}
	return fmt.Sprintf("clocks %+v", e.now)
}
