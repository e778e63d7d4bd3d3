package engine

import (
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
)

// timedStage is a stage with one timer family in processing time.
func timedStage(t *testing.T) (*stageRun, TimerFamily) {
	t.Helper()
	all := testCoders()
	all["timer"] = &pipepb.Coder{
		Spec: &pipepb.FunctionSpec{Urn: "beam:coder:timer:v1"}, ComponentCoderIds: []string{"bytes", "interval"},
	}
	scan, err := coders.CompileTimer(all, "timer")
	if err != nil {
		t.Fatal(err)
	}
	f := TimerFamily{Transform: "t", Family: "f"}
	return &stageRun{
		plan:       &graph.Stage{Name: "Timed"},
		timerScans: map[TimerFamily]*timerFamily{f: {scan: scan, domain: processingTime}},
		timers:     []*shardTimers{newShardTimers(nil)},
	}, f
}

func processingTimer(key, tag string, fire int64) []byte {
	w := coders.AppendIntervalWindow(nil, coders.IntervalWindow{Start: 0, End: 100})
	return coders.AppendTimer(nil, &coders.TimerElement{
		Key: str(key), Tag: []byte(tag), Windows: w, NumWindows: 1, Fire: fire, Hold: coders.MaxTimestamp,
	})
}

// TestTimersAtTheEndOfProcessingTime: a timer that sets itself again when it fires
// ends with processing time; what a new element sets then fires too.
func TestTimersAtTheEndOfProcessingTime(t *testing.T) {
	st, f := timedStage(t)
	bundle := func(processing int64, set ...[]byte) (fired int, left core.Timers) {
		t.Helper()
		b := newBundleTimers(st, st.timers[0], core.RunBundle{Event: core.MinTime, Processing: processing})
		for _, data := range set {
			if err := b.take(f.Transform, f.Family, data); err != nil {
				t.Fatal(err)
			}
		}
		sum, err := b.settle()
		if err != nil {
			t.Fatal(err)
		}
		return len(b.fired), *sum
	}
	loop := func(fire int64) []byte { return processingTimer("loop", "", fire) }
	bundle(0, loop(10))
	if fired, left := bundle(10, loop(20)); fired != 1 || left.Processing != 20 {
		t.Fatalf("%d fired, next at %d; want 1 and 20", fired, left.Processing)
	}
	// The other key's element comes with the loop's last round.
	fired, left := bundle(core.MaxTime, loop(30), processingTimer("loop", "other tag", 30), processingTimer("other", "", 40))
	if fired != 1 || left.Processing != 40 {
		t.Fatalf("%d fired, next at %d; want 1 and 40", fired, left.Processing)
	}
	if fired, left := bundle(core.MaxTime); fired != 1 || left != core.NoTimers {
		t.Fatalf("%d fired, left %+v; want 1 and none", fired, left)
	}
}

// TestATimerThatCannotBeRead fails its bundle, before that has changed anything, and names its place.
func TestATimerThatCannotBeRead(t *testing.T) {
	st, f := timedStage(t)
	for what, bad := range map[string]timer{
		"cut short":                {family: f, domain: processingTime, data: processingTimer("key", "", 5)[:3]},
		"of a family that is gone": {family: TimerFamily{Transform: "t", Family: "gone"}, domain: processingTime, data: processingTimer("key", "", 5)},
	} {
		b := newBundleTimers(st, st.timers[0], core.RunBundle{Event: core.MinTime, Processing: core.MaxTime})
		b.fired = []*timer{&bad}
		_, err := b.settle()
		if err == nil {
			t.Fatalf("%s: no error", what)
		}
		for _, text := range []string{"Timed", bad.family.Family, "transform t"} {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %q does not say %q", what, err, text)
			}
		}
	}
}
