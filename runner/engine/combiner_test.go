package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
)

// summingWorker answers as an SDK does whose accumulators are decimal numbers.
func summingWorker(t testing.TB, asked *int) asker {
	t.Helper()
	return func(_ context.Context, _ *graph.Question, in []byte, n int64) ([]byte, error) {
		*asked++
		var out []byte
		for ; len(in) > 0; n-- {
			in = in[12:] // the timestamp and the number of windows
			_, size, err := coders.ReadPane(in)
			if err != nil {
				return nil, err
			}
			in = in[size:]
			key := readStr(&in)
			values := binary.BigEndian.Uint32(in)
			in = in[4:]
			sum := 0
			for range values {
				v, err := strconv.Atoi(readStr(&in))
				if err != nil {
					return nil, err
				}
				sum += v
			}
			out = append(out, kv(0, key, strconv.Itoa(sum))...)
		}
		if n != 0 {
			return nil, fmt.Errorf("the count of elements is off by %d", n)
		}
		return out, nil
	}
}

func newCombiningShard(t *testing.T, coder string, ws *pipepb.WindowingStrategy, ask asker) *triggerShard {
	ws.OutputTime = pipepb.OutputTime_END_OF_WINDOW
	s := newTriggerShard(t, coder, ws)
	var err error
	s.tr.combiner, err = compileCombiner(&graph.Plan{Coders: testCoders()}, &graph.Stage{Input: &graph.Input{Grouping: &graph.Grouping{
		Combining: &graph.Question{OutputCoder: "wkv"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	s.tr.combiner.ask = ask
	return s
}

// stateBytes is what the store has of the shard.
func (s *triggerShard) stateBytes() (n int) {
	s.t.Helper()
	st, err := s.store.opened()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := st.Scan(nil, nil, func(k, v []byte) bool { n += len(k) + len(v); return true }); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// sumOf is what a pane's values come to.
func sumOf(t *testing.T, pane string) (sum, values int) {
	t.Helper()
	_, list, _ := strings.Cut(pane, "=")
	list, _, _ = strings.Cut(list, " #")
	for v := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatalf("pane %q: %v", pane, err)
		}
		sum, values = sum+n, values+1
	}
	return sum, values
}

// TestCombiningKeepsAFewAccumulators: a window that is open for long has no more state
// than one that has just been opened, and its pane is the same.
func TestCombiningKeepsAFewAccumulators(t *testing.T) {
	asked := 0
	s := newCombiningShard(t, "ikv", &pipepb.WindowingStrategy{AccumulationMode: pipepb.AccumulationMode_DISCARDING}, summingWorker(t, &asked))
	w := coders.IntervalWindow{Start: 0, End: 10}
	few := 0
	const runs = 1000
	for i := range runs {
		s.expect(s.run(kv(1, "a", "1", w), kv(1, "b", "2", w), kv(2, "a", "1", w)))
		if n := s.stateBytes(); i < 2*combineAt {
			few = max(few, n)
		} else if n > few+30 { // the sums have more digits
			t.Fatalf("%d bytes of state after %d runs, %d after a few", n, i, few)
		}
	}
	if asked > runs/2 {
		t.Errorf("the SDK was asked %d times in %d runs: it should be asked when there is enough to merge", asked, runs)
	}
	s.wm = 10
	panes := s.run()
	if len(panes) != 2 {
		t.Fatalf("panes %q, want two", panes)
	}
	for i, pane := range panes {
		if sum, values := sumOf(t, pane); sum != 2*runs || values > combineAt {
			t.Errorf("pane %d %q: %d values of sum %d, want at most %d of %d", i, pane, values, sum, combineAt, 2*runs)
		}
	}
	s.stateIsGone()
}

// TestCombiningWhatHasFired: with accumulating panes, what has fired stays, as one
// accumulator, and is in the panes behind it.
func TestCombiningWhatHasFired(t *testing.T) {
	asked := 0
	late := &pipepb.Trigger{Trigger: &pipepb.Trigger_Default_{Default: &pipepb.Trigger_Default{}}}
	s := newCombiningShard(t, "ikv", &pipepb.WindowingStrategy{
		Trigger: late, AccumulationMode: pipepb.AccumulationMode_ACCUMULATING, AllowedLateness: 1000,
	}, summingWorker(t, &asked))
	w := coders.IntervalWindow{Start: 0, End: 10}
	for range combineAt + 2 {
		s.expect(s.run(kv(1, "a", "1", w)))
	}
	s.wm = 10
	total := combineAt + 2
	for range 20 {
		panes := s.run(kv(1, "a", "1", w))
		total++
		if len(panes) != 1 {
			t.Fatalf("panes %q, want one", panes)
		}
		if sum, values := sumOf(t, panes[0]); sum != total || values > combineAt {
			t.Fatalf("pane %q: %d values of sum %d, want at most %d of %d", panes[0], values, sum, combineAt, total)
		}
	}
	s.wm = math.MaxInt64
	s.run()
	s.stateIsGone()
}

func TestCombiningSessions(t *testing.T) {
	asked := 0
	s := newCombiningShard(t, "ikv", &pipepb.WindowingStrategy{
		MergeStatus: pipepb.MergeStatus_NEEDS_MERGE, AccumulationMode: pipepb.AccumulationMode_DISCARDING,
	}, summingWorker(t, &asked))
	for i := range int64(100) {
		at := i * 3 % 100 // not in order: sessions grow, and grow together
		s.expect(s.run(kv(at, "a", "1", coders.IntervalWindow{Start: at, End: at + 2})))
	}
	s.wm = 1000
	panes := s.run()
	if len(panes) != 1 {
		t.Fatalf("panes %q, want one", panes)
	}
	if sum, values := sumOf(t, panes[0]); sum != 100 || values > 2*combineAt || asked == 0 {
		t.Errorf("pane %q: %d values of sum %d; the SDK was asked %d times", panes[0], values, sum, asked)
	}
	s.stateIsGone()
}

// TestCombiningTakesNoWrongAnswer: an answer that doesn't fit its question fails the
// grouping.
func TestCombiningTakesNoWrongAnswer(t *testing.T) {
	broken := errors.New("broken")
	for want, ask := range map[string]asker{
		"broken":    func(context.Context, *graph.Question, []byte, int64) ([]byte, error) { return nil, broken },
		"0 answers": func(context.Context, *graph.Question, []byte, int64) ([]byte, error) { return nil, nil },
		"not asked": func(context.Context, *graph.Question, []byte, int64) ([]byte, error) { return kv(0, "b", "1"), nil },
		"answer":    func(context.Context, *graph.Question, []byte, int64) ([]byte, error) { return []byte{1}, nil },
		"not asked (": func(context.Context, *graph.Question, []byte, int64) ([]byte, error) {
			return append(kv(0, "a", "1"), kv(0, "a", "1")...), nil
		},
	} {
		s := newCombiningShard(t, "wkv", &pipepb.WindowingStrategy{AccumulationMode: pipepb.AccumulationMode_DISCARDING}, ask)
		r := s.tr.start(t.Context(), core.GroupShard{Event: s.wm, Output: s.out}, s.store.reader)
		_, err := r.run([]core.Block{block(slices.Repeat([][]byte{kv(0, "a", "1")}, combineAt)...)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
}
