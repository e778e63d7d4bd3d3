package engine

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"pgregory.net/rapid"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/memstore"
)

// TestValuesOfAnySize: what waits of a window moves between its value and its buffer as
// it grows and is fired; nothing is lost, doubled or reordered on the way.
func TestValuesOfAnySize(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(rt, "fires at")
		ws := &pipepb.WindowingStrategy{Trigger: repeat(count(int32(n))), OutputTime: pipepb.OutputTime_END_OF_WINDOW, AccumulationMode: pipepb.AccumulationMode_DISCARDING}
		accumulating := rapid.Bool().Draw(rt, "accumulating")
		if accumulating {
			ws.AccumulationMode = pipepb.AccumulationMode_ACCUMULATING
		}
		s := newTriggerShard(t, "wkv", ws)
		var waiting, want []string
		fresh, panes := 0, 0
		for run := range rapid.IntRange(1, 8).Draw(rt, "runs") {
			var elements [][]byte
			want = nil
			for i := range rapid.IntRange(0, 5).Draw(rt, "elements") {
				v := fmt.Sprintf("%d.%d", run, i) + strings.Repeat("x", rapid.SampledFrom([]int{0, 60, 120}).Draw(rt, "size"))
				elements = append(elements, kv(1, "a", v))
				waiting, fresh = append(waiting, v), fresh+1
				if fresh == n {
					want = append(want, fmt.Sprintf("global a=%s #%d", strings.Join(waiting, ","), panes))
					fresh, panes = 0, panes+1
					if !accumulating {
						waiting = nil
					}
				}
			}
			s.expect(s.run(elements...), want...)
		}
		s.wm = math.MaxInt64
		s.run()
		s.stateIsGone()
	})
}

// TestNothingIsWrittenOfAShortWindow: a window that came and went between two epochs
// leaves nothing for the second, neither a record nor the deletion of one.
func TestNothingIsWrittenOfAShortWindow(t *testing.T) {
	s := newTriggerShard(t, "ikv", &pipepb.WindowingStrategy{OutputTime: pipepb.OutputTime_END_OF_WINDOW, AccumulationMode: pipepb.AccumulationMode_DISCARDING})
	apply := func(elements ...[]byte) {
		t.Helper()
		r := s.tr.start(t.Context(), core.GroupShard{Event: s.wm, Output: s.wm}, s.store.reader)
		blocks := []core.Block{block(elements...)}
		if _, err := r.run(blocks); err != nil {
			t.Fatal(err)
		}
		r.settle()
		s.tr.state[0].apply(r.staged)
	}
	apply(kv(1, "a", "1", coders.IntervalWindow{Start: 0, End: 10}))
	dirty := s.tr.state[0].views.Load().dirty
	if len(dirty.values) != 1 || dirty.size() == 0 {
		t.Fatalf("%d values of an open window, want 1", len(dirty.values))
	}
	s.wm = 10
	apply()
	if !dirty.empty() || dirty.size() != 0 {
		t.Errorf("%d values and %d cells left of a window that is gone, %d bytes", len(dirty.values), len(dirty.cells), dirty.size())
	}
}

func FuzzReadWindow(f *testing.F) {
	f.Add([]byte{0, 0, 0})
	f.Add([]byte{1, 0, 1, 2, 'a', 'b'})
	f.Add(binary.AppendUvarint(nil, math.MaxUint64))
	ws := &pipepb.WindowingStrategy{Trigger: repeat(count(2)), OutputTime: pipepb.OutputTime_END_OF_WINDOW}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &triggerRun{trigger: newTriggerShard(t, "wkv", ws).tr}
		_ = r.readWindow(&openWindow{}, data)
	})
}

// BenchmarkTrigger is a count by key and window: each run adds to windows that are in the
// store, and each tenth run fires them all.
func BenchmarkTrigger(b *testing.B) {
	const keys = 10_000
	ws := &pipepb.WindowingStrategy{
		Trigger:    &pipepb.Trigger{Trigger: &pipepb.Trigger_Default_{Default: &pipepb.Trigger_Default{}}},
		OutputTime: pipepb.OutputTime_END_OF_WINDOW, AccumulationMode: pipepb.AccumulationMode_DISCARDING,
	}
	stage := &graph.Stage{Index: 1, Input: &graph.Input{Coder: "ikv", Grouping: &graph.Grouping{Strategy: ws, Triggered: true}}}
	g, err := compileGrouper(&graph.Plan{Coders: testCoders()}, stage, limits{1 << 20, 1000})
	if err != nil {
		b.Fatal(err)
	}
	tr, err := compileTrigger(&graph.Plan{}, stage, g, 1, nil)
	if err != nil {
		b.Fatal(err)
	}
	js := &jobStore{open: func() (statebackend.Store, error) { return memstore.NewDisk(nil).Open("job", statebackend.Options{}) }}
	defer js.close()
	shard := tr.state[0]
	shard.kept.limit = 64 << 20
	b.ReportAllocs()
	wm := int64(math.MinInt64)
	start := int64(0)
	for i := 1; b.Loop(); i++ {
		b.StopTimer()
		var elements [][]byte
		w := coders.IntervalWindow{Start: start, End: start + 10}
		for k := range keys {
			elements = append(elements, kv(start+1, fmt.Sprintf("key%06d", k), "1", w))
		}
		blocks := []core.Block{block(elements...)}
		if i%10 == 0 {
			start += 10
			wm = start
		}
		b.StartTimer()
		run := tr.start(b.Context(), core.GroupShard{Event: wm, Output: wm, Processing: time.Unix(0, 0).UnixMilli()}, js.reader)
		if _, err := run.run(blocks); err != nil {
			b.Fatal(err)
		}
		run.settle()
		shard.apply(run.staged)
		if _, err := js.write([]*shardState{shard}, []*layer{shard.freeze()}, nil); err != nil {
			b.Fatal(err)
		}
		shard.thaw()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/keys, "ns/element")
}
