package engine

import (
	"fmt"
	"maps"
	"testing"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/statebackend"
	"pgregory.net/rapid"
)

// TestStoredExpiriesAgainstModel touches keys in windows and lets them expire, in a shard that may
// keep next to none in memory, with epochs that come late and restarts. Each key and window expires once.
func TestStoredExpiriesAgainstModel(t *testing.T) {
	for _, tells := range []bool{false, true} {
		t.Run(fmt.Sprint("tells ", tells), func(t *testing.T) {
			plan := expiryPlan(t, tells)
			st, err := newStageRun(plan, plan.Stages[1], core.Config{Shards: 1}, limits{blockBytes: 100, blockElements: 10}, &keeper{})
			if err != nil {
				t.Fatal(err)
			}
			rapid.Check(t, func(t *rapid.T) {
				storedExpiries(t, st, rapid.SampledFrom([]int64{1, 300, 2000}).Draw(t, "limit"))
			})
		})
	}
}

func storedExpiries(t *rapid.T, st *stageRun, limit int64) {
	d := newTimerStore(t)
	defer d.st.Close()
	open := func() *shardTimers {
		d.waiting = nil
		s := newShardTimers(nil)
		read := func() (statebackend.Reader, error) { return d.st, nil }
		j := newJournal(3, 1)
		s.stored = newStoredTimers(j, read, &d.durable, limit)
		var holds *holdSet
		if st.plan.Expiry.Family != "" {
			holds = &s.holds
		}
		s.expiring = newExpiries(holds, nil)
		s.expiring.stored = newStoredKeys(j, read, st, limit)
		if err := s.recover(d.st); err != nil {
			t.Fatal(err)
		}
		return s
	}
	type keyWindow struct {
		key   string
		start int64
	}
	// A window ends 10 ms after its start, and 5 ms may be late.
	due := func(k keyWindow) int64 { return k.start + 15 }
	model, saved := map[keyWindow]bool{}, map[keyWindow]bool{}
	s, now := open(), int64(0)
	for range rapid.IntRange(1, 80).Draw(t, "steps") {
		switch rapid.IntRange(0, 7).Draw(t, "step") {
		case 0, 1, 2, 3:
			k := keyWindow{fmt.Sprint("k", rapid.IntRange(0, 5).Draw(t, "key")), now + 10*rapid.Int64Range(0, 40).Draw(t, "window")}
			if err := s.expiring.touch(st, string(coders.AppendIntervalWindow(nil, windowAt(k.start))), k.key); err != nil {
				t.Fatal(err)
			}
			model[k] = true
		case 4:
			d.write(t)
			saved = maps.Clone(model)
		case 5:
			d.heard()
		case 6:
			s = open()
			model = maps.Clone(saved)
		default:
			now += 10 * rapid.Int64Range(0, 10).Draw(t, "later")
			last := int64(0)
			for s.summary().Event <= now {
				all, err := s.expiring.take(now, 2, func(string) bool { return false })
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range all {
					w, _, err := coders.ReadIntervalWindow([]byte(e.window))
					if err != nil {
						t.Fatal(err)
					}
					k := keyWindow{e.key, w.Start}
					if !model[k] || e.due != due(k) || e.due > now || e.due < last {
						t.Fatalf("%+v expires at %d, due at %d, behind %d; known: %v", k, now, e.due, last, model[k])
					}
					last = e.due
					delete(model, k)
					s.expiring.forget(e.window, e.key)
				}
				s.summary()
				d.commit(s)
			}
			for k := range model {
				if due(k) <= now {
					t.Fatalf("%+v has not expired at %d", k, now)
				}
			}
		}
		sum := s.summary()
		if err := s.failed(); err != nil {
			t.Fatal(err)
		}
		d.commit(s)
		for k := range model {
			if sum.Event > due(k) || st.plan.Expiry.Family != "" && sum.Hold > k.start+9 {
				t.Fatalf("summary %+v, but %+v is due at %d", *sum, k, due(k))
			}
		}
	}
}
