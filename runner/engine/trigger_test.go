package engine

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/memstore"
)

// triggerShard drives one shard of a triggered grouping as the core does, with an
// epoch written after every run, so that each run reads from the store what the
// ones before have left.
type triggerShard struct {
	t     *testing.T
	tr    *trigger
	store jobStore
	wm    int64
	out   int64
	now   int64 // processing time
	// afterRun is called when a run is in the store; nil if nobody wants to know.
	afterRun func()
}

func newTriggerShard(t *testing.T, coder string, ws *pipepb.WindowingStrategy) *triggerShard {
	t.Helper()
	if ws.Trigger == nil {
		ws.Trigger = &pipepb.Trigger{Trigger: &pipepb.Trigger_Default_{Default: &pipepb.Trigger_Default{}}}
	}
	s := &graph.Stage{Index: 1, Input: &graph.Input{Coder: coder, Grouping: &graph.Grouping{Strategy: ws, Triggered: true}}}
	g, err := compileGrouper(&graph.Plan{Coders: testCoders()}, s, limits{1 << 20, 1000})
	if err != nil {
		t.Fatal(err)
	}
	tr, err := compileTrigger(&graph.Plan{}, s, g, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	ts := &triggerShard{t: t, tr: tr, wm: math.MinInt64, out: math.MinInt64}
	ts.store.open = func() (statebackend.Store, error) {
		return memstore.NewDisk(nil).Open("job", statebackend.Options{})
	}
	return ts
}

// run takes elements and returns the panes that fire.
func (s *triggerShard) run(elements ...[]byte) []string {
	s.t.Helper()
	a := core.GroupShard{Event: s.wm, Output: s.out, Processing: s.now}
	r := s.tr.start(s.t.Context(), a, s.store.reader)
	var blocks []core.Block
	if len(elements) > 0 {
		blocks = []core.Block{block(elements...)}
	}
	panes, err := r.run(blocks)
	if err != nil {
		s.t.Fatal(err)
	}
	sum := r.settle()
	s.out = max(s.out, min(s.wm, sum.Hold))
	shard := s.tr.state[0]
	shard.apply(r.staged)
	frozen := shard.freeze()
	if _, err := s.store.write([]*shardState{shard}, []*layer{frozen}, nil); err != nil {
		s.t.Fatal(err)
	}
	shard.thaw()
	if s.afterRun != nil {
		s.afterRun()
	}
	var out []string
	for data := range render(panes, nil) {
		for len(data) > 0 {
			var line string
			line, data = s.pane(data)
			out = append(out, line)
		}
	}
	return out
}

func (s *triggerShard) pane(data []byte) (string, []byte) {
	data = data[12:] // the timestamp and the number of windows
	n, err := s.tr.grouper.scan.NextWindow(data)
	if err != nil {
		s.t.Fatal(err)
	}
	window := "global"
	if n > 0 {
		w, _, _ := coders.ReadIntervalWindow(data)
		window = fmt.Sprintf("[%d,%d)", w.Start, w.End)
	}
	pane, m, err := coders.ReadPane(data[n:])
	if err != nil {
		s.t.Fatal(err)
	}
	data = data[n+m:]
	key := readStr(&data)
	count := int(data[3])
	data = data[4:]
	var values []string
	for range count {
		values = append(values, readStr(&data))
	}
	return fmt.Sprintf("%s %s=%s #%d", window, key, strings.Join(values, ","), pane.Index), data
}

func (s *triggerShard) expect(got []string, want ...string) {
	s.t.Helper()
	if !slices.Equal(got, want) {
		s.t.Errorf("panes %q, want %q", got, want)
	}
}

func count(n int32) *pipepb.Trigger {
	return &pipepb.Trigger{Trigger: &pipepb.Trigger_ElementCount_{ElementCount: &pipepb.Trigger_ElementCount{ElementCount: n}}}
}

func repeat(t *pipepb.Trigger) *pipepb.Trigger {
	return &pipepb.Trigger{Trigger: &pipepb.Trigger_Repeat_{Repeat: &pipepb.Trigger_Repeat{Subtrigger: t}}}
}

// stateIsGone says whether the store has nothing left of the shard.
func (s *triggerShard) stateIsGone() {
	s.t.Helper()
	st, _ := s.store.reader()
	if st == nil {
		return
	}
	n := 0
	if err := st.Scan(nil, nil, func(k, _ []byte) bool { n++; return true }); err != nil {
		s.t.Fatal(err)
	}
	if n > 0 {
		s.t.Errorf("%d records left of expired windows", n)
	}
	if len(s.tr.timers[0].byID) > 0 {
		s.t.Errorf("%d timers left of expired windows", len(s.tr.timers[0].byID))
	}
}

func TestTriggeredGroupingByCount(t *testing.T) {
	for _, accumulate := range []bool{false, true} {
		t.Run(fmt.Sprintf("accumulate=%v", accumulate), func(t *testing.T) {
			ws := &pipepb.WindowingStrategy{Trigger: repeat(count(2)), OutputTime: pipepb.OutputTime_END_OF_WINDOW, AccumulationMode: pipepb.AccumulationMode_DISCARDING}
			if accumulate {
				ws.AccumulationMode = pipepb.AccumulationMode_ACCUMULATING
			}
			s := newTriggerShard(t, "wkv", ws)
			s.expect(s.run(kv(1, "a", "1"), kv(2, "b", "2")))
			s.expect(s.run(kv(3, "a", "3")), "global a=1,3 #0")
			if accumulate {
				s.expect(s.run(kv(4, "a", "4"), kv(5, "a", "5")), "global a=1,3,4,5 #1")
			} else {
				s.expect(s.run(kv(4, "a", "4"), kv(5, "a", "5")), "global a=4,5 #1")
			}
			s.wm = math.MaxInt64
			if got := s.run(); !slices.Contains(got, "global b=2 #0") {
				t.Errorf("panes %q at the end, want b's", got)
			}
			s.stateIsGone()
		})
	}
}

func TestTriggeredGroupingAtTheWindowsEnd(t *testing.T) {
	s := newTriggerShard(t, "ikv", &pipepb.WindowingStrategy{OutputTime: pipepb.OutputTime_END_OF_WINDOW, AccumulationMode: pipepb.AccumulationMode_DISCARDING})
	w := coders.IntervalWindow{Start: 0, End: 10}
	s.expect(s.run(kv(1, "a", "1", w), kv(12, "a", "2", coders.IntervalWindow{Start: 10, End: 20})))
	s.wm = 10
	s.expect(s.run(), "[0,10) a=1 #0")
	// Late, and no lateness is allowed.
	s.expect(s.run(kv(3, "a", "3", w)))
	s.wm = 20
	s.expect(s.run(), "[10,20) a=2 #0")
	s.stateIsGone()
}

func TestTriggeredSessions(t *testing.T) {
	s := newTriggerShard(t, "ikv", &pipepb.WindowingStrategy{
		OutputTime: pipepb.OutputTime_END_OF_WINDOW, MergeStatus: pipepb.MergeStatus_NEEDS_MERGE,
		AccumulationMode: pipepb.AccumulationMode_DISCARDING,
	})
	session := func(ts int64, key, value string) []byte {
		return kv(ts, key, value, coders.IntervalWindow{Start: ts, End: ts + 10})
	}
	// Three runs, so that the windows merge with those in the store.
	s.expect(s.run(session(0, "a", "1"), session(16, "a", "2"), session(3, "b", "3")))
	s.expect(s.run(session(8, "a", "4")))
	s.wm = 13
	s.expect(s.run(), "[3,13) b=3 #0")
	s.wm = 30
	s.expect(s.run(), "[0,26) a=1,2,4 #0")
	s.stateIsGone()
}

// TestLateByItsOwnWindow: an element of a window that has expired is dropped, also if there
// is an open window that it would merge into; sessions and windows that the SDK merges alike.
func TestLateByItsOwnWindow(t *testing.T) {
	for name, s := range map[string]*triggerShard{
		"sessions": newTriggerShard(t, "ikv", &pipepb.WindowingStrategy{
			OutputTime: pipepb.OutputTime_END_OF_WINDOW, MergeStatus: pipepb.MergeStatus_NEEDS_MERGE,
			AccumulationMode: pipepb.AccumulationMode_DISCARDING,
		}),
		"the SDK's": newSDKMergingShard(t, nil, overlapping),
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			session := func(ts int64, value string) []byte {
				return kv(ts, "a", value, coders.IntervalWindow{Start: ts, End: ts + 10})
			}
			s.expect(s.run(session(20, "1")))
			s.wm = 22
			s.expect(s.run(session(11, "late"), session(13, "2")))
			s.wm = 30
			s.expect(s.run(), "[13,30) a=1,2 #0")
			s.stateIsGone()
		})
	}
}

// TestAFinishedWindowMergesAnew: the SDK is asked about the window of an element also when
// there is such a window, but its trigger has finished: that one takes no part in merging.
func TestAFinishedWindowMergesAnew(t *testing.T) {
	s := newSDKMergingShard(t, count(2), overlapping)
	at := func(ts int64, value string) []byte {
		return kv(ts, "a", value, coders.IntervalWindow{Start: ts, End: ts + 10})
	}
	s.expect(s.run(at(20, "1")))
	s.expect(s.run(at(20, "2")), "[20,30) a=1,2 #0")
	s.expect(s.run(at(20, "dropped")))
	s.expect(s.run(at(25, "3")))
	s.expect(s.run(at(20, "4")), "[20,35) a=3,4 #0")
	s.wm = 100
	s.expect(s.run())
	s.stateIsGone()
}
