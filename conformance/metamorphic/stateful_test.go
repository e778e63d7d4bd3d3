package metamorphic

import (
	"fmt"
	"strings"

	"pgregory.net/rapid"
)

// stateful is a drawn stateful DoFn. What it does with an element says the element's value,
// what with a timer the timer's tag. Its fields are the pipeline's, so they are exported.
type stateful struct {
	// Ops by opOf. The first sets no timers: elements that come late have that one.
	Ops []op
	// Tags of timers.
	Tags []tag
}

// op is what happens for an element or a timer.
type op struct {
	// Do are actions on state, see memory.do.
	Do []string
	// Emit says that something is put out.
	Emit bool
	// Timer is "", "set" or "clear", of the timer Tag; Delay says when it fires.
	Timer string
	Tag   int
	Delay int64
}

// tag is a timer: of them all, those with an output timestamp hold the watermark for what
// they put out.
type tag struct {
	// Clock: it waits for processing time.
	Clock bool
	// Early: its output timestamp is before it fires. Free: it has none.
	Early, Free bool
	Op          op
}

const ops = 4

func opOf(value int64) int { return int(value / keys % ops) }

var actions = []string{
	"bag add", "bag add", "bag read", "bag clear", "value write", "value read", "value clear",
	"sum add", "sum read", "sum clear", "map put", "map put", "map get", "map remove", "map keys", "map clear",
	"set add", "set add", "set has", "set remove", "set keys", "set clear",
	"list add", "list add", "list read", "list range", "list clear range", "list clear",
}

func drawStateful(t *rapid.T, windows windowing) *stateful {
	s := &stateful{}
	for i := range 3 {
		g := tag{Early: rapid.Bool().Draw(t, "early"), Free: rapid.IntRange(0, 4).Draw(t, "free") == 0}
		// State in a window goes with the window, whatever the clock says: that is
		// not for this test.
		g.Clock = i == 2 && windows.kind == "global"
		g.Free = g.Free && !g.Clock
		s.Tags = append(s.Tags, g)
	}
	for i := range ops {
		s.Ops = append(s.Ops, drawOp(t, i > 0))
	}
	for i := range s.Tags {
		g := &s.Tags[i]
		// Without an output timestamp it has no place for what it would put out or set.
		g.Op = drawOp(t, !g.Free && !g.Clock)
		g.Op.Emit = g.Op.Emit && !g.Free
		// The Go SDK fires a timer that another has cleared in the same bundle
		// (docs/upstream.md).
		if g.Op.Timer == "clear" || s.Tags[g.Op.Tag].Clock {
			g.Op.Timer = ""
		}
	}
	return s
}

func drawOp(t *rapid.T, timers bool) op {
	// One action on each state: the Go SDK forgets what was written when the same call reads
	// it and there was nothing before (docs/upstream.md).
	state := func(action string) string { return strings.Fields(action)[0] }
	o := op{
		Do:   rapid.SliceOfNDistinct(rapid.SampledFrom(actions), 1, 3, state).Draw(t, "actions"),
		Emit: rapid.Bool().Draw(t, "emit"),
	}
	if timers {
		o.Timer = rapid.SampledFrom([]string{"", "set", "set", "set", "clear"}).Draw(t, "timer")
		o.Tag = rapid.IntRange(0, 2).Draw(t, "tag")
		o.Delay = rapid.Int64Range(0, 12).Draw(t, "delay")
	}
	return o
}

// memory is what the DoFn can touch: state and timers of a key and window, and its output.
// In the model these are Go's own maps and slices, in a pipeline they are Beam's.
type memory interface {
	// do does one of the actions, and returns what was read, in an order of its own.
	do(action string, v int64) ([]int64, error)
	// set sets a timer; its output timestamp is hold, or it has none if free.
	set(tag int, clock bool, fire, hold int64, free bool)
	clear(tag int, clock bool)
	emit(v int64)
}

// most is how many timers of a key and window may be set by timers.
const most = 4

// act is the DoFn's code, for a value at a time (ms). timer says that a timer has fired.
func (s *stateful) act(o op, v, at int64, w window, timer bool, m memory) (note string, err error) {
	for _, a := range o.Do {
		got, err := m.do(a, v)
		if err != nil {
			return "", fmt.Errorf("%s: %w", a, err)
		}
		note += fmt.Sprintf(" %s%v", a, got)
	}
	if o.Emit {
		m.emit(v)
	}
	g := s.Tags[o.Tag]
	switch {
	case o.Timer == "clear":
		m.clear(o.Tag, g.Clock)
	case o.Timer == "set" && g.Clock:
		m.set(o.Tag, true, start+5*o.Delay, at, false)
	case o.Timer == "set":
		if timer {
			set, err := m.do("count", 0)
			if err != nil || set[0] >= most {
				return note, err
			}
		}
		// No two timers of a key and window fire at the same time: their order is open.
		fire := at + 2 + o.Delay
		for fire%3 != int64(o.Tag) {
			fire++
		}
		if fire > w.max() {
			break
		}
		hold := fire
		if g.Early {
			hold -= 2
		}
		m.set(o.Tag, false, fire, hold, g.Free)
	}
	return note, nil
}

func (s *stateful) element(v, at int64, w window, m memory) (string, error) {
	note, err := s.act(s.Ops[opOf(v)], v, at, w, false, m)
	return fmt.Sprintf("element %d at %d:%s", v, at, note), err
}

func (s *stateful) timer(tag int, at int64, w window, m memory) (string, error) {
	if s.Tags[tag].Free {
		at = 0
	}
	note, err := s.act(s.Tags[tag].Op, 1_000_000+10*at+int64(tag), at, w, true, m)
	return fmt.Sprintf("timer %d at %d:%s", tag, at, note), err
}
