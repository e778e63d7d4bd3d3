package metamorphic

import (
	"slices"
	"sort"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
)

// remembering is the model of a stateful DoFn: elements one after the other, and timers in
// the order of their times as soon as they are due.
type remembering struct {
	*stateful
	lateness            int64
	in, out, processing int64
	owners              []*owner
	output              []item
	notes               []note
	late                int
}

// note is what the DoFn has seen of a key and window.
type note struct {
	key    string
	window window
	text   string
}

// owner is a key and window: its state and timers.
type owner struct {
	of     *remembering
	key    string
	window window
	at     int64 // of what it is called with
	timers []timer

	bag, value []int64
	sum, count int64
	entries    map[int64]int64
	members    map[int64]bool
	list       [][2]int64
}

type timer struct {
	tag        int
	clock      bool
	fire, hold int64
	free       bool
}

func newRemembering(p *program, start int64) *remembering {
	return &remembering{stateful: p.stateful, lateness: p.lateness, in: beginning, out: beginning, processing: start}
}

func (r *remembering) expiry(w window) int64 {
	return min(w.max()+r.lateness, mtime.EndOfGlobalWindowTime.Milliseconds())
}

func (r *remembering) take(it item) {
	if r.in > r.expiry(it.window) {
		r.late++
		return
	}
	i := slices.IndexFunc(r.owners, func(o *owner) bool { return o.key == it.key && o.window == it.window })
	if i < 0 {
		i = len(r.owners)
		r.owners = append(r.owners, &owner{of: r, key: it.key, window: it.window, entries: map[int64]int64{}, members: map[int64]bool{}})
	}
	o := r.owners[i]
	o.at = it.at
	text, _ := r.element(it.value, it.at, it.window, o)
	r.notes = append(r.notes, note{o.key, o.window, text})
	r.fire()
}

// fire fires what is due, and what that sets in turn, each key and window for itself.
func (r *remembering) fire() {
	for _, o := range r.owners {
		for {
			t := o.due(false, r.in)
			if t == nil {
				t = o.due(true, r.processing)
			}
			if t == nil {
				break
			}
			fired := *t
			o.clear(fired.tag, fired.clock)
			o.at = fired.hold
			text, _ := r.timer(fired.tag, fired.hold, o.window, o)
			r.notes = append(r.notes, note{o.key, o.window, text})
		}
	}
	out := r.in
	for _, o := range r.owners {
		for _, t := range o.timers {
			if !t.free {
				out = min(out, t.hold)
			}
		}
	}
	r.out = max(r.out, out)
}

// due is the first timer that is due.
func (o *owner) due(clock bool, now int64) *timer {
	var first *timer
	for i := range o.timers {
		if t := &o.timers[i]; t.clock == clock && t.fire <= now && (first == nil || t.fire < first.fire) {
			first = t
		}
	}
	return first
}

func (r *remembering) advance(to int64) {
	r.in = max(r.in, to)
	r.fire()
	// The end of time takes nothing with it: the clock may still call for what there is.
	r.owners = slices.DeleteFunc(r.owners, func(o *owner) bool { return r.in > r.expiry(o.window) && r.in < endOfTime })
}

func (r *remembering) pass(by int64) {
	r.processing += by
	r.fire()
}

func (r *remembering) sent() []item {
	out := r.output
	r.output = nil
	return out
}

func (r *remembering) watermark() int64 { return r.out }

func (r *remembering) next() int64 {
	next := never
	for _, o := range r.owners {
		for _, t := range o.timers {
			if t.clock {
				next = min(next, t.fire)
			}
		}
	}
	return next
}

func (o *owner) set(tag int, clock bool, fire, hold int64, free bool) {
	o.clear(tag, clock)
	o.timers = append(o.timers, timer{tag, clock, fire, hold, free})
}

func (o *owner) clear(tag int, clock bool) {
	o.timers = slices.DeleteFunc(o.timers, func(t timer) bool { return t.tag == tag && t.clock == clock })
}

func (o *owner) emit(v int64) {
	o.of.output = append(o.of.output, item{key: o.key, window: o.window, at: o.at, value: v})
}

func (o *owner) do(action string, v int64) (got []int64, err error) {
	switch action {
	case "bag add":
		o.bag = append(o.bag, v)
	case "bag read":
		got = slices.Sorted(slices.Values(o.bag))
	case "bag clear":
		o.bag = nil
	case "value write":
		o.value = []int64{v}
	case "value read":
		got = o.value
	case "value clear":
		o.value = nil
	case "sum add":
		o.sum += v
	case "sum read":
		got = []int64{o.sum}
	case "sum clear":
		o.sum = 0
	case "map put":
		o.entries[v%3] = v
	case "map get":
		if x, ok := o.entries[v%3]; ok {
			got = []int64{x}
		}
	case "map remove":
		delete(o.entries, v%3)
	case "map keys":
		for k := range o.entries {
			got = append(got, k)
		}
	case "map clear":
		clear(o.entries)
	case "set add":
		o.members[v%4] = true
	case "set has":
		if o.members[v%4] {
			got = []int64{v % 4}
		}
	case "set remove":
		delete(o.members, v%4)
	case "set keys":
		for k := range o.members {
			got = append(got, k)
		}
	case "set clear":
		clear(o.members)
	case "list add":
		o.list = append(o.list, [2]int64{v % 5, v})
		sort.SliceStable(o.list, func(i, j int) bool { return o.list[i][0] < o.list[j][0] })
	case "list read":
		got = o.between(0, 5)
	case "list range":
		got = o.between(1, 3)
	case "list clear range":
		o.list = slices.DeleteFunc(o.list, func(e [2]int64) bool { return 1 <= e[0] && e[0] < 3 })
	case "list clear":
		o.list = nil
	case "count":
		got = []int64{o.count}
		o.count++
	}
	if action == "map keys" || action == "set keys" {
		slices.Sort(got)
	}
	return got, nil
}

// between are the values of the list whose sort keys are in a range.
func (o *owner) between(from, to int64) (got []int64) {
	for _, e := range o.list {
		if from <= e[0] && e[0] < to {
			got = append(got, e[1])
		}
	}
	return got
}
