package engine

import (
	"slices"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
)

// collector gathers elements by group: in a table in memory as long as the budget
// allows, then in sorted runs. It does not know beforehand which it will be: a
// table that has become too large when memory is short is written as a run, and the
// next one begun.
type collector struct {
	g     *grouper
	order groupOrder
	keep  *keeper
	stage int

	table *groupTable
	gr    *grouped
	// loaded are the bytes read from disk that the table's values lie in.
	loaded int64
	// counted is what memGrouping holds of all this.
	counted int64
	runs    []*sortedRun

	e coders.Element // kept here, or each block would allocate one
}

// What a value and a group take in a table.
const (
	valueBytes = 16
	groupBytes = 96 + 2*4 // and two slots
)

// maxValues bounds a table's values, which are numbered by int32.
const maxValues = 1 << 30

func newCollector(g *grouper, order groupOrder, keep *keeper, stage int, elements int64) *collector {
	room := elements
	if keep != nil {
		room = min(room, keep.mem.share(16*valueBytes, 16, 1<<24))
	}
	return &collector{
		g: g, order: order, keep: keep, stage: stage,
		table: newGroupTable(room),
		gr:    &grouped{values: make([]valueRef, 0, room)},
	}
}

// partOf says what of an element is collected, under what key. The value is the
// element's last part or all of it. nil: the parts of a KV.
type partOf func(e *coders.Element, whole []byte) (key, value []byte, err error)

// add gathers blocks.
func (c *collector) add(blocks []core.Block, part partOf) error {
	for i := range blocks {
		data, err := payloadBytes(blocks[i].Payload)
		if err != nil {
			return err
		}
		if _, ok := blocks[i].Payload.(*spilled); ok {
			c.loaded += int64(len(data))
		}
		if err := c.addData(data, part); err != nil {
			return err
		}
		c.count()
		if c.tooLarge() {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *collector) addData(data []byte, part partOf) error {
	e := &c.e
	at := uint32(len(c.gr.blocks))
	c.gr.blocks = append(c.gr.blocks, data)
	for off := 0; off < len(data); {
		n, err := c.g.scan.Next(data[off:], e)
		if err != nil {
			return err
		}
		off += n
		key, value := e.Key, e.Value
		if part != nil {
			if key, value, err = part(e, data[off-len(e.Key)-len(e.Value):off]); err != nil {
				return err
			}
		}
		hash := keyHash(key)
		ref := valueRef{block: at, off: uint32(off - len(value)), n: uint32(len(value)), next: noValue}
		windows := e.Windows
		for range e.NumWindows {
			wn, err := c.g.scan.NextWindow(windows)
			if err != nil {
				return err
			}
			if err := c.g.add(c.gr, c.table, tableHash(hash, windows[:wn]), key, windows[:wn], e.Timestamp, ref); err != nil {
				return err
			}
			windows = windows[wn:]
		}
	}
	return nil
}

// count brings the books up to date.
func (c *collector) count() {
	n := c.loaded + int64(cap(c.gr.values))*valueBytes + int64(cap(c.gr.groups))*groupBytes
	c.keep.count(memGrouping, n-c.counted)
	c.counted = n
}

func (c *collector) tooLarge() bool {
	if len(c.gr.values) >= maxValues {
		return true
	}
	if c.keep == nil || !c.keep.mem.full() {
		return false
	}
	used := c.loaded + int64(len(c.gr.values))*valueBytes + int64(len(c.gr.groups))*groupBytes
	return used >= c.keep.tableBytes()
}

// flush writes the table as a run and begins another.
func (c *collector) flush() error {
	r, err := c.gr.writeRun(c.keep, c.stage, c.order)
	if err != nil {
		return err
	}
	c.runs = append(c.runs, r)
	clear(c.gr.blocks)
	clear(c.gr.groups)
	c.gr.blocks, c.gr.groups, c.gr.values = c.gr.blocks[:0], c.gr.groups[:0], c.gr.values[:0]
	c.table.clear()
	c.loaded = 0
	c.count()
	return nil
}

// end returns what was collected: a table, which stays on the books as counted, or
// runs.
func (c *collector) end() (*grouped, []*sortedRun, error) {
	if len(c.runs) == 0 {
		return c.gr, nil, nil
	}
	if len(c.gr.groups) > 0 {
		if err := c.flush(); err != nil {
			return nil, nil, err
		}
	}
	c.keep.count(memGrouping, -c.counted)
	return nil, c.runs, nil
}

// writeRun writes the groups in order.
func (gr *grouped) writeRun(keep *keeper, stage int, order groupOrder) (*sortedRun, error) {
	type entry struct {
		prefix uint64
		group  int32
	}
	sorted := make([]entry, len(gr.groups))
	var id, other []byte
	var err error
	for i := range gr.groups {
		if id, err = order.appendID(id[:0], gr.groups[i].key, gr.groups[i].window); err != nil {
			return nil, err
		}
		sorted[i] = entry{prefixOf(id), int32(i)}
	}
	slices.SortFunc(sorted, func(a, b entry) int {
		if a.prefix != b.prefix {
			return compareIDs(a.prefix, b.prefix, nil, nil)
		}
		// Errors were found above.
		ga, gb := &gr.groups[a.group], &gr.groups[b.group]
		id, _ = order.appendID(id[:0], ga.key, ga.window)
		other, _ = order.appendID(other[:0], gb.key, gb.window)
		return compareIDs(0, 0, id, other)
	})
	w := newRunWriter(keep, stage, keep.extentBytes())
	for _, e := range sorted {
		g := &gr.groups[e.group]
		id, _ = order.appendID(id[:0], g.key, g.window)
		if err := w.begin(id, g.out); err != nil {
			return nil, err
		}
		for v := g.first; v != noValue; v = gr.values[v].next {
			r := &gr.values[v]
			if err := w.values(1, gr.blocks[r.block][r.off:r.off+r.n]); err != nil {
				return nil, err
			}
		}
		w.end()
	}
	return w.close()
}
