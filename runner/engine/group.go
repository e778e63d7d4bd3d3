package engine

import (
	"fmt"
	"math"
	"sort"
	"sync/atomic"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// grouper groups a shard's elements by key and window, for input that is complete
// and the default trigger: one pane for each key and window. Compiled once per
// stage; immutable.
type grouper struct {
	scan     *coders.Windowed
	combiner pipepb.OutputTime_Enum
	// merging: windows that touch become one, as the sessions WindowFn has it.
	merging bool
	lim     limits
	stage   int
	// stateBacked: the reader takes iterables whose values it asks for page by page.
	stateBacked bool
}

func compileGrouper(plan *graph.Plan, s *graph.Stage, lim limits) (*grouper, error) {
	scan, err := coders.CompileWindowed(plan.Coders, s.Input.Coder)
	if err != nil {
		return nil, fmt.Errorf("stage %s: grouping %s: %w", s.Name, s.Input.Grouping.Transform, err)
	}
	st := s.Input.Grouping.Strategy
	return &grouper{
		scan:     scan,
		combiner: st.GetOutputTime(),
		merging:  st.GetMergeStatus() == pipepb.MergeStatus_NEEDS_MERGE,
		lim:      lim,
		stage:    s.Index,

		stateBacked: readsStateBacked(plan, s),
	}, nil
}

// grouped is a shard's elements by group. The values stay where they are, in the
// blocks; a group is a list of references to them, in order of arrival.
type grouped struct {
	blocks [][]byte
	groups []group
	values []valueRef
	// stateBacked is the grouper's.
	stateBacked bool

	// What memGrouping has of it, and how many groups are yet to be applied.
	keep    *keeper
	counted int64
	left    atomic.Int64
}

type group struct {
	hash        uint64
	key, window []byte
	// out is the timestamp of the group's pane (ms).
	out         int64
	count       int32
	first, last int32 // indexes into values
	bytes       int
}

// valueRef is one value: a slice of a block, and the next value of its group.
type valueRef struct {
	block, off, n uint32
	next          int32
}

// end of a list of values.
const noValue = -1

// ontimePane is the pane of a group that fires once, when its window's end is
// reached, and never again: first, last, on time, index 0.
var ontimePane = coders.AppendPane(nil, coders.Pane{First: true, Last: true, Timing: coders.OnTime})

// group returns the shard's groups as blocks of about lim's size, and takes the
// elements, blocks, off the books. If the groups fit in memory, rendering their
// bytes is left to the bundle that reads them.
func (g *grouper) group(keep *keeper, blocks []core.Block) ([]core.Block, error) {
	var elements int64
	for i := range blocks {
		elements += blocks[i].Count
	}
	c := newCollector(g, g.order(), keep, g.stage, elements)
	if err := c.add(blocks, nil); err != nil {
		return nil, err
	}
	gr, runs, err := c.end()
	if err != nil {
		return nil, err
	}
	if gr == nil {
		// The elements are in the runs. Those in memory stay on the books to the end,
		// since the core has them till then.
		inMem, onDisk := splitPayloads(blocks)
		keep.drop(onDisk)
		out, err := g.merged(keep, runs)
		if err == nil {
			keep.drop(inMem)
		}
		return out, err
	}
	if g.merging {
		if err := gr.mergeWindows(g); err != nil {
			return nil, err
		}
	}
	gr.stateBacked = g.stateBacked
	gr.own(keep, c.counted, blocks)
	return gr.cut(g.lim), nil
}

func (g *grouper) order() groupOrder {
	if g.merging {
		return bySession
	}
	return byKey
}

// own puts the elements, which the groups' values are parts of, on the groups' books.
func (gr *grouped) own(keep *keeper, counted int64, blocks []core.Block) {
	if keep == nil {
		return
	}
	var n int64
	for i := range blocks {
		if p, ok := blocks[i].Payload.(inMemory); ok {
			n += int64(len(p))
		}
	}
	keep.count(memGrouping, n)
	keep.drop(blocks)
	gr.keep, gr.counted = keep, counted+n
	gr.left.Store(int64(len(gr.groups)))
	gr.release(0)
}

// release says that so many groups have been applied. All share their memory: it
// goes with the last.
func (gr *grouped) release(groups int) {
	if gr.left.Add(-int64(groups)) == 0 {
		gr.keep.count(memGrouping, -gr.counted)
		gr.counted = 0
	}
}

func (g *grouper) add(gr *grouped, t *groupTable, hash uint64, key, window []byte, ts int64, ref valueRef) error {
	i, found := t.find(gr.groups, hash, key, window)
	if !found {
		out := ts
		if g.atWindowEnd() {
			var err error
			if out, err = g.scan.WindowMax(window); err != nil {
				return err
			}
		}
		gr.groups = append(gr.groups, group{hash: hash, key: key, window: window, out: out, first: noValue, last: noValue})
	}
	grp := &gr.groups[i]
	grp.out = g.combine(grp.out, ts)
	v := int32(len(gr.values))
	gr.values = append(gr.values, ref)
	gr.link(grp, v, v, 1, int(ref.n))
	return nil
}

// link appends a list of values to a group.
func (gr *grouped) link(g *group, first, last, count int32, bytes int) {
	if g.last == noValue {
		g.first = first
	} else {
		gr.values[g.last].next = first
	}
	g.last = last
	g.count += count
	g.bytes += bytes
}

// mergeWindows joins, key by key, the windows that intersect: the rule of Beam's
// sessions WindowFn.
func (gr *grouped) mergeWindows(g *grouper) error {
	type span struct {
		coders.IntervalWindow
		group int
	}
	byKey := make(map[string][]span, len(gr.groups))
	var keys []string
	for i := range gr.groups {
		w, _, err := coders.ReadIntervalWindow(gr.groups[i].window)
		if err != nil {
			return err
		}
		k := string(gr.groups[i].key)
		if _, ok := byKey[k]; !ok {
			keys = append(keys, k)
		}
		byKey[k] = append(byKey[k], span{w, i})
	}
	var out []group
	for _, k := range keys {
		spans := byKey[k]
		sort.Slice(spans, func(i, j int) bool {
			a, b := &spans[i], &spans[j]
			return a.Start < b.Start || a.Start == b.Start && a.End < b.End
		})
		for i := 0; i < len(spans); {
			merged := spans[i].IntervalWindow
			grp := gr.groups[spans[i].group]
			j := i + 1
			for ; j < len(spans) && spans[j].Start < merged.End; j++ {
				merged.End = max(merged.End, spans[j].End)
				o := gr.groups[spans[j].group]
				gr.link(&grp, o.first, o.last, o.count, o.bytes)
				if g.combiner == pipepb.OutputTime_LATEST_IN_PANE {
					grp.out = max(grp.out, o.out)
				} else {
					grp.out = min(grp.out, o.out)
				}
			}
			grp.window = coders.AppendIntervalWindow(nil, merged)
			if g.atWindowEnd() {
				grp.out = merged.Max()
			}
			out = append(out, grp)
			i = j
		}
	}
	gr.groups = out
	return nil
}

// groupChunk is a block's payload: some neighbouring groups.
type groupChunk struct {
	of       *grouped
	from, to int
}

// groupOverhead is about what a group takes besides its key and values.
const groupOverhead = 32

func (gr *grouped) cut(lim limits) []core.Block {
	var out []core.Block
	for from := 0; from < len(gr.groups); {
		bytes, to := 0, from
		for to < len(gr.groups) && (to == from || bytes < lim.blockBytes) && int64(to-from) < lim.blockElements {
			size := gr.groups[to].size()
			if to > from && size > pageBytes {
				break // a large group is a block, and so a bundle, of its own
			}
			bytes += size
			to++
		}
		out = append(out, gr.block(from, to))
		from = to
	}
	return out
}

// block makes a block of the groups [from, to).
func (gr *grouped) block(from, to int) core.Block {
	b := core.Block{Count: int64(to - from), Hold: math.MaxInt64, Payload: &groupChunk{of: gr, from: from, to: to}}
	for i := from; i < to; i++ {
		b.Bytes += int64(gr.groups[i].size())
		b.Hold = min(b.Hold, gr.groups[i].out)
	}
	return b
}

func (g *group) size() int { return g.bytes + len(g.key) + len(g.window) + groupOverhead }

// groupTable is an open-addressed hash table of indexes into a slice of groups.
type groupTable struct {
	slots []int32 // index + 1, 0 for empty
	used  int
}

func newGroupTable(elements int64) *groupTable {
	n := 64
	for int64(n) < elements/4 && n < 1<<20 {
		n *= 2
	}
	return &groupTable{slots: make([]int32, n)}
}

// find returns the group of key and window, or the index the caller must append
// it at.
func (t *groupTable) find(groups []group, hash uint64, key, window []byte) (int, bool) {
	if 2*t.used >= len(t.slots) {
		t.grow(groups)
	}
	mask := uint64(len(t.slots) - 1)
	for p := slotOf(hash) & mask; ; p = (p + 1) & mask {
		s := t.slots[p]
		if s == 0 {
			t.slots[p] = int32(len(groups)) + 1
			t.used++
			return len(groups), false
		}
		g := &groups[s-1]
		if g.hash == hash && string(g.key) == string(key) && string(g.window) == string(window) {
			return int(s - 1), true
		}
	}
}

// slotOf leaves out the low bits, which are the key group's: within a shard they
// are much alike.
func slotOf(hash uint64) uint64 { return hash >> 10 }

func (t *groupTable) clear() {
	clear(t.slots)
	t.used = 0
}

func (t *groupTable) grow(groups []group) {
	t.slots = make([]int32, 2*len(t.slots))
	mask := uint64(len(t.slots) - 1)
	for i := range groups {
		p := slotOf(groups[i].hash) & mask
		for t.slots[p] != 0 {
			p = (p + 1) & mask
		}
		t.slots[p] = int32(i) + 1
	}
}
