package engine

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/summerbeam/summerbeam/runner/engine/core"
)

func FuzzTimerRecord(f *testing.F) {
	one := timer{domain: processingTime, fire: -5, hold: core.MaxTime, seq: 7, family: TimerFamily{"t", "f"}, data: []byte("data")}
	f.Add(one.record())
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := readTimerRecord("id", data)
		if err != nil {
			return
		}
		again, err := readTimerRecord("id", got.record())
		if err != nil {
			t.Fatalf("%x: what was read can't be written: %v", data, err)
		}
		if diff := cmp.Diff(got, again, cmp.AllowUnexported(timer{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%x:\n%s", data, diff)
		}
	})
}

func FuzzSideRecord(f *testing.F) {
	f.Add([]byte{2, 4, 'd', 'x'})
	f.Add([]byte{2, 4, 'e', 0x80})
	f.Fuzz(func(t *testing.T, data []byte) {
		if b, err := readSideRecord(data); err == nil && b.Payload != nil {
			switch b.Payload.(type) {
			case []byte, int:
			default:
				t.Errorf("%x: payload %T", data, b.Payload)
			}
		}
	})
}

// What fires first does so after a restart, and new timers come behind those of old.
func TestTimersComeBackInOrder(t *testing.T) {
	s := newShardTimers(nil)
	s.journal = newJournal(recordTimer, 1, 2)
	for _, id := range []string{"b", "a", "c"} {
		s.set(timer{id: id, fire: 10, hold: 5})
	}
	s.set(timer{id: "gone", fire: 1, hold: 1})
	s.clear("gone")
	records := s.journal.take()
	if len(records) != 4 || s.journal.take() != nil {
		t.Fatalf("the journal has %v", records)
	}
	again := newShardTimers(nil)
	for _, id := range []string{"c", "a", "b"} {
		tm, err := readTimerRecord(id, records[journalPrefix(recordTimer, 1, 2)+id])
		if err != nil {
			t.Fatal(err)
		}
		again.restoreTimer(tm)
	}
	again.set(timer{id: "new", fire: 10, hold: 7})
	var order string
	for _, tm := range again.take(10, 0, 10) {
		order += tm.id
	}
	if order != "bacnew" {
		t.Errorf("they fire in the order %s", order)
	}
	if sum := again.summary(); sum.Hold != 5 {
		t.Errorf("hold %d, want 5", sum.Hold)
	}
}
