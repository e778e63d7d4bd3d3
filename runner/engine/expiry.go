package engine

import (
	"container/heap"
	"encoding/binary"
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
// or the loop between two bundles.
type expiries struct {
	byWindow map[string]*expiry
	queue    expiryHeap
	// holds are the shard's, and added to if the DoFn wants to hear of expiries: what
	// it puts out then must not be late.
	holds *holdSet
	// waiting has the timers in processing time that are set, by key and window; parked
	// the keys and windows that have expired and wait for them.
	waiting map[string]map[string]bool
	parked  map[string]bool
	// free are parked ones that have perhaps nothing to wait for any more.
	free []string
	mem  *memory
	// journal has a record for each key and window that has something to lose, parked
	// ones too; nil for a job that nobody goes on with.
	journal *journal
}

// keyBytes is about what a key that is waited for takes besides its bytes.
const keyBytes = 64

// expiry is a window and the keys that have state in it, or were seen in it.
type expiry struct {
	window string
	// max is the window's last moment, due the first at which it has expired (ms).
	max, due int64
	keys     map[string]bool
	at       int // in the heap
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
		waiting: make(map[string]map[string]bool), parked: make(map[string]bool),
	}
}

// touch notes that a key has something to lose in a window.
func (x *expiries) touch(r *stageRun, window, key string) error {
	e := x.byWindow[window]
	if e == nil {
		limit, due, err := r.expiryOf([]byte(window))
		if err != nil {
			return err
		}
		e = &expiry{window: window, max: limit, due: due, keys: make(map[string]bool)}
		x.byWindow[window] = e
		heap.Push(&x.queue, e)
		if x.holds != nil {
			x.holds.add(e.max)
		}
	}
	if !e.keys[key] {
		e.keys[key] = true
		if x.journal != nil {
			x.journal.put(string(windowKey(nil, []byte(window), []byte(key))), []byte{})
		}
		x.mem.add(memState, keyBytes+int64(len(key)))
	}
	return nil
}

// forget takes a key out of a window, for good.
func (x *expiries) forget(window, key string) {
	if x.journal != nil {
		x.journal.drop(string(windowKey(nil, []byte(window), []byte(key))))
	}
	x.remove(window, key)
}

// remove takes a key out of a window.
func (x *expiries) remove(window, key string) {
	e := x.byWindow[window]
	if e == nil || !e.keys[key] {
		return
	}
	delete(e.keys, key)
	x.mem.add(memState, -keyBytes-int64(len(key)))
	if len(e.keys) > 0 {
		return
	}
	delete(x.byWindow, window)
	heap.Remove(&x.queue, e.at)
	if x.holds != nil {
		x.holds.remove(e.max)
	}
}

// next is when the next window expires.
func (x *expiries) next() int64 {
	if len(x.queue) == 0 {
		return core.MaxTime
	}
	return x.queue[0].due
}

// due says that a window has expired.
func (x *expiries) due(now int64) bool { return len(x.queue) > 0 && x.queue[0].due <= now }

// take returns up to limit keys whose windows have expired, in order of the windows,
// but for those that the caller says are busy. They stay until they are forgotten.
// Without limit it returns none.
func (x *expiries) take(now int64, limit int, busy func(owner string) bool) []expired {
	var out []expired
	var windows []*expiry
	for n := 0; n < limit && x.due(now); {
		e := heap.Pop(&x.queue).(*expiry)
		windows = append(windows, e)
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
	for _, e := range windows {
		heap.Push(&x.queue, e)
	}
	return out
}

// park sets keys aside that wait for timers in processing time: nothing is due for
// them before one of those has fired.
func (x *expiries) park(all []expired) (rest []expired) {
	for _, e := range all {
		if len(x.waiting[e.owner]) == 0 {
			rest = append(rest, e)
			continue
		}
		x.remove(e.window, e.key)
		x.parked[e.owner] = true
	}
	return rest
}

// timerSet and timerGone keep the timers that are waited for.
func (x *expiries) timerSet(owner, id string) {
	if x.waiting[owner] == nil {
		x.waiting[owner] = make(map[string]bool)
	}
	x.waiting[owner][id] = true
}

func (x *expiries) timerGone(owner, id string) {
	delete(x.waiting[owner], id)
	if len(x.waiting[owner]) > 0 {
		return
	}
	delete(x.waiting, owner)
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
		delete(x.parked, owner)
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
		for key := range e.keys {
			x.mem.add(memState, -keyBytes-int64(len(key)))
		}
	}
	x.byWindow, x.queue, x.parked, x.free = make(map[string]*expiry), nil, make(map[string]bool), nil
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

// dropExpired takes elements out of blocks whose windows have all expired. Such come
// late, so a block that holds the watermark where it is or later has none.
func (r *stageRun) dropExpired(blocks []core.Block, now int64) (kept []core.Block, dropped int64, err error) {
	var e coders.Element
	for _, b := range blocks {
		data, ok := b.Payload, b.Hold < now
		if _, group := data.(*groupChunk); group || !ok {
			kept = append(kept, b)
			continue
		}
		if _, group := data.(*hotGroup); group {
			kept = append(kept, b)
			continue
		}
		all, err := payloadBytes(b.Payload)
		if err != nil {
			return nil, 0, err
		}
		var rest []byte
		count := int64(0)
		for len(all) > 0 {
			n, err := r.input.Next(all, &e)
			if err != nil {
				return nil, 0, fmt.Errorf("%w: %w", errCoder, err)
			}
			open := false
			err = r.eachWindow(&e, func(window []byte) error {
				_, due, err := r.expiryOf(window)
				open = open || due > now
				return err
			})
			if err != nil {
				return nil, 0, err
			}
			if open {
				rest = append(rest, all[:n]...)
				count++
			}
			all = all[n:]
		}
		if count == b.Count {
			kept = append(kept, b)
			continue
		}
		dropped += b.Count - count
		if count > 0 {
			kept = append(kept, core.Block{Count: count, Bytes: int64(len(rest)), Hold: b.Hold, Payload: rest})
		}
	}
	return kept, dropped, nil
}

func (r *stageRun) eachWindow(e *coders.Element, f func(window []byte) error) error {
	windows := e.Windows
	for range e.NumWindows {
		n, err := r.elements().NextWindow(windows)
		if err != nil {
			return fmt.Errorf("%w: window: %w", errCoder, err)
		}
		if err := f(windows[:n]); err != nil {
			return err
		}
		windows = windows[n:]
	}
	return nil
}

// cellOwner returns the window and key of a cell, whose key cellKey has made.
func cellOwner(cell string) (window, key string) {
	window, cell = cutPart(cell[4:])
	key, _ = cutPart(cell)
	return window, key
}

// cutPart takes off what appendPart has put in front. It is ours, and whole.
func cutPart(s string) (part, rest string) {
	var head [binary.MaxVarintLen64]byte
	n, w := binary.Uvarint(head[:copy(head[:], s)])
	return s[w : w+int(n)], s[w+int(n):]
}

type expiryHeap []*expiry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].due < h[j].due }
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
