package engine

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
	"github.com/summerbeam/summerbeam/statebackend"
)

// sorter hands a stage its elements in the order of their timestamps. They wait in
// state, in one ordered list for each key group, so that no more than a group's elements
// come into memory at once; that a key's are in order follows. A list has one timer: when
// its first element is due, and that it holds the watermark until then.
//
// An element is due when the watermark has passed it by the allowed lateness: what comes
// before it from then on is too late for its place, and dropped. Equal timestamps stay in
// order of arrival.
type sorter struct {
	*held
	scan     *coders.Windowed
	lateness int64 // ms
	lim      limits
}

func newSorter(s *graph.Stage, scan *coders.Windowed, shards int, lim limits, mem *memory) *sorter {
	return &sorter{
		held: newHeld(shards, mem), scan: scan,
		lateness: s.Input.Sorting.AllowedLateness, lim: lim,
	}
}

// sortRun is one run over one shard, which it has to itself.
type sortRun struct {
	*sorter
	read   reader
	staged *layer
	timers *shardTimers
	due    []*timer
	// until is the last timestamp that is due.
	until int64
	// groups are the key groups with something new or due, in order of first touch.
	groups map[int]*sortedGroup
	order  []*sortedGroup
	late   int64
}

// sortedGroup is a key group for the time of a run.
type sortedGroup struct {
	group int
	fresh []listEntry
	// first is the least timestamp in the list, core.MaxTime if it is empty.
	first int64
}

// mostSorted is about how many bytes one run hands on. What more is due comes in the next.
const mostSorted = 8 << 20

func (s *sorter) start(a core.GroupShard, store func() (statebackend.Reader, error)) *sortRun {
	shard := s.state[a.Shard]
	r := &sortRun{
		sorter: s, read: shard.reader(store), staged: newLayer(0), timers: s.timers[a.Shard],
		until: core.MaxTime - 1, groups: make(map[int]*sortedGroup),
	}
	if a.Event < core.MaxTime {
		r.until = max(a.Event, core.MinTime+s.lateness) - s.lateness
	}
	r.due = r.timers.take(a.Event, core.MinTime, math.MaxInt)
	return r
}

// run takes the shard's new elements and returns those that are due, in order.
func (r *sortRun) run(blocks []core.Block) ([]core.Block, error) {
	if err := r.insert(blocks); err != nil {
		return nil, err
	}
	for _, t := range r.due {
		if len(t.id) != 2 {
			return nil, fmt.Errorf("sorting: timer %x: %w", t.id, statebackend.ErrCorrupt)
		}
		if _, err := r.open(int(binary.BigEndian.Uint16([]byte(t.id)))); err != nil {
			return nil, err
		}
	}
	var out paneList
	for _, g := range r.order {
		slices.SortStableFunc(g.fresh, func(a, b listEntry) int { return cmp.Compare(a.sort, b.sort) })
		c := r.staged.cell(r.cell(g.group))
		c.list = g.fresh
		if len(g.fresh) > 0 {
			g.first = min(g.first, g.fresh[0].sort)
		}
		if g.first <= r.until && len(out.data) < mostSorted {
			if err := r.handOn(g, c, &out); err != nil {
				return nil, err
			}
		}
		for i := range c.list {
			r.staged.bytes += cellOverhead + int64(len(c.list[i].data))
		}
	}
	return out.blocks(r.lim), nil
}

// insert sorts the new elements into their groups.
func (r *sortRun) insert(blocks []core.Block) error {
	var e coders.Element
	for data, err := range render(blocks, nil) {
		if err != nil {
			return err
		}
		for len(data) > 0 {
			n, err := r.scan.Next(data, &e)
			if err != nil {
				return fmt.Errorf("%w: %w", errCoder, err)
			}
			if e.Timestamp < r.until {
				r.late++
			} else {
				g, err := r.open(keyGroup(keyHash(e.Key)))
				if err != nil {
					return err
				}
				// Blocks may be on loan from a file: state keeps bytes of its own.
				g.fresh = append(g.fresh, listEntry{sort: e.Timestamp, data: slices.Clone(data[:n])})
			}
			data = data[n:]
		}
	}
	return nil
}

func (r *sortRun) open(group int) (*sortedGroup, error) {
	if g := r.groups[group]; g != nil {
		return g, nil
	}
	g := &sortedGroup{group: group, first: core.MaxTime}
	t, err := r.timers.find([]byte(groupID(group)))
	if err != nil {
		return nil, err
	}
	if t != nil {
		g.first = t.hold
	}
	r.groups[group] = g
	r.order = append(r.order, g)
	return g, nil
}

// handOn takes what is due out of a group's list.
func (r *sortRun) handOn(g *sortedGroup, c *cell, out *paneList) error {
	key := r.cell(g.group)
	// From the first on, and not from the beginning: what was taken out lies before it, as
	// tombstones.
	due, err := r.read.entries(key, sortRange{g.first, r.until + 1})
	if err != nil {
		return err
	}
	n, _ := slices.BinarySearchFunc(c.list, r.until+1, func(e listEntry, t int64) int { return cmp.Compare(e.sort, t) })
	for _, e := range mergeEntries(due, c.list[:n]) {
		out.addElement(e.data, e.sort)
	}
	c.list = c.list[n:]
	if len(due) > 0 {
		c.clearRange(sortRange{everySort.from, r.until + 1})
	}
	g.first = core.MaxTime
	if len(c.list) > 0 {
		g.first = c.list[0].sort
	}
	first, found, err := r.read.firstEntry(key, r.until+1)
	if found {
		g.first = min(g.first, first)
	}
	return err
}

// settle sets the groups' timers. It can't fail: it is the run's last step.
func (r *sortRun) settle() *core.Timers {
	for _, g := range r.order {
		id := groupID(g.group)
		if g.first == core.MaxTime {
			r.timers.clear(id)
			continue
		}
		fire := int64(core.MaxTime - 1)
		if g.first < fire-r.lateness {
			fire = g.first + r.lateness
		}
		r.timers.set(timer{id: id, domain: eventTime, fire: fire, hold: g.first})
	}
	return r.timers.summary()
}

func (r *sortRun) changes() (*layer, int64) { return r.staged, r.late }

func (r *sortRun) cell(group int) string {
	return string(cellKey(nil, group, r.slot, nil, nil, cellSorted))
}

const cellSorted = "sorted"

func groupID(group int) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(group)))
}
