package engine

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/statebackend"
)

func endOfWindow() *pipepb.WindowingStrategy {
	return &pipepb.WindowingStrategy{OutputTime: pipepb.OutputTime_END_OF_WINDOW, AccumulationMode: pipepb.AccumulationMode_DISCARDING}
}

// ofKeys are elements of many keys in a window.
func ofKeys(n int, start int64) (elements [][]byte) {
	for i := range n {
		elements = append(elements, kv(start+1, fmt.Sprintf("k%04d", i), "1", coders.IntervalWindow{Start: start, End: start + 10}))
	}
	return elements
}

// TestKeysShareATimer: a window of many keys has one timer, in memory and in the store, and
// when it fires nothing is left.
func TestKeysShareATimer(t *testing.T) {
	const keys = 500
	s := newTriggerShard(t, "ikv", endOfWindow())
	disk := newTimerStore(t)
	defer disk.st.Close()
	var err error
	if s.tr.timers[0], err = disk.open(1<<20, 10); err != nil {
		t.Fatal(err)
	}
	s.tr.timers[0].stored.byPlace = true
	records := func() (n int) {
		if err := disk.st.Scan(nil, nil, func(k, _ []byte) bool {
			if k[1] == recordDue || k[1] == recordTimer || k[1] == recordHold {
				n++
			}
			return true
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	s.afterRun = func() {
		disk.commit(s.tr.timers[0])
		disk.write(t)
		disk.heard()
	}
	for range 3 { // new keys, and then the same ones
		s.expect(s.run(ofKeys(keys, 0)...))
		if n := len(s.tr.timers[0].byID); n != 1 {
			t.Fatalf("%d timers in memory of a window with %d keys, want 1", n, keys)
		}
		if n := records(); n != 2 {
			t.Fatalf("%d records of timers, want 2", n)
		}
	}
	s.wm = 10
	if panes := s.run(); len(panes) != keys {
		t.Errorf("%d panes, want %d", len(panes), keys)
	}
	s.stateIsGone()
	if n, m := len(s.tr.timers[0].byID), records(); n+m+s.tr.timers[0].windows.total != 0 {
		t.Errorf("%d timers in memory and %d records left of a window that is gone, and %d windows", n, m, s.tr.timers[0].windows.total)
	}
}

// TestASharedTimerGoesWithItsLastKey: what it holds goes, too.
func TestASharedTimerGoesWithItsLastKey(t *testing.T) {
	ws := endOfWindow()
	ws.Trigger = repeat(count(2))
	s := newTriggerShard(t, "ikv", ws)
	w := coders.IntervalWindow{Start: 0, End: 10}
	for _, key := range []string{"a", "b"} {
		s.run(kv(1, key, "1", w))
	}
	hold := func() int64 { return s.tr.timers[0].summary().Hold }
	s.run(kv(1, "a", "2", w))
	if got := hold(); got != 9 {
		t.Errorf("held at %d while a key waits, want 9", got)
	}
	s.run(kv(1, "b", "2", w))
	if got := hold(); got != core.MaxTime {
		t.Errorf("held at %d when no key waits, want never", got)
	}
}

// TestASharedTimerThatLacksKeys: state that doesn't have all keys of a timer is damaged, and
// that is said: they would never fire.
func TestASharedTimerThatLacksKeys(t *testing.T) {
	s := newTriggerShard(t, "ikv", endOfWindow())
	s.run(ofKeys(20, 0)...)
	st, err := s.store.opened()
	if err != nil {
		t.Fatal(err)
	}
	var first []byte
	if err := st.Scan(nil, nil, func(k, _ []byte) bool { first = append(first, k...); return false }); err != nil {
		t.Fatal(err)
	}
	b := st.NewBatch()
	defer b.Close()
	b.Delete(first)
	if err := st.Write(b, true); err != nil {
		t.Fatal(err)
	}
	r := s.tr.start(t.Context(), core.GroupShard{Event: 10, Output: s.out}, s.store.reader)
	if _, err := r.run(nil); !errors.Is(err, statebackend.ErrCorrupt) {
		t.Errorf("error %v, want that state is corrupt", err)
	}
}

// TestAFewKeysOfManyGroups: to fire a window costs what its keys do, and not a look at each key group.
func TestAFewKeysOfManyGroups(t *testing.T) {
	s := newTriggerShard(t, "ikv", endOfWindow())
	s.run(ofKeys(3, 0)...)
	st, err := s.store.opened()
	if err != nil {
		t.Fatal(err)
	}
	reads := &countingReader{Reader: st}
	r := s.tr.start(t.Context(), core.GroupShard{Event: 10, Output: s.out}, func() (statebackend.Reader, error) { return reads, nil })
	if _, err := r.run(nil); err != nil {
		t.Fatal(err)
	}
	if reads.scans > 3 || reads.gets > 0 {
		t.Errorf("%d scans and %d gets for 3 keys", reads.scans, reads.gets)
	}
}

// TestGroupsAreWritten, few and many.
func TestGroupsAreWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var was, is groupSet
		for _, group := range rapid.SliceOfN(rapid.IntRange(0, KeyGroups-1), 0, 3*fewGroups).Draw(t, "groups") {
			was.add(group)
		}
		if data := was.append(nil); !is.read(data) || is != was {
			t.Fatalf("%x is read as %v, want %v", data, is, was)
		}
	})
}

func FuzzReadSharedTimer(f *testing.F) {
	few, many := sharedTimer{keys: 3}, sharedTimer{keys: 1 << 40}
	for group := range KeyGroups {
		if many.groups.add(group); group < 2 {
			few.groups.add(1000 * group)
		}
	}
	f.Add(few.data())
	f.Add(many.data())
	f.Add([]byte{1, 2, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		var s, again sharedTimer
		if s.read(data) == nil && (again.read(s.data()) != nil || again.keys != s.keys || again.groups != s.groups) {
			t.Errorf("%x is written as %x", data, s.data())
		}
	})
}
