package engine

import (
	"container/heap"
	"fmt"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
)

// A key's state in a window goes when the window expires: when the watermark is
// behind the window's end by more than the allowed lateness, and no timer of that key
// and window is left. A DoFn that wants to hear of it (on-window-expiration) gets a
// timer then, for each key that it has seen in the window, and its state goes with the
// bundle in which that fires.
//
// Timers in processing time don't keep such a DoFn waiting: those that are still set
// are dropped. Without one there is nobody else to flush what a timer was set for, so
// the state waits for timers that were set before the window expired. Later ones are
// dropped, or a timer that sets itself again would keep the state for ever.
//
// Elements that come for expired windows are dropped.
//
// expiries are one shard's. As with its timers, only its running bundle touches them,
// or the loop between two bundles; and those of a job that outlives its process are not
// all in memory, see storedKeys.
type expiries struct {
	byWindow map[string]*expiry
	queue    expiryHeap
	// holds are the shard's, and added to if the DoFn wants to hear of expiries: what
	// it puts out then must not be late. Nil if it doesn't.
	holds *holdSet
	// waiting has the timers in processing time that are in memory, by key and window; parked
	// the keys and windows that have expired and wait for such. None of these is of a window
	// that ends before parkedLow.
	waiting   map[string]map[string]bool
	parked    map[string]bool
	parkedLow int64
	// free are parked ones that have perhaps nothing to wait for any more.
	free []string
	mem  *memory
	// bytes is what the keys in memory take.
	bytes int64
	// stored is nil for a job that nobody goes on with. Then all is in memory.
	stored *storedKeys
}

// keyBytes is about what a key that is waited for takes besides its bytes.
const keyBytes = 64

// expiry is a window and the keys that have state in it, or were seen in it.
type expiry struct {
	window string
	// max is the window's last moment, due the first at which it has expired (ms).
	max, due int64
	keys     map[string]bool
	// more says that the store may have keys that are not in keys.
	more bool
	at   int // in the heap
}

// expired is a key and window whose state goes with a bundle.
type expired struct {
	owner       string // see windowKey
	key, window string
	max, due    int64
}

func newExpiries(holds *holdSet, mem *memory) *expiries {
	return &expiries{
		mem:      mem,
		byWindow: make(map[string]*expiry), holds: holds,
		waiting: make(map[string]map[string]bool), parked: make(map[string]bool), parkedLow: core.MaxTime,
	}
}

// lasts says that a window is open as long as the job, as the global window is, and nobody
// wants to hear of its end: what is in it goes with the job.
func (x *expiries) lasts(due int64) bool { return x.holds == nil && lasting(due) }

// lasting says that what is due then is due at the end of time.
func lasting(due int64) bool { return due > coders.GlobalWindowMaxTimestamp }

// expires says that the stage has state, or timers, whose windows will expire before the job ends,
// or whose DoFn wants to hear of the end.
func (r *stageRun) expires() bool {
	if r.plan.Expiry == nil {
		return false
	}
	switch r.elements().WindowKind() {
	case coders.OpaqueWindows:
		return false
	case coders.GlobalWindows:
		return r.plan.Expiry.Family != ""
	}
	return true
}

// touch notes that a key has something to lose in a window.
func (x *expiries) touch(r *stageRun, window, key string) error {
	e := x.byWindow[window]
	if e == nil {
		limit, due, err := r.expiryOf([]byte(window))
		if err != nil || x.lasts(due) {
			return err
		}
		e = x.open(window, limit, due)
		e.more = x.stored.has(e)
	}
	if !e.keys[key] {
		x.keep(e, key)
		x.stored.put(e, key)
	}
	return nil
}

// open takes a window into memory.
func (x *expiries) open(window string, limit, due int64) *expiry {
	e := &expiry{window: window, max: limit, due: due, keys: make(map[string]bool)}
	x.byWindow[window] = e
	heap.Push(&x.queue, e)
	if x.holds != nil {
		x.holds.add(e.max)
	}
	return e
}

// keep takes a key of a window into memory.
func (x *expiries) keep(e *expiry, key string) {
	e.keys[key] = true
	x.count(key, 1)
}

func (x *expiries) count(key string, sign int64) {
	n := sign * (keyBytes + int64(len(key)))
	x.bytes += n
	x.mem.add(memState, n)
}

// forget takes a key out of a window, for good.
func (x *expiries) forget(window, key string) {
	e := x.byWindow[window]
	if e == nil || !e.keys[key] {
		return
	}
	x.stored.drop(e, key)
	x.remove(e, key)
}

// remove takes a key out of a window.
func (x *expiries) remove(e *expiry, key string) {
	delete(e.keys, key)
	x.count(key, -1)
	x.tidy(e)
}

// tidy takes a window without keys out of memory.
func (x *expiries) tidy(e *expiry) {
	if len(e.keys) > 0 || e.more {
		return
	}
	x.close(e)
}

func (x *expiries) close(e *expiry) {
	delete(x.byWindow, e.window)
	heap.Remove(&x.queue, e.at)
	if x.holds != nil {
		x.holds.remove(e.max)
	}
}

