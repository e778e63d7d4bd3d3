package engine

import (
	"fmt"
	"iter"
	"sync"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
)

// bundleTimers are one bundle's part in its shard's timers: those that fire in it,
// and what it sets and clears. The methods of a nil *bundleTimers are those of a
// stage without timers.
type bundleTimers struct {
	stage *stageRun
	shard *shardTimers
	fired []*timer
	// over says that processing time has come to its end: see settle.
	over bool
	// event is the event time of the bundle. expired are the keys and windows whose
	// state goes with it, seen those of its input: see expiries.
	event   int64
	expired []expired
	seen    map[string]bool
	// firing says that timers and expiries may fire in the bundle.
	firing bool

	setMu sync.Mutex
	set   []TimerChunk // in order of arrival
}

// maxFired bounds the timers that fire in one bundle.
const maxFired = 10_000

// newBundleTimers takes the due timers out of the shard. The loop calls it.
func newBundleTimers(st *stageRun, shard *shardTimers, a core.RunBundle) *bundleTimers {
	b := &bundleTimers{stage: st, shard: shard, over: a.Processing == core.MaxTime, event: a.Event}
	if a.NoTimers {
		return b
	}
	b.fired = shard.take(a.Event, a.Processing, maxFired)
	b.firing = true
	return b
}

// begin finds the keys and windows that have expired. It may read the store, and so is for
// the bundle's own goroutine, before the worker runs.
func (b *bundleTimers) begin() error {
	if b == nil {
		return nil
	}
	if err := b.shard.failed(); err != nil {
		return err
	}
	x := b.shard.expiring
	if !b.firing || x == nil || !x.due(b.event) {
		return nil
	}
	if b.event == core.MaxTime && !b.tells() {
		x.clear()
		return nil
	}
	// What fires may set more timers, and those come first.
	busy := make(map[string]bool)
	for _, t := range b.fired {
		owner, err := b.stage.owner(t)
		if err != nil {
			return err
		}
		busy[owner] = true
	}
	all, err := x.take(b.event, maxFired-len(b.fired), func(owner string) bool { return busy[owner] })
	if err != nil {
		return err
	}
	for i := range all {
		if err := b.stage.findWaitedFor(b.shard, &all[i]); err != nil {
			return err
		}
	}
	if b.expired = all; !b.tells() {
		b.expired = x.park(all)
	}
	return nil
}

// tells says that the DoFn wants to hear of windows that expire.
func (b *bundleTimers) tells() bool { return b.stage.plan.Expiry.Family != "" }

// quiet says that the worker has nothing to do for the timers.
func (b *bundleTimers) quiet() bool {
	return len(b.fired) == 0 && (len(b.expired) == 0 || !b.tells())
}

// fire yields the fired timers, those that follow one another in one family together.
func (b *bundleTimers) fire() iter.Seq2[TimerChunk, error] {
	if b == nil || b.quiet() {
		return nil
	}
	return func(yield func(TimerChunk, error) bool) {
		for i := 0; i < len(b.fired); {
			c := TimerChunk{TimerFamily: b.fired[i].family}
			for ; i < len(b.fired) && b.fired[i].family == c.TimerFamily; i++ {
				c.Data = append(c.Data, b.fired[i].data...)
			}
			if !yield(c, nil) {
				return
			}
		}
		if len(b.expired) == 0 || !b.tells() {
			return
		}
		c := TimerChunk{TimerFamily: TimerFamily{Transform: b.stage.plan.Expiry.Transform, Family: b.stage.plan.Expiry.Family}}
		for i := range b.expired {
			c.Data = append(c.Data, b.expired[i].data()...)
		}
		yield(c, nil)
	}
}

