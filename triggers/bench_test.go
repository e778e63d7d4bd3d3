package triggers

import (
	"fmt"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

var benchmarks = []string{
	"Default",
	"Repeatedly(AfterCount(100))",
	"AfterWatermark(early=Repeatedly(AfterAny(AfterCount(100), AfterProcessingTime(1000))), late=AfterCount(1))",
}

// stepper brings an element and decides, with the state in memory or as bytes.
func stepper(b testing.TB, text string, stored bool) func(i int) (fired bool) {
	s := mustCompile(b, text, &pipepb.WindowingStrategy{OutputTime: pipepb.OutputTime_EARLIEST_IN_PANE})
	w := Window{Max: 1 << 40}
	var st State
	var cell []byte
	return func(i int) bool {
		now := Now{Processing: int64(i)}
		if stored {
			if err := s.ReadState(&st, cell); err != nil {
				b.Fatal(err)
			}
		}
		if !s.Element(&st, w, int64(i), now) {
			b.Fatal("dropped")
		}
		out := s.Decide(&st, w, now)
		if stored {
			cell = s.AppendState(cell[:0], &st)
		}
		return out.Fire
	}
}

func BenchmarkElement(b *testing.B) {
	for _, text := range benchmarks {
		for _, stored := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/stored=%v", text, stored), func(b *testing.B) {
				step := stepper(b, text, stored)
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					step(i)
					i++
				}
			})
		}
	}
}

func TestElementAllocs(t *testing.T) {
	for _, text := range benchmarks {
		for _, stored := range []bool{false, true} {
			step := stepper(t, text, stored)
			i := 0
			step(i) // the state gets its memory
			fired := false
			if n := testing.AllocsPerRun(1000, func() {
				i++
				fired = step(i) || fired
			}); n > 0 {
				t.Errorf("%s, stored %v: %v allocations", text, stored, n)
			}
			if fired != (text != "Default") {
				t.Errorf("%s: fired is %v", text, fired)
			}
		}
	}
}

// TestNewAllocs checks that the commonest strategy needs no memory but the State.
func TestNewAllocs(t *testing.T) {
	s := mustCompile(t, "Default", &pipepb.WindowingStrategy{})
	w := Window{Max: 9}
	if n := testing.AllocsPerRun(100, func() {
		var st State
		s.Element(&st, w, 1, Now{})
		s.Decide(&st, w, Now{})
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMerge(b *testing.B) {
	s := mustCompile(b, benchmarks[2], &pipepb.WindowingStrategy{MergeStatus: pipepb.MergeStatus_NEEDS_MERGE})
	var dst, from State
	states := []*State{&from}
	w := Window{Max: 1 << 40}
	b.ReportAllocs()
	for b.Loop() {
		s.Element(&from, w, 1, Now{})
		s.Merge(&dst, states, w, Now{})
	}
}