// next is when the next window expires.
func (x *expiries) next() int64 {
	next := x.stored.due()
	if len(x.queue) > 0 {
		next = min(next, x.queue[0].due)
	}
	return next
}

// due says that a window has expired.
func (x *expiries) due(now int64) bool { return x.next() <= now && x.next() != core.MaxTime }

// take returns up to limit keys whose windows have expired, in order of the windows,
// but for those that the caller says are busy. They stay until they are forgotten.
// Without limit it returns none. It may read the store, for keys: windows that are in the
// store alone, and those behind them, come after the next call of fill.
func (x *expiries) take(now int64, limit int, busy func(owner string) bool) ([]expired, error) {
	var out []expired
	var windows []*expiry
	defer func() {
		for _, e := range windows {
			heap.Push(&x.queue, e)
			x.tidy(e)
		}
	}()
	for n := 0; n < limit && len(x.queue) > 0 && x.queue[0].due <= now && !x.stored.has(x.queue[0]); {
		e := heap.Pop(&x.queue).(*expiry)
		windows = append(windows, e)
		if err := x.load(e, limit); err != nil {
			return nil, err
		}
		for key := range e.keys {
			owner := string(windowKey(nil, []byte(e.window), []byte(key)))
			if busy(owner) {
				continue
			}
			out = append(out, expired{owner: owner, key: key, window: e.window, max: e.max, due: e.due})
			if n++; n >= limit {
				break
			}
		}
	}
	return out, nil
}

// park sets keys aside that wait for timers in processing time: nothing is due for
// them before one of those has fired.
func (x *expiries) park(all []expired) (rest []expired) {
	for _, e := range all {
		if len(x.waiting[e.owner]) == 0 {
			rest = append(rest, e)
			continue
		}
		x.parked[e.owner] = true
		x.parkedLow = min(x.parkedLow, e.max)
		x.remove(x.byWindow[e.window], e.key)
	}
	return rest
}

// unparked says that a key has nothing to wait for.
func (x *expiries) unparked(owner string) {
	if delete(x.parked, owner); len(x.parked) == 0 {
		x.parkedLow = core.MaxTime
	}
}

// timerSet and timerGone keep the timers that are waited for.
func (x *expiries) timerSet(owner, id string) {
	if x.waiting[owner] == nil {
		x.waiting[owner] = make(map[string]bool)
	}
	x.waiting[owner][id] = true
}

// timerAway says that a timer is in the store alone.
func (x *expiries) timerAway(owner, id string) {
	if delete(x.waiting[owner], id); len(x.waiting[owner]) == 0 {
		delete(x.waiting, owner)
	}
}

func (x *expiries) timerGone(owner, id string) {
	x.timerAway(owner, id)
	if len(x.waiting[owner]) > 0 {
		return
	}
	if x.parked[owner] {
		x.free = append(x.free, owner)
	}
}

// unpark lets those expire that waited for timers which are gone.
func (x *expiries) unpark(r *stageRun) error {
	for _, owner := range x.free {
		if len(x.waiting[owner]) > 0 || !x.parked[owner] {
			continue
		}
		x.unparked(owner)
		window, key := cutPart(owner)
		if err := x.touch(r, window, key); err != nil {
			return err
		}
	}
	x.free = nil
	return nil
}

// clear forgets all: the job ends, and its state with it.
func (x *expiries) clear() {
	for _, e := range x.queue {
		if x.holds != nil {
			x.holds.remove(e.max)
		}
	}
	x.mem.add(memState, -x.bytes)
	x.bytes = 0
	x.byWindow, x.queue = make(map[string]*expiry), nil
	x.parked, x.free, x.parkedLow = make(map[string]bool), nil, core.MaxTime
	if x.stored != nil {
		x.stored.next, x.stored.at = nil, nil
	}
}

// expiryOf returns a window's last moment and when it has expired.
func (r *stageRun) expiryOf(window []byte) (limit, due int64, err error) {
	if limit, err = r.elements().WindowMax(window); err != nil {
		return 0, 0, fmt.Errorf("stage %s: window: %w", r.plan.Name, err)
	}
	if late := r.plan.Expiry.AllowedLateness; limit < core.MaxTime-late-1 {
		return limit, limit + late + 1, nil
	}
	return limit, core.MaxTime - 1, nil
}

// data is the timer that tells the DoFn.
func (e *expired) data() []byte {
	return coders.AppendTimer(nil, &coders.TimerElement{
		Key: []byte(e.key), Windows: []byte(e.window), NumWindows: 1,
		Fire: min(e.due-1, coders.MaxTimestamp), Hold: min(e.max, coders.MaxTimestamp),
	})
}

type expiryHeap []*expiry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].max < h[j].max }
func (h expiryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}
func (h *expiryHeap) Push(x any) {
	e := x.(*expiry)
	e.at = len(*h)
	*h = append(*h, e)
}
func (h *expiryHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.at = -1
	return e
}
