package triggers

import (
	"fmt"
	"math"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/summerbeam/summerbeam/internal/coders"
)

func mustTrigger(t testing.TB, text string) *pipepb.Trigger {
	t.Helper()
	tr, err := parseTrigger(text)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func mustCompile(t testing.TB, text string, ws *pipepb.WindowingStrategy) *Strategy {
	t.Helper()
	ws.Trigger = mustTrigger(t, text)
	s, err := Compile(ws)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCompileErrors(t *testing.T) {
	none := &pipepb.Trigger{}
	each := func(ts ...*pipepb.Trigger) *pipepb.Trigger {
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterEach_{AfterEach: &pipepb.Trigger_AfterEach{Subtriggers: ts}}}
	}
	processing := func(ts ...*pipepb.TimestampTransform) *pipepb.Trigger {
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterProcessingTime_{
			AfterProcessingTime: &pipepb.Trigger_AfterProcessingTime{TimestampTransforms: ts},
		}}
	}
	late := func(t *pipepb.Trigger) *pipepb.Trigger {
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterEndOfWindow_{
			AfterEndOfWindow: &pipepb.Trigger_AfterEndOfWindow{LateFirings: t},
		}}
	}
	always := mustTrigger(t, "Always")
	for _, test := range []struct {
		name string
		ws   *pipepb.WindowingStrategy
		want string
	}{
		{"nothing", nil, "triggers: trigger: there is none, or of a kind that is not known"},
		{"no trigger", &pipepb.WindowingStrategy{}, "triggers: trigger: there is none, or of a kind that is not known"},
		{"empty trigger", &pipepb.WindowingStrategy{Trigger: repeatedly(none)},
			"triggers: trigger.repeat.subtrigger: there is none, or of a kind that is not known"},
		{"lateness", &pipepb.WindowingStrategy{Trigger: always, AllowedLateness: -1},
			"triggers: allowed_lateness is -1 ms, below zero"},
		{"retracting", &pipepb.WindowingStrategy{Trigger: always, AccumulationMode: pipepb.AccumulationMode_RETRACTING},
			"triggers: accumulation_mode RETRACTING is not supported: use DISCARDING or ACCUMULATING"},
		{"output time", &pipepb.WindowingStrategy{Trigger: always, OutputTime: 9},
			"triggers: output_time 9 is not known"},
		{"count", &pipepb.WindowingStrategy{Trigger: each(always, mustTrigger(t, "AfterCount(0)"))},
			"triggers: trigger.after_each.subtriggers[1].element_count: 0, below 1"},
		{"no subtriggers", &pipepb.WindowingStrategy{Trigger: each(always, mustTrigger(t, "AfterAll()"))},
			"triggers: trigger.after_each.subtriggers[1].after_all: no subtriggers"},
		{"any", &pipepb.WindowingStrategy{Trigger: mustTrigger(t, "AfterAny(AfterCount(-1))")},
			"triggers: trigger.after_any.subtriggers[0].element_count: -1, below 1"},
		{"early", &pipepb.WindowingStrategy{Trigger: mustTrigger(t, "AfterWatermark(early=AfterCount(0), late=AfterCount(0))")},
			"triggers: trigger.after_end_of_window.early_firings.element_count: 0, below 1"},
		{"late", &pipepb.WindowingStrategy{Trigger: late(none)},
			"triggers: trigger.after_end_of_window.late_firings: there is none, or of a kind that is not known"},
		{"main", &pipepb.WindowingStrategy{Trigger: mustTrigger(t, "OrFinally(AfterCount(0), AfterCount(0))")},
			"triggers: trigger.or_finally.main.element_count: 0, below 1"},
		{"finally", &pipepb.WindowingStrategy{Trigger: mustTrigger(t, "OrFinally(Always, AfterCount(0))")},
			"triggers: trigger.or_finally.finally.element_count: 0, below 1"},
		{"transform", &pipepb.WindowingStrategy{Trigger: processing(&pipepb.TimestampTransform{})},
			"triggers: trigger.after_processing_time.timestamp_transforms[0]: neither a delay nor an alignment"},
		{"delay", &pipepb.WindowingStrategy{Trigger: mustTrigger(t, "AfterProcessingTime(-7)")},
			"triggers: trigger.after_processing_time.timestamp_transforms[0]: a delay of -7 ms, below zero"},
		{"period", &pipepb.WindowingStrategy{Trigger: mustTrigger(t, "AfterProcessingTime(7, period=-3)")},
			"triggers: trigger.after_processing_time.timestamp_transforms[1]: alignment to a period of -3 ms"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := Compile(test.ws)
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v %v\nwant %s", s, err, test.want)
			}
		})
	}
}

