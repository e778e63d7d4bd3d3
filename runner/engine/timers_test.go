package engine

import (
	"fmt"
	"slices"
	"sort"
	"testing"

	"github.com/summerbeam/summerbeam/runner/engine/core"
	"pgregory.net/rapid"
)

// TestShardTimersAgainstModel sets, replaces, clears and fires timers at random, with
// bundles that fail in between, and compares with a plain list.
func TestShardTimersAgainstModel(t *testing.T) {
	type entry struct {
		timer
		order int
	}
	rapid.Check(t, func(t *rapid.T) {
		s := newShardTimers(nil)
		model := map[string]entry{}
		order := 0
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			id := fmt.Sprint("t", rapid.IntRange(0, 6).Draw(t, "id"))
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0, 1:
				tm := timer{
					id: id, domain: domain(rapid.IntRange(0, 1).Draw(t, "domain")),
					fire: rapid.Int64Range(0, 9).Draw(t, "fire"),
					hold: rapid.SampledFrom([]int64{1, 2, 3, core.MaxTime}).Draw(t, "hold"),
				}
				s.set(tm)
				order++
				model[id] = entry{tm, order}
			case 2:
				s.clear(id)
				delete(model, id)
			default:
				event, processing := rapid.Int64Range(0, 9).Draw(t, "event"), rapid.Int64Range(0, 9).Draw(t, "processing")
				taken := s.take(event, processing, 1000)
				var got, want []string
				for _, tm := range taken {
					got = append(got, tm.id)
				}
				var due []entry
				for _, e := range model {
					if e.fire <= [domains]int64{event, processing}[e.domain] {
						due = append(due, e)
					}
				}
				sort.Slice(due, func(i, j int) bool {
					a, b := due[i], due[j]
					if a.domain != b.domain {
						return a.domain < b.domain
					}
					if a.fire != b.fire {
						return a.fire < b.fire
					}
					return a.order < b.order
				})
				for _, e := range due {
					want = append(want, e.id)
				}
				if !slices.Equal(got, want) {
					t.Fatalf("fired %v, want %v", got, want)
				}
				if rapid.Bool().Draw(t, "fails") {
					s.restore(taken)
					continue
				}
				for _, tm := range taken {
					s.clear(tm.id)
					delete(model, tm.id)
				}
			}
			want := core.NoTimers
			for _, e := range model {
				if e.domain == eventTime {
					want.Event = min(want.Event, e.fire)
				} else {
					want.Processing = min(want.Processing, e.fire)
				}
				want.Hold = min(want.Hold, e.hold)
			}
			if got := *s.summary(); got != want {
				t.Fatalf("summary %+v, want %+v", got, want)
			}
		}
	})
}