// watch notes the keys and windows of the bundle's input as it is read, if the DoFn
// wants to hear of their end.
func (b *bundleTimers) watch(in iter.Seq2[[]byte, error]) iter.Seq2[[]byte, error] {
	if b == nil || b.shard.expiring == nil || !b.tells() {
		return in
	}
	b.seen = make(map[string]bool)
	return func(yield func([]byte, error) bool) {
		for data, err := range in {
			if err == nil {
				err = b.note(data)
			}
			if !yield(data, err) {
				return
			}
		}
	}
}

func (b *bundleTimers) note(data []byte) error {
	var e coders.Element
	var id []byte
	for len(data) > 0 {
		n, err := b.stage.elements().Next(data, &e)
		if err != nil {
			return fmt.Errorf("%w: %w", errCoder, err)
		}
		err = b.stage.eachWindow(&e, func(window []byte) error {
			if id = windowKey(id[:0], window, e.Key); !b.seen[string(id)] {
				b.seen[string(id)] = true
			}
			return nil
		})
		if err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// expire clears the state that goes with the bundle, and notes what it has written
// that will go one day. The bundle is over, and its state is not applied yet.
func (b *bundleTimers) expire(state *bundleState) error {
	if b == nil || b.shard.expiring == nil || (b.event == core.MaxTime && !b.tells()) {
		return nil
	}
	x := b.shard.expiring
	staged := state.staged()
	for cell := range staged.all() {
		window, key := cellOwner(cell)
		if err := x.touch(b.stage, window, key); err != nil {
			return err
		}
	}
	for id := range b.seen {
		window, key := cutPart(id)
		if err := x.touch(b.stage, window, key); err != nil {
			return err
		}
	}
	for i := range b.expired {
		e := &b.expired[i]
		group := keyGroup(keyHash([]byte(e.key)))
		for s, declared := range b.stage.states {
			cell := string(cellKey(nil, group, b.stage.slots.state, []byte(e.window), []byte(e.key), s.local))
			if declared.whole {
				staged.clearValue(cell, false)
			} else {
				staged.cell(cell).clear()
			}
		}
	}
	return nil
}

// take notes what the bundle writes to a timer family's stream.
func (b *bundleTimers) take(transform, family string, data []byte) error {
	f := TimerFamily{Transform: transform, Family: family}
	if b == nil || b.stage.timerScans[f] == nil {
		return fmt.Errorf("transform %s: timers for family %q, which it has not declared", transform, family)
	}
	b.setMu.Lock()
	defer b.setMu.Unlock()
	b.set = append(b.set, TimerChunk{TimerFamily: f, Data: data})
	return nil
}

// giveBack undoes the bundle's start: it has failed.
func (b *bundleTimers) giveBack() {
	if b != nil {
		b.shard.restore(b.fired)
	}
}

// settle applies what the bundle did to the shard's timers, and sums them up for
// the core. Nothing is changed if it fails.
//
// When processing time is over, which is when a drained job has read all, its timers
// fire whatever they wait for. One that sets itself again when it fires, as they do
// that look for something now and then, would go on for ever. So what a key and window
// sets in that domain when a timer of that domain has fired for it is dropped.
func (b *bundleTimers) settle() (*core.Timers, error) {
	if b == nil {
		return nil, nil
	}
	type change struct {
		timer timer
		clear string
	}
	var changes []change
	for _, c := range b.set {
		err := readTimers(c.TimerFamily, b.stage.timerScans[c.TimerFamily], c.Data,
			func(t timer) { changes = append(changes, change{timer: t}) },
			func(id string) { changes = append(changes, change{clear: id}) })
		if err != nil {
			return nil, err
		}
	}
	ended, err := b.ended()
	if err != nil {
		return nil, err
	}
	gone := make(map[string]bool, len(b.expired))
	for i := range b.expired {
		gone[b.expired[i].owner] = true
	}
	drop := func(t *timer) (bool, error) {
		if len(gone)+len(ended) == 0 && (b.shard.expiring == nil || t.domain == eventTime) {
			return false, nil
		}
		owner, err := b.stage.owner(t)
		if err != nil {
			return false, err
		}
		if gone[owner] || t.domain == processingTime && ended[owner] {
			return true, nil
		}
		if b.shard.expiring == nil || t.domain == eventTime {
			return false, nil
		}
		window, _ := cutPart(owner)
		_, due, err := b.stage.expiryOf([]byte(window))
		if !b.shard.expiring.lasts(due) {
			t.owner = owner
		}
		return due <= b.event && b.event != core.MaxTime, err
	}
	for i, c := range changes {
		if c.clear != "" {
			if _, err := b.shard.find([]byte(c.clear)); err != nil {
				return nil, err
			}
			continue
		}
		if _, err := b.shard.find([]byte(c.timer.id)); err != nil {
			return nil, err
		}
		late, err := drop(&changes[i].timer)
		if err != nil {
			return nil, err
		}
		if late {
			changes[i].clear = c.timer.id
		}
	}
	for _, t := range b.fired {
		b.shard.clear(t.id)
	}
	for _, c := range changes {
		if c.clear != "" {
			b.shard.clear(c.clear)
		} else {
			b.shard.set(c.timer)
		}
	}
	if x := b.shard.expiring; x != nil {
		for i := range b.expired {
			e := &b.expired[i]
			x.forget(e.window, e.key)
			x.unparked(e.owner)
			for id := range x.waiting[e.owner] {
				b.shard.clear(id)
			}
		}
		if err := x.unpark(b.stage); err != nil {
			return nil, err
		}
	}
	return b.shard.summary(), nil
}

// ended are the owners of timers in processing time that have fired at its end.
func (b *bundleTimers) ended() (map[string]bool, error) {
	if !b.over {
		return nil, nil
	}
	owners := make(map[string]bool)
	for _, t := range b.fired {
		if t.domain == processingTime {
			owner, err := b.stage.owner(t)
			if err != nil {
				return nil, err
			}
			owners[owner] = true
		}
	}
	return owners, nil
}

// waitedFor is whose state waits for a timer before it goes; nobody's if it is empty.
func (r *stageRun) waitedFor(t *timer) (owner string, err error) {
	if t.domain == eventTime || !r.expires() {
		return "", nil
	}
	if owner, err = r.owner(t); err != nil {
		return "", err
	}
	window, _ := cutPart(owner)
	_, due, err := r.expiryOf([]byte(window))
	if err != nil || r.plan.Expiry.Family == "" && lasting(due) {
		return "", err
	}
	return owner, nil
}

// findWaitedFor brings timers into memory that a key's state waits for.
func (r *stageRun) findWaitedFor(s *shardTimers, e *expired) error {
	if s.stored == nil || s.stored.total == len(s.byID) {
		return nil
	}
	for f, family := range r.timerScans {
		if family.domain != processingTime {
			continue
		}
		ids, err := s.stored.ids(timerIDs(f.Family, []byte(e.key), []byte(e.window)))
		if err != nil {
			return err
		}
		for _, id := range ids {
			if _, err := s.find(id); err != nil {
				return err
			}
		}
	}
	return nil
}

// owner tells apart the keys and windows that have timers: a stage has one transform
// with state. It fails for a timer that isn't what its family's coder writes: one from the store
// that another version of the pipeline has put there, or a fault of ours.
func (r *stageRun) owner(t *timer) (string, error) {
	var e coders.TimerElement
	family := r.timerScans[t.family]
	if family == nil {
		return "", fmt.Errorf("stage %s: a timer is of the family %s of transform %s, which the stage does not have", r.plan.Name, t.family.Family, t.family.Transform)
	}
	if _, err := family.scan.Next(t.data, &e); err != nil {
		return "", fmt.Errorf("stage %s: a timer of the family %s of transform %s can't be read: %x: %w", r.plan.Name, t.family.Family, t.family.Transform, t.data, err)
	}
	return string(windowKey(nil, e.Windows, e.Key)), nil
}
