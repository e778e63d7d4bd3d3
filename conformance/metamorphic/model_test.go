package metamorphic

import (
	"fmt"
	"slices"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// pane is one that a grouping has sent on.
type pane struct {
	grouping    int
	key         string
	window      window
	timestamp   int64
	timing      string
	first, last bool
	// index counts all panes of a key and window, settled those that are not early: it
	// is -1 for an early one.
	index, settled int64
	values         []int64 // sorted
}

func (p pane) String() string {
	if p.timing == "" { // a sum
		return fmt.Sprintf("grouping %d: %s %v at %d: %v", p.grouping, p.key, p.window, p.timestamp, p.values)
	}
	flags := ""
	if p.first {
		flags += " first"
	}
	if p.last {
		flags += " last"
	}
	return fmt.Sprintf("grouping %d: %s %v #%d,%d %s%s at %d: %v", p.grouping, p.key, p.window, p.index, p.settled, p.timing, flags, p.timestamp, p.values)
}

func (p pane) sum() (sum int64) {
	for _, v := range p.values {
		sum += v
	}
	return sum
}

// model groups as Beam's model has it, one element and one window after the other. The
// rules of panes and holds are those of the Java SDK's runner library (ReduceFnRunner,
// PaneInfoTracker, WatermarkHold), since the model's documents have none.
type model struct {
	*grouping
	windows  windowing
	lateness int64
	// number is its place among the groupings of its program.
	number int
	// in and out are the grouping's watermarks, processing its clock.
	in, out, processing int64
	cells               []*cell
	panes               []pane
	// told is how many of the panes sent has returned.
	told int
	// unclear: the model leaves it open how a pane came; see pass.
	unclear bool
	late    int
}

// cell is a key and window.
type cell struct {
	key    string
	window window
	firing *firing
	// buffer are the values of the next pane, fresh says that some came since the last.
	buffer []int64
	fresh  bool
	// holds are the times that elements of the next pane hold the watermark at. waits
	// says that it is also held where the window expires.
	holds []int64
	waits bool
	// panes and settled count those sent.
	panes, settled int64
	ended, gone    bool
}

const (
	beginning int64 = -1 << 62
	endOfTime       = int64(1) << 62
)

// expiry is the last moment at which a window takes elements.
func (m *model) expiry(w window) int64 {
	return min(w.max()+m.lateness, mtime.EndOfGlobalWindowTime.Milliseconds())
}

func (m *model) moment(c *cell) moment {
	return moment{processing: m.processing, ended: m.in > c.window.max()}
}

func (m *model) take(it item) {
	c := m.place(it.key, it.window)
	if c == nil || c.firing.done {
		m.late++ // the window has expired, or its trigger will not fire any more
		return
	}
	c.buffer, c.fresh = append(c.buffer, it.value), true
	m.hold(c, it.at)
	c.firing.element(m.moment(c))
	m.ask(c)
	m.settle()
}

// sent returns an item for each pane: the sum of its values.
func (m *model) sent() (items []item) {
	for _, p := range m.panes[m.told:] {
		items = append(items, item{key: p.key, window: p.window, at: p.timestamp, value: p.sum()})
	}
	m.told = len(m.panes)
	return items
}

func (m *model) watermark() int64 { return m.out }

func (m *model) next() int64 {
	next := never
	for _, c := range m.cells {
		if !c.gone && !c.firing.done {
			c.firing.deadlines(func(at int64) {
				if at > m.processing {
					next = min(next, at)
				}
			})
		}
	}
	return next
}

// open returns the cell of a key and window, or nil if the window has expired.
func (m *model) open(key string, w window) *cell {
	if m.in > m.expiry(w) {
		return nil
	}
	for _, c := range m.cells {
		if c.key == key && c.window == w && !c.gone {
			return c
		}
	}
	// One that is opened behind its end has no end to come: its trigger is asked when elements come.
	c := &cell{key: key, window: w, firing: m.trigger.start(m.windows.merging()), ended: m.in > w.max()}
	m.cells = append(m.cells, c)
	return c
}

// hold makes an element hold the watermark, if it is not too late for that.
func (m *model) hold(c *cell, at int64) {
	if m.output == pipepb.OutputTime_END_OF_WINDOW {
		at = c.window.max()
	}
	if at < m.out || m.moment(c).ended {
		c.waits = true
		return
	}
	c.holds = append(c.holds, at)
}

// ask lets the trigger fire if it wants to.
func (m *model) ask(c *cell) {
	if c.gone || c.firing.done || !c.firing.ready(m.moment(c)) {
		return
	}
	c.firing.fire(m.moment(c))
	m.send(c, c.firing.done, m.out)
	if c.firing.done {
		c.buffer, c.holds, c.waits = nil, nil, false
		return
	}
	// The pane of the window's end of life may be sent though nothing comes any more.
	c.waits = m.closing == pipepb.ClosingBehavior_EMIT_ALWAYS
}

// send closes the pane, and sends it on if it isn't an empty one that nobody wants.
func (m *model) send(c *cell, last bool, out int64) {
	p := pane{
		grouping: m.number, key: c.key, window: c.window, timestamp: c.window.max(),
		first: c.panes == 0, last: last, index: c.panes, settled: c.settled,
		values: slices.Sorted(slices.Values(c.buffer)),
	}
	switch {
	case out > c.window.max(), c.settled > 0:
		p.timing = "late"
	case m.in > c.window.max():
		p.timing = "on-time"
	default:
		p.timing, p.settled = "early", -1
	}
	if len(c.holds) > 0 {
		switch m.output {
		case pipepb.OutputTime_EARLIEST_IN_PANE:
			p.timestamp = slices.Min(c.holds)
		case pipepb.OutputTime_LATEST_IN_PANE:
			p.timestamp = slices.Max(c.holds)
		}
	}
	fresh := c.fresh
	c.fresh, c.holds, c.waits = false, nil, false
	if m.mode == pipepb.AccumulationMode_DISCARDING {
		c.buffer = nil
	}
	if fresh || p.timing == "on-time" && m.onTime == pipepb.OnTimeBehavior_FIRE_ALWAYS || last && m.closing == pipepb.ClosingBehavior_EMIT_ALWAYS {
		m.panes = append(m.panes, p)
		c.panes++
		if p.timing != "early" {
			c.settled++
		}
	}
}

// pass moves the processing time on.
//
// When several windows fire at once, and what was in one of them held the watermark before
// the end of another, that other's pane is on time if it is sent first, and late if not.
func (m *model) pass(by int64) {
	before, sent := m.processing, len(m.panes)
	m.processing += by
	for _, c := range m.cells {
		due := false
		c.firing.deadlines(func(at int64) { due = due || before < at && at <= m.processing })
		if due {
			m.ask(c)
		}
	}
	m.settle()
	if len(m.panes) > sent+1 {
		for _, p := range m.panes[sent:] {
			m.unclear = m.unclear || p.timing == "on-time" && m.out > p.window.max()
		}
	}
}

// advance moves the watermark on.
func (m *model) advance(to int64) {
	m.in = max(m.in, to)
	for _, c := range m.cells {
		if c.gone || m.in <= c.window.max() {
			continue
		}
		out := m.out
		if m.expiry(c.window) > c.window.max() {
			if !c.ended {
				c.ended = true
				m.ask(c)
			}
			// From the end of a window to its expiry takes time, also if the watermark
			// leaps over both.
			if len(c.holds) == 0 {
				out = max(out, c.window.max()+1)
			}
		}
		if m.in > m.expiry(c.window) {
			// The last pane, whatever the trigger says.
			if !c.firing.done {
				m.send(c, true, out)
			}
			c.gone, c.holds, c.waits = true, nil, false
		}
	}
	m.settle()
}

// settle lets the output watermark follow.
func (m *model) settle() {
	out := m.in
	for _, c := range m.cells {
		if m.output == pipepb.OutputTime_LATEST_IN_PANE && len(c.holds) > 0 {
			out = min(out, slices.Max(c.holds))
		} else if len(c.holds) > 0 {
			out = min(out, slices.Min(c.holds))
		}
		if c.waits {
			out = min(out, m.expiry(c.window))
		}
	}
	m.out = max(m.out, out)
}
