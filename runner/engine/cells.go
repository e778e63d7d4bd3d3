package engine

import (
	"encoding/binary"
	"slices"
	"sort"
)

// User state is made of cells: one for each state id, key and window. A cell is
// read through layers, from the newest down:
//
//	staged (the running bundle's) -> dirty (applied) -> frozen (being written) -> store
//
// A layer's cell says what it adds to the layers below, and whether it hides them
// (cleared). Layers are never changed once something lies on top of them, so
// readers need no lock: a shard has one bundle at a time, and only that bundle's
// end changes the shard's dirty layer.
type layer struct {
	// epoch is the number under which the layer will be written. A reader that
	// has this layer skips the store's records of this epoch and later: they are
	// the layer itself, on its way down.
	epoch uint64
	cells map[string]*cell
	// values are cells that are written whole; nil if there are none.
	values map[string]value
	// byWindow has the keys of values by their windowPrefix; nil if nobody asks for them.
	byWindow map[string][]string
	// expect is how many values there will be, perhaps.
	expect int
	// bytes is about what cells take in memory, valueBytes what values do.
	bytes, valueBytes int64
}

func newLayer(epoch uint64) *layer { return &layer{epoch: epoch, cells: make(map[string]*cell)} }

// cell is one layer's change to one cell. Of the three shapes a cell is of one,
// by its kind: a bag, a multimap (a map or a set), an ordered list.
type cell struct {
	// cleared hides all that lies below.
	cleared bool
	// bag is what is appended.
	bag []byte
	// sub are the multimap's bags by map key.
	sub map[string]*cell
	// list are the ordered list's new entries, in order of their sort keys, equal
	// ones in order of arrival; gone are the ranges it hides below.
	list []listEntry
	gone []sortRange
}

type listEntry struct {
	sort int64
	data []byte // sort key and value, as the SDK encoded them
}

// sortRange is [from, to).
type sortRange struct{ from, to int64 }

func (r sortRange) has(k int64) bool { return r.from <= k && k < r.to }

// empty says that the layer changes nothing.
func (l *layer) empty() bool { return len(l.cells) == 0 && len(l.values) == 0 }

// size is about what the layer takes in memory.
func (l *layer) size() int64 { return l.bytes + l.valueBytes }

func (l *layer) cell(key string) *cell {
	c := l.cells[key]
	if c == nil {
		c = &cell{}
		l.cells[key] = c
		l.bytes += int64(len(key)) + cellOverhead
	}
	return c
}

// cellOverhead is about what a cell takes besides its bytes.
const cellOverhead = 64

func (c *cell) clear() { *c = cell{cleared: true} }

func (c *cell) subcell(mapKey []byte) *cell {
	s := c.sub[string(mapKey)]
	if s == nil {
		if c.sub == nil {
			c.sub = make(map[string]*cell)
		}
		s = &cell{}
		c.sub[string(mapKey)] = s
	}
	return s
}

// insert puts an entry behind those of equal sort key.
func (c *cell) insert(e listEntry) {
	i := sort.Search(len(c.list), func(i int) bool { return c.list[i].sort > e.sort })
	c.list = slices.Insert(c.list, i, e)
}

// insertAll puts entries, which are in order, behind those of equal sort keys. A few are
// inserted, at the cost of where they go; of many each entry is moved once.
func (c *cell) insertAll(list []listEntry) {
	if len(list) < few {
		for _, e := range list {
			c.insert(e)
		}
		return
	}
	c.list = mergeEntries(c.list, list)
}

const few = 16

// mergeEntries merges two lists in order; of equal entries a's go first.
func mergeEntries(a, b []listEntry) []listEntry {
	switch {
	case len(b) == 0:
		return a
	case len(a) == 0:
		return b
	case a[len(a)-1].sort <= b[0].sort:
		return append(a[:len(a):len(a)], b...)
	}
	out := make([]listEntry, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if b[0].sort < a[0].sort {
			out, b = append(out, b[0]), b[1:]
		} else {
			out, a = append(out, a[0]), a[1:]
		}
	}
	return append(append(out, a...), b...)
}

// within are the cell's entries in a range.
func (c *cell) within(in sortRange) []listEntry {
	from := sort.Search(len(c.list), func(i int) bool { return c.list[i].sort >= in.from })
	to := sort.Search(len(c.list), func(i int) bool { return c.list[i].sort >= in.to })
	return c.list[from:max(from, to):max(from, to)]
}

// clearRange drops the list's entries in r, here and below.
func (c *cell) clearRange(r sortRange) {
	from := sort.Search(len(c.list), func(i int) bool { return c.list[i].sort >= r.from })
	to := sort.Search(len(c.list), func(i int) bool { return c.list[i].sort >= r.to })
	switch {
	case from >= to:
	case from == 0:
		c.list = c.list[to:]
	default:
		c.list = slices.Delete(c.list, from, to)
	}
	if c.cleared {
		return
	}
	// A list that is worked off from its head is cleared again and again, further each time.
	if n := len(c.gone); n > 0 && r.from <= c.gone[n-1].from && c.gone[n-1].to <= r.to {
		c.gone = c.gone[:n-1]
	}
	c.gone = append(c.gone, r)
}

// merge applies a newer layer on top of l and leaves the newer one to be dropped.
func (l *layer) merge(newer *layer) {
	l.bytes += newer.cellGrowth(l)
	l.mergeValues(newer)
	for key, n := range newer.cells {
		c := l.cells[key]
		if c == nil {
			l.cells[key] = n
			continue
		}
		c.merge(n)
	}
}

// growth is how many bytes more below takes once l is merged into it. It counts maps
// and lists that are cleared as if they stayed.
func (l *layer) growth(below *layer) int64 { return l.cellGrowth(below) + l.valueGrowth(below) }

func (l *layer) cellGrowth(below *layer) int64 {
	n := l.bytes
	if len(below.cells) == 0 {
		return n
	}
	for key, c := range l.cells {
		if b := below.cells[key]; b != nil {
			n -= int64(len(key)) + cellOverhead
			if c.cleared {
				n -= int64(len(b.bag))
			}
		}
	}
	return n
}

func (c *cell) merge(n *cell) {
	if n.cleared {
		*c = *n
		return
	}
	c.bag = append(c.bag, n.bag...)
	for k, s := range n.sub {
		if below := c.sub[k]; below != nil {
			below.merge(s)
			continue
		}
		if c.sub == nil {
			c.sub = make(map[string]*cell)
		}
		c.sub[k] = s
	}
	for _, r := range n.gone {
		c.clearRange(r)
	}
	c.insertAll(n.list)
}

// cellKey is a cell's key in the store and in the layers. It begins with the key
// group, which is what can be moved, and the owner's slot; every part carries its
// length, so no cell's key begins another's.
func cellKey(dst []byte, group, slot int, window, key []byte, id string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(group))
	dst = binary.BigEndian.AppendUint16(dst, uint16(slot))
	dst = appendPart(dst, window)
	dst = appendPart(dst, key)
	return appendPart(dst, id)
}

func appendPart[T ~string | ~[]byte](dst []byte, p T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(p)))
	return append(dst, p...)
}
