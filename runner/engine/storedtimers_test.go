package engine

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"sync/atomic"
	"testing"

	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/memstore"
	"pgregory.net/rapid"
)

// timerStore plays what a job does with a shard's timers: changes are committed, go down
// with an epoch, and then the job hears that it is durable.
type timerStore struct {
	st      statebackend.Store
	durable atomic.Uint64
	epoch   uint64 // the next
	waiting []changes
}

func newTimerStore(t interface{ Fatal(...any) }) *timerStore {
	st, err := memstore.NewDisk(nil).Open("job", statebackend.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &timerStore{st: st, epoch: 1}
}

// open returns the shard as a restart finds it.
func (d *timerStore) open(limit int64, page int) (*shardTimers, error) {
	d.waiting = nil
	s := newShardTimers(nil)
	s.stored = newStoredTimers(newJournal(3, 1), func() (statebackend.Reader, error) { return d.st, nil }, &d.durable, limit)
	s.stored.page = page
	return s, s.recover(d.st)
}

func (d *timerStore) commit(s *shardTimers) {
	if c := s.commit(d.epoch); c != nil {
		d.waiting = append(d.waiting, c)
	}
}

// write writes an epoch; the job hears of it later, from heard.
func (d *timerStore) write(t interface{ Fatal(...any) }) {
	b := d.st.NewBatch()
	defer b.Close()
	c := cut{snap: &core.Snapshot{}, changes: d.waiting}
	if err := c.put(b); err != nil {
		t.Fatal(err)
	}
	if err := d.st.Write(b, true); err != nil {
		t.Fatal(err)
	}
	d.waiting = nil
	d.epoch++
}

func (d *timerStore) heard() { d.durable.Store(d.epoch - 1) }

// TestStoredTimersAgainstModel sets, clears and fires timers of a shard that may keep next to none in memory,
// with bundles that fail, epochs that come late and restarts, and compares with a list.
func TestStoredTimersAgainstModel(t *testing.T) {
	type entry struct {
		timer
		order int
	}
	rapid.Check(t, func(t *rapid.T) {
		d := newTimerStore(t)
		defer d.st.Close()
		limit, page := rapid.SampledFrom([]int64{1, 600, 2000}).Draw(t, "limit"), rapid.IntRange(1, 4).Draw(t, "page")
		s, err := d.open(limit, page)
		if err != nil {
			t.Fatal(err)
		}
		model, saved := map[string]entry{}, map[string]entry{}
		order := 0
		find := func(id string) {
			got, err := s.find([]byte(id))
			if err != nil {
				t.Fatal(err)
			}
			if _, want := model[id]; want != (got != nil) {
				t.Fatalf("timer %s: found %v, want %v", id, got != nil, want)
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			id := fmt.Sprint("t", rapid.IntRange(0, 15).Draw(t, "id"))
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1, 2, 3:
				tm := timer{
					id: id, domain: domain(rapid.IntRange(0, 1).Draw(t, "domain")),
					fire: rapid.Int64Range(0, 9).Draw(t, "fire"), family: TimerFamily{Family: "f"}, data: []byte(id),
				}
				tm.hold = rapid.SampledFrom([]int64{1, 2, 3, tm.fire, core.MaxTime}).Draw(t, "hold")
				find(id)
				s.set(tm)
				order++
				model[id] = entry{tm, order}
			case 4:
				find(id)
				s.clear(id)
				delete(model, id)
			case 5:
				d.write(t)
				saved = maps.Clone(model)
			case 6:
				d.heard()
			case 7:
				if s, err = d.open(limit, page); err != nil {
					t.Fatal(err)
				}
				model = maps.Clone(saved)
			default:
				now := [domains]int64{rapid.Int64Range(-1, 9).Draw(t, "event"), rapid.Int64Range(-1, 9).Draw(t, "processing")}
				var got, want [domains][]string
				fails := rapid.Bool().Draw(t, "fails")
				for {
					taken := s.take(now[0], now[1], 3)
					if fails {
						fails = false
						s.restore(taken)
						continue
					}
					for _, tm := range taken {
						if string(tm.data) != tm.id || tm.family.Family != "f" {
							t.Fatalf("timer %s has %q of family %q", tm.id, tm.data, tm.family.Family)
						}
						got[tm.domain] = append(got[tm.domain], tm.id)
						s.clear(tm.id)
					}
					sum := s.summary()
					d.commit(s)
					if sum.Event > now[0] && sum.Processing > now[1] {
						break
					}
				}
				var due []entry
				for _, e := range model {
					if e.fire <= now[e.domain] {
						due = append(due, e)
					}
				}
				sort.Slice(due, func(i, j int) bool {
					return due[i].fire < due[j].fire || due[i].fire == due[j].fire && due[i].order < due[j].order
				})
				for _, e := range due {
					want[e.domain] = append(want[e.domain], e.id)
					delete(model, e.id)
				}
				for i := range got {
					if !slices.Equal(got[i], want[i]) {
						t.Fatalf("domain %d: fired %v, want %v", i, got[i], want[i])
					}
				}
			}
			sum := *s.summary()
			if err := s.failed(); err != nil {
				t.Fatal(err)
			}
			d.commit(s)
			want := core.NoTimers
			for _, e := range model {
				if e.domain == eventTime {
					want.Event = min(want.Event, e.fire)
				} else {
					want.Processing = min(want.Processing, e.fire)
				}
				want.Hold = min(want.Hold, e.hold)
			}
			// What was cleared in the store alone may still be waited for, and hold what the
			// watermark doesn't come to before that.
			if sum.Event > want.Event || sum.Processing > want.Processing || sum.Hold > want.Hold ||
				sum.Hold < want.Hold && sum.Hold < sum.Event-1 {
				t.Fatalf("summary %+v, want %+v", sum, want)
			}
		}
	})
}

// TestRestartReadsTheNextTimers: a restart reads a page of the timers and of the windows that expire,
// and passes over nothing that was deleted.
func TestRestartReadsTheNextTimers(t *testing.T) {
	d := newTimerStore(t)
	defer d.st.Close()
	s, err := d.open(1<<20, 10)
	if err != nil {
		t.Fatal(err)
	}
	const all = 5000
	for i := range all {
		s.set(timer{id: fmt.Sprintf("%05d", i), fire: int64(i), hold: int64(i)})
	}
	s.summary()
	d.commit(s)
	d.write(t)
	for _, tm := range s.take(all/2, 0, all) {
		s.clear(tm.id)
	}
	s.summary()
	d.commit(s)
	d.write(t)

	reads := &scanCounter{Store: d.st}
	again := newShardTimers(nil)
	again.stored = newStoredTimers(newJournal(3, 1), func() (statebackend.Reader, error) { return reads, nil }, &d.durable, 1<<20)
	again.stored.page = 10
	if err := again.recover(reads); err != nil {
		t.Fatal(err)
	}
	if sum := again.summary(); sum.Event != all/2+1 || sum.Hold != all/2+1 {
		t.Errorf("next at %d, held at %d", sum.Event, sum.Hold)
	}
	if len(again.byID) != 10 || reads.scanned > 12 {
		t.Errorf("%d timers are in memory, %d records were read", len(again.byID), reads.scanned)
	}
	if reads.from == "" || reads.from < again.stored.dueKey(eventTime, moment{all / 2, 0}) {
		t.Errorf("the scan began at %x, before what was deleted", reads.from)
	}
}

// scanCounter counts the records that scans have come to, and has where the first scan of timers began.
type scanCounter struct {
	statebackend.Store
	scanned int
	from    string
}

func (c *scanCounter) Scan(lo, hi []byte, fn func(k, v []byte) bool) error {
	if c.from == "" {
		c.from = string(lo)
	}
	return c.Store.Scan(lo, hi, func(k, v []byte) bool {
		c.scanned++
		return fn(k, v)
	})
}
