package engine

import (
	"fmt"
	"slices"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"pgregory.net/rapid"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
)

// TestWindowsWithTimersInTheStore: a grouping whose timers are in the store, with next to
// none in memory, and that goes on after restarts, fires what one does that has all in
// memory.
func TestWindowsWithTimersInTheStore(t *testing.T) {
	triggers := map[string]*pipepb.Trigger{
		"default": {Trigger: &pipepb.Trigger_Default_{Default: &pipepb.Trigger_Default{}}},
		"count":   repeat(count(2)),
		"clock": repeat(&pipepb.Trigger{Trigger: &pipepb.Trigger_AfterProcessingTime_{AfterProcessingTime: &pipepb.Trigger_AfterProcessingTime{
			TimestampTransforms: []*pipepb.TimestampTransform{{TimestampTransform: &pipepb.TimestampTransform_Delay_{
				Delay: &pipepb.TimestampTransform_Delay{DelayMillis: 3}}}}}}}),
	}
	rapid.Check(t, func(rt *rapid.T) {
		ws := &pipepb.WindowingStrategy{
			Trigger:    triggers[rapid.SampledFrom([]string{"default", "count", "clock"}).Draw(rt, "trigger")],
			OutputTime: pipepb.OutputTime_END_OF_WINDOW, AccumulationMode: pipepb.AccumulationMode_DISCARDING,
			AllowedLateness: rapid.Int64Range(0, 15).Draw(rt, "lateness"),
		}
		if rapid.Bool().Draw(rt, "earliest") {
			ws.OutputTime = pipepb.OutputTime_EARLIEST_IN_PANE
		}
		model, stored := newTriggerShard(t, "ikv", ws), newTriggerShard(t, "ikv", ws)
		limit, page := rapid.SampledFrom([]int64{1, 600, 2000}).Draw(rt, "limit"), rapid.IntRange(1, 4).Draw(rt, "page")
		disk := newTimerStore(t)
		defer disk.st.Close()
		restart := func() {
			var err error
			if stored.tr.timers[0], err = disk.open(limit, page); err != nil {
				rt.Fatal(err)
			}
			stored.tr.timers[0].stored.byPlace = true
		}
		restart()
		var sum *core.Timers
		stored.afterRun = func() {
			disk.commit(stored.tr.timers[0])
			disk.write(t)
			disk.heard()
			sum = stored.tr.timers[0].summary()
		}
		for step := range rapid.IntRange(1, 12).Draw(rt, "steps") {
			var elements [][]byte
			for i := range rapid.IntRange(0, 8).Draw(rt, "elements") {
				at := 10 * rapid.Int64Range(0, 3).Draw(rt, "window")
				elements = append(elements, kv(at+1, fmt.Sprint("k", rapid.IntRange(0, 5).Draw(rt, "key")), fmt.Sprint(step, ".", i), coders.IntervalWindow{Start: at, End: at + 10}))
			}
			ahead := rapid.Int64Range(0, 12).Draw(rt, "ahead")
			now := rapid.Int64Range(0, 2).Draw(rt, "clock")
			for _, s := range []*triggerShard{model, stored} {
				s.wm, s.now = max(s.wm, 0)+ahead, s.now+now
			}
			want := model.run(elements...)
			got := stored.run(elements...)
			for sum.Event <= stored.wm || sum.Processing <= stored.now {
				got = append(got, stored.run()...)
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				rt.Fatalf("step %d fires\n%q, want\n%q", step, got, want)
			}
			if sum.Hold > model.tr.timers[0].summary().Hold {
				rt.Fatalf("step %d holds the watermark at %d, want %d", step, sum.Hold, model.tr.timers[0].summary().Hold)
			}
			if rapid.IntRange(0, 4).Draw(rt, "restart") == 0 {
				restart()
			}
		}
	})
}

// TestADueTimerIsSetAgain, if its window wants the same once more: it was taken out, and would
// be neither due nor gone.
func TestADueTimerIsSetAgain(t *testing.T) {
	s := newTriggerShard(t, "ikv", &pipepb.WindowingStrategy{OutputTime: pipepb.OutputTime_END_OF_WINDOW, AccumulationMode: pipepb.AccumulationMode_DISCARDING})
	s.expect(s.run(kv(1, "a", "1", coders.IntervalWindow{Start: 0, End: 10})))
	r := s.tr.start(t.Context(), core.GroupShard{Event: s.wm, Output: s.out}, s.store.reader)
	r.due = r.timers.take(core.MaxTime-1, core.MinTime, 1)
	if len(r.due) != 1 {
		t.Fatalf("%d timers of an open window, want 1", len(r.due))
	}
	if _, err := r.run(nil); err != nil {
		t.Fatal(err)
	}
	if sum := r.settle(); sum.Event != 10 {
		t.Errorf("the window's timer is due at %d, want 10", sum.Event)
	}
}