func TestPerElement(t *testing.T) {
	for text, want := range map[string]bool{
		"Default":                              false,
		"Never":                                false,
		"Always":                               true,
		"AfterCount(100)":                      true,
		"AfterWatermark()":                     false,
		"AfterWatermark(late=Always)":          true,
		"Repeatedly(AfterProcessingTime(5))":   false,
		"AfterSynchronizedProcessingTime()":    false,
		"OrFinally(Default, AfterCount(2))":    true,
		"AfterAll(Default, AfterWatermark())":  false,
		"AfterEach(Default, AfterCount(2))":    true,
		"AfterAny(Never, Repeatedly(Always))":  true,
		"AfterEach(Default, AfterWatermark())": false,
	} {
		if got := mustCompile(t, text, &pipepb.WindowingStrategy{}).PerElement(); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestTogetherAroundOutput(t *testing.T) {
	earliest := &pipepb.WindowingStrategy{OutputTime: pipepb.OutputTime_EARLIEST_IN_PANE}
	s := mustCompile(t, "Default", earliest)
	now := Now{Watermark: 30, Output: 20}
	for _, test := range []struct {
		first, last int64
		together    bool
		hold        int64
	}{
		{20, 25, true, 20},
		{22, 25, true, 22},
		{10, 19, true, 199}, // where the window expires
		{10, 20, false, 20},
		{19, 25, false, 20},
	} {
		if got := s.Together(test.first, test.last, now); got != test.together {
			t.Errorf("%d to %d: together %v", test.first, test.last, got)
		}
		var st State
		s.Elements(&st, Window{Max: 199}, 3, test.first, test.last, now)
		if got := s.Hold(&st, Window{Max: 199}); got != test.hold {
			t.Errorf("%d to %d: holds %d, want %d", test.first, test.last, got, test.hold)
		}
	}
	latest := &pipepb.WindowingStrategy{OutputTime: pipepb.OutputTime_LATEST_IN_PANE}
	if !mustCompile(t, "Default", latest).Together(10, 25, now) {
		t.Error("the latest is known")
	}
	if mustCompile(t, "Always", latest).Together(22, 25, now) {
		t.Error("Always wants each by itself")
	}
}

func TestExpiry(t *testing.T) {
	for _, test := range []struct{ max, lateness, want int64 }{
		{9, 0, 9},
		{9, 10, 19},
		{-100, 10, -90},
		{coders.GlobalWindowMaxTimestamp, 0, coders.GlobalWindowMaxTimestamp},
		{coders.GlobalWindowMaxTimestamp, 10, coders.GlobalWindowMaxTimestamp},
		{coders.GlobalWindowMaxTimestamp - 5, 10, coders.GlobalWindowMaxTimestamp},
		{coders.GlobalWindowMaxTimestamp - 10, 10, coders.GlobalWindowMaxTimestamp},
		{coders.MinTimestamp, math.MaxInt64, coders.GlobalWindowMaxTimestamp},
		// A window that claims to last longer than the global one.
		{coders.MaxTimestamp, 10, coders.MaxTimestamp},
	} {
		s := mustCompile(t, "Default", &pipepb.WindowingStrategy{AllowedLateness: test.lateness})
		w := Window{Max: test.max}
		got := s.Expiry(w)
		if got != test.want {
			t.Errorf("%d + %d: expires at %d, want %d", test.max, test.lateness, got, test.want)
		}
		if got < coders.MaxTimestamp && s.Late(w, Now{Watermark: got}) {
			t.Errorf("%d + %d: late at its last moment", test.max, test.lateness)
		}
		if !s.Late(w, Now{Watermark: after(got)}) || !s.Late(w, Now{Watermark: coders.MaxTimestamp}) {
			t.Errorf("%d + %d: not late after its last moment", test.max, test.lateness)
		}
	}
}

func TestDeadline(t *testing.T) {
	for _, test := range []struct {
		text    string
		at, due int64
	}{
		{"AfterProcessingTime(0)", 7, 7},
		{"AfterProcessingTime(5)", 7, 12},
		{"AfterProcessingTime(0, period=10)", 20, 20},
		{"AfterProcessingTime(0, period=10)", 21, 30},
		{"AfterProcessingTime(5, period=10)", 15, 20},
		{"AfterProcessingTime(5, period=10)", 16, 30},
		{"AfterProcessingTime(0, period=10, offset=3)", 20, 23},
		{"AfterProcessingTime(0, period=10, offset=3)", 24, 33},
		{"AfterProcessingTime(0, period=10, offset=-7)", 24, 33},
		{"AfterProcessingTime(0, period=10, offset=43)", 20, 23},
		{"AfterProcessingTime(0, period=10)", -15, -10},
		{"AfterProcessingTime(0, period=10, offset=3)", -6, 3},
		{"AfterProcessingTime(9223372036854775807)", 20, idle - 1},
		{"AfterProcessingTime(0, period=9223372036854775807)", 20, idle - 1},
		{"AfterProcessingTime(0)", math.MinInt64, reached + 1},
		{"AfterProcessingTime(0)", math.MaxInt64, idle - 1},
		{"AfterSynchronizedProcessingTime()", 7, 8},
	} {
		s := mustCompile(t, test.text, &pipepb.WindowingStrategy{})
		if got := s.nodes[0].deadline(test.at); got != test.due {
			t.Errorf("%s, from %d: %d, want %d", test.text, test.at, got, test.due)
		}
	}
}

// TestNothing checks what is asked of windows that nothing is known of.
func TestNothing(t *testing.T) {
	s := mustCompile(t, "AfterCount(2)", &pipepb.WindowingStrategy{OnTimeBehavior: pipepb.OnTimeBehavior_FIRE_ALWAYS})
	w := Window{Max: 9}
	var st State
	if out := s.Decide(&st, w, Now{Watermark: 5}); out != (Outcome{}) {
		t.Errorf("no element: %+v", out)
	}
	if out := s.Decide(&st, w, Now{Watermark: 10}); out != (Outcome{Expired: true}) {
		t.Errorf("no element, expired: %+v", out)
	}
	if wake := s.Wake(&st, w); wake != (Wakeup{Never, Never, Never}) {
		t.Errorf("no element: wakes at %v", wake)
	}
	if hold := s.Hold(&st, w); hold != Never {
		t.Errorf("no element: holds %d", hold)
	}
	s.Merge(&st, []*State{{}, {}}, w, Now{})
	if st.Used() || !st.Empty() || len(s.AppendState(nil, &st)) != 0 {
		t.Error("nothing merged to something")
	}
}

// TestLateHold checks that an element which comes after the end of its window holds the
// watermark where that expires, though the output watermark is not there yet.
func TestLateHold(t *testing.T) {
	for _, output := range []pipepb.OutputTime_Enum{pipepb.OutputTime_END_OF_WINDOW, pipepb.OutputTime_EARLIEST_IN_PANE} {
		s := mustCompile(t, "Never", &pipepb.WindowingStrategy{OutputTime: output, AllowedLateness: 100})
		w := Window{Max: 9}
		var st State
		now := Now{Watermark: 15, Output: 3}
		s.Element(&st, w, 5, now)
		if got := s.Hold(&st, w); got != 109 {
			t.Errorf("%v: holds %d", output, got)
		}
		s.Decide(&st, w, now)
		if got := s.Hold(&st, w); got != 109 {
			t.Errorf("%v: holds %d after it was decided", output, got)
		}
	}
}

// TestMergeHolds checks where the watermark is held when windows have merged, and before
// the elements come that they merged for.
func TestMergeHolds(t *testing.T) {
	now := Now{Watermark: 15, Output: 3}
	w := Window{Max: 29}
	for output, want := range map[pipepb.OutputTime_Enum]int64{
		pipepb.OutputTime_END_OF_WINDOW:    29,
		pipepb.OutputTime_EARLIEST_IN_PANE: 11,
		pipepb.OutputTime_LATEST_IN_PANE:   17,
	} {
		s := mustCompile(t, "Never", &pipepb.WindowingStrategy{OutputTime: output, AllowedLateness: 100})
		var dst, a, b, late State
		s.Element(&a, Window{Max: 22}, 17, now)
		s.Element(&b, Window{Max: 19}, 11, now)
		s.Merge(&dst, []*State{&a, &b}, w, now)
		if got := s.Hold(&dst, w); got != want {
			t.Errorf("%v: holds %d, want %d", output, got, want)
		}
		dst.Reset()
		s.Element(&late, Window{Max: 9}, 5, now)
		s.Merge(&dst, []*State{&late}, w, now)
		if got := s.Hold(&dst, w); got != 129 {
			t.Errorf("%v: holds %d for an element that was late", output, got)
		}
	}
}

// TestMergeIgnoresFinished checks that a window whose trigger has finished keeps its
// state when it is among those that merge.
func TestMergeIgnoresFinished(t *testing.T) {
	s := mustCompile(t, "AfterCount(1)", &pipepb.WindowingStrategy{MergeStatus: pipepb.MergeStatus_NEEDS_MERGE})
	w := Window{Max: 9}
	var closed, open, dst State
	s.Element(&closed, w, 1, Now{})
	if out := s.Decide(&closed, w, Now{}); !out.Fire || !out.Finished || !closed.Closed() {
		t.Fatalf("%+v", out)
	}
	s.Element(&open, w, 2, Now{})
	s.Merge(&dst, []*State{&closed, &open}, w, Now{})
	if !closed.Closed() || open.Used() || dst.Closed() || dst.Empty() {
		t.Error("it took part")
	}
	if out := s.Decide(&dst, w, Now{}); !out.Fire {
		t.Error("the other's element was lost")
	}
}

// TestMergeIntoLive checks merges into a window that was there, as only window functions
// of one's own have them: what has its turn after the end has not started, if elements
// that merge into the window are still waiting for the end.
func TestMergeIntoLive(t *testing.T) {
	w := Window{Max: 9}
	now := Now{Watermark: 10}
	for text, want := range map[string]string{
		"AfterEach(AfterWatermark(), AfterCount(1), AfterCount(2))":    "1 1 2",
		"AfterWatermark(late=AfterEach(AfterCount(1), AfterCount(2)))": "1 1 2 1",
	} {
		s := mustCompile(t, text, &pipepb.WindowingStrategy{
			MergeStatus: pipepb.MergeStatus_NEEDS_MERGE, AllowedLateness: 10,
		})
		var dst, from State
		for range 2 {
			s.Element(&dst, w, 1, now)
			if out := s.Decide(&dst, w, now); !out.Fire || out.Finished {
				t.Fatalf("%s: %+v", text, out)
			}
		}
		s.Element(&from, Window{Max: 5}, 1, now)
		s.Merge(&dst, []*State{&from}, w, now)
		// The elements that come out, by panes.
		var got []string
		n := 1
		for range 5 {
			if out := s.Decide(&dst, w, now); out.Fire {
				got = append(got, fmt.Sprint(n))
				n = 0
			}
			if !s.Element(&dst, w, 1, now) {
				break
			}
			n++
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("%s: panes of %s, want %s", text, got, want)
		}
	}
}

func TestErrorsAreOneLine(t *testing.T) {
	deep := &pipepb.Trigger{}
	for range 200 {
		deep = repeatedly(deep)
	}
	_, err := Compile(&pipepb.WindowingStrategy{Trigger: deep})
	if err == nil || strings.Count(err.Error(), ".repeat.subtrigger") != 200 {
		t.Errorf("%v", err)
	}
}

// TestManyTriggers checks a tree whose finished bits need more than a word.
func TestManyTriggers(t *testing.T) {
	text := strings.TrimSuffix("AfterEach("+strings.Repeat("AfterCount(1), ", 150), ", ") + ")"
	s := mustCompile(t, text, &pipepb.WindowingStrategy{})
	w := Window{Max: 9}
	var st State
	for i := range 150 {
		if !s.Element(&st, w, 1, Now{}) {
			t.Fatalf("finished after %d", i)
		}
		if err := s.ReadState(&st, s.AppendState(nil, &st)); err != nil {
			t.Fatal(err)
		}
		if out := s.Decide(&st, w, Now{}); !out.Fire || out.Finished != (i == 149) {
			t.Fatalf("element %d: %+v", i, out)
		}
	}
}
