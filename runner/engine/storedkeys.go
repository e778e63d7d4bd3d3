package engine

import (
	"fmt"
	"slices"

	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/statebackend"
)

// storedKeys is what a shard's expiries are in the store, of a job that outlives its
// process: a record for each key and window, windows in the order in which they end, keys
// of a window together. Memory has the next windows, and those keys that were touched of
// late, so that they are not written again; one that is, is the same record once more.
//
// Keys that are parked are of windows that memory has perhaps let go of; a restart finds
// them again. The methods of a nil *storedKeys are those of a shard with all in memory.
type storedKeys struct {
	journal *journal
	read    func() (statebackend.Reader, error)
	stage   *stageRun
	changed unwritten
	// next is where windows begin that are in the store alone, as keys have it (see
	// place), nil if there are none. at is the expiry of the first or, before a look at the store, nil.
	next []byte
	at   *expiry

	limit, evictAt int64
}

func newStoredKeys(j *journal, read func() (statebackend.Reader, error), stage *stageRun, limit int64) *storedKeys {
	return &storedKeys{journal: j, read: read, stage: stage, changed: newUnwritten(), limit: limit, evictAt: limit}
}

// place is where the window's keys are.
func (e *expiry) place() []byte {
	return appendPart(appendSort(nil, e.max), e.window)
}

func (x *storedKeys) key(e *expiry, key string) string {
	return x.journal.key(recordExpiry) + string(e.place()) + key
}

func (x *storedKeys) put(e *expiry, key string) {
	if x != nil {
		x.changed.note(string(windowKey(nil, []byte(e.window), []byte(key))))
		x.journal.put(x.key(e, key), []byte{})
	}
}

func (x *storedKeys) drop(e *expiry, key string) {
	if x != nil {
		x.changed.note(string(windowKey(nil, []byte(e.window), []byte(key))))
		x.journal.drop(x.key(e, key))
	}
}

// has says that the window is not before those that are in the store alone, so that the
// store may have keys of it.
func (x *storedKeys) has(e *expiry) bool {
	return x != nil && x.next != nil && string(e.place()) >= string(x.next)
}

// due is when the first window expires that is in the store alone, or a bit before.
func (x *storedKeys) due() int64 {
	switch {
	case x == nil || x.next == nil:
		return core.MaxTime
	case x.at == nil:
		return readSort(x.next)
	}
	return x.at.due
}

// storedHold is the hold of windows that are in the store alone.
func (x *expiries) storedHold() int64 {
	if x.holds == nil || x.stored == nil || x.stored.next == nil {
		return core.MaxTime
	}
	return readSort(x.stored.next)
}

// low is where a restart begins to look: no window that is stored ends before.
func (x *expiries) low() int64 {
	low := x.parkedLow
	if x.stored.next != nil {
		low = min(low, readSort(x.stored.next))
	}
	if len(x.queue) > 0 {
		low = min(low, x.queue[0].max)
	}
	return low
}

// seek says where stored windows begin.
func (x *expiries) seek(low int64) {
	if low != core.MaxTime {
		x.stored.next, x.stored.at = appendSort(nil, low), nil
	}
}

// pageWindows are brought into memory at once, without their keys.
const pageWindows = 16

// fill brings windows into memory until the next to expire is there.
func (x *expiries) fill() error {
	st := x.stored
	for st.next != nil && (st.at == nil || len(x.queue) == 0 || string(x.queue[0].place()) >= string(st.next)) {
		r, err := st.read()
		if err != nil {
			return err
		}
		for range pageWindows {
			e, err := st.window(r, st.next)
			if err != nil {
				return err
			}
			if e == nil {
				st.next, st.at = nil, nil
				break
			}
			if old := x.byWindow[e.window]; old != nil {
				old.more = true
			} else if !x.lasts(e.due) {
				x.open(e.window, e.max, e.due).more = true
			}
			st.next = prefixEnd(string(e.place()))
		}
		if st.next != nil {
			if st.at, err = st.window(r, st.next); err != nil {
				return err
			}
			if st.at == nil {
				st.next = nil
			} else {
				st.next = st.at.place()
			}
		}
	}
	x.evict()
	return nil
}

// window returns the first window of which the store has keys, from a place on; nil if there is none.
func (x *storedKeys) window(r statebackend.Reader, from []byte) (e *expiry, err error) {
	prefix := x.journal.key(recordExpiry)
	var bad error
	err = r.Scan([]byte(prefix+string(from)), prefixEnd(prefix), func(k, _ []byte) bool {
		rest := k[len(prefix):]
		if len(rest) < 8 {
			bad = statebackend.ErrCorrupt
			return false
		}
		window, _, ok := readPart(rest[8:])
		if !ok {
			bad = statebackend.ErrCorrupt
			return false
		}
		e = &expiry{window: string(window), max: readSort(rest)}
		return false
	})
	if err == nil {
		err = bad
	}
	if err != nil {
		return nil, fmt.Errorf("expiring windows %x: %w", prefix, err)
	}
	if e == nil {
		return nil, nil
	}
	_, e.due, err = x.stage.expiryOf([]byte(e.window))
	return e, err
}

// load brings up to most keys of a window into memory.
func (x *expiries) load(e *expiry, most int) error {
	st := x.stored
	if !e.more {
		return nil
	}
	r, err := st.read()
	if err != nil {
		return err
	}
	prefix := st.key(e, "")
	all := true
	err = r.Scan([]byte(prefix), prefixEnd(prefix), func(k, _ []byte) bool {
		if all = most > 0; !all {
			return false
		}
		key := string(k[len(prefix):])
		owner := string(windowKey(nil, []byte(e.window), []byte(key)))
		if !e.keys[key] && !x.parked[owner] && !st.changed.has(owner) {
			x.keep(e, key)
			most--
		}
		return true
	})
	if err != nil {
		return err
	}
	e.more = !all
	return nil
}

// evict lets go of keys that are in the store, and of windows that expire last.
func (x *expiries) evict() {
	st := x.stored
	if x.bytes+keyBytes*int64(len(x.queue)) <= st.evictAt {
		return
	}
	last := slices.Clone(x.queue)
	slices.SortFunc(last, func(a, b *expiry) int {
		if string(a.place()) < string(b.place()) {
			return 1
		}
		return -1
	})
	for i, e := range last {
		if x.bytes <= st.limit/2 && len(x.queue) <= pageWindows {
			break
		}
		for key := range e.keys {
			if !st.changed.has(string(windowKey(nil, []byte(e.window), []byte(key)))) {
				delete(e.keys, key)
				x.count(key, -1)
				e.more = true
			}
		}
		if place := e.place(); len(e.keys) == 0 && i < len(last)-1 {
			x.close(e)
			if st.next == nil || string(place) < string(st.next) {
				st.next, st.at = place, e
			}
		}
	}
	st.evictAt = max(st.limit, x.bytes+keyBytes*int64(len(x.queue))+st.limit/2)
}
