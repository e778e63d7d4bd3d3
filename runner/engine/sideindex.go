package engine

import (
	"encoding/binary"
	"sort"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// windowKey joins a window and a key so that no two pairs give the same bytes.
func windowKey(dst, window, key []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(window)))
	dst = append(dst, window...)
	return append(dst, key...)
}

// memIndex is an index in memory. sideInput's lock guards it.
type memIndex struct {
	windows map[string]*memWindow
	// bytes is about what it takes.
	bytes int64
}

// memWindow is what is in a window: pages of elements, or by key pages of values.
type memWindow struct {
	all   pageList // elements, or a multimap's keys
	byKey map[string]*pageList
	bytes int64
	// pane is the newest so far, where only that counts.
	pane int64
}

// pageList is elements, one after another. A page ends with a whole element, so a reader
// may decode page by page.
type pageList [][]byte

func newMemIndex() *memIndex { return &memIndex{windows: make(map[string]*memWindow)} }

// entryBytes is about what a window or a key takes besides its elements.
const entryBytes = 128

func (x *memIndex) add(s *sideInput, blocks []core.Block) error {
	return s.each(blocks, func(window, whole []byte, e *coders.Element) error {
		w := x.windows[string(window)]
		if w == nil {
			w = &memWindow{}
			x.windows[string(window)] = w
			x.grow(w, entryBytes+len(window))
			if s.windows != nil {
				if err := s.windows.opened(window); err != nil {
					return err
				}
			}
		}
		if s.windows != nil && s.windows.latest {
			if err := x.newPane(w, e.Pane); err != nil {
				return err
			}
		}
		if !s.byKey {
			x.put(w, &w.all, whole)
			return nil
		}
		p := w.byKey[string(e.Key)]
		if p == nil {
			if w.byKey == nil {
				w.byKey = make(map[string]*pageList)
			}
			p = &pageList{}
			w.byKey[string(e.Key)] = p
			x.grow(w, entryBytes+len(e.Key))
			x.put(w, &w.all, e.Key)
		}
		x.put(w, p, e.Value)
		return nil
	})
}

// newPane forgets what earlier panes had.
func (x *memIndex) newPane(w *memWindow, pane []byte) error {
	p, _, err := coders.ReadPane(pane)
	if err != nil || p.Index <= w.pane {
		return err
	}
	x.bytes -= w.bytes
	*w = memWindow{pane: p.Index}
	return nil
}

func (x *memIndex) grow(w *memWindow, n int) {
	w.bytes += int64(n)
	x.bytes += int64(n)
}

func (x *memIndex) put(w *memWindow, p *pageList, element []byte) {
	if n := len(*p); n == 0 || (len((*p)[n-1]) > 0 && len((*p)[n-1])+len(element) > pageBytes) {
		*p = append(*p, nil)
	}
	last := &(*p)[len(*p)-1]
	*last = append(*last, element...)
	x.grow(w, len(element))
}

// forget drops a window.
func (x *memIndex) forget(window string) {
	if w := x.windows[window]; w != nil {
		x.bytes -= w.bytes
		delete(x.windows, window)
	}
}

func (x *memIndex) values(window, key, token []byte) (data, next []byte, err error) {
	w := x.windows[string(window)]
	if w == nil {
		return nil, nil, nil
	}
	if w.byKey == nil {
		return w.all.page(token)
	}
	return w.byKey[string(key)].page(token)
}

func (x *memIndex) keys(window, token []byte) (data, next []byte, err error) {
	w := x.windows[string(window)]
	if w == nil {
		return nil, nil, nil
	}
	return w.all.page(token)
}

// page returns the page that token names; a token is a page's number.
func (p *pageList) page(token []byte) (data, next []byte, err error) {
	if p == nil {
		return nil, nil, nil
	}
	i := uint64(0)
	if len(token) > 0 {
		var n int
		if i, n = binary.Uvarint(token); n != len(token) || i >= uint64(len(*p)) {
			return nil, nil, badCursor(token)
		}
	}
	if i+1 < uint64(len(*p)) {
		next = binary.AppendUvarint(nil, i+1)
	}
	return (*p)[i], next, nil
}

// diskIndex is an index on disk: one run sorted by window and key, and in memory where
// its extents begin. It is immutable.
type diskIndex struct{ run *sortedRun }

// sideExtent is the size of its extents at most: a lookup of a key reads one or two.
const sideExtent = 32 << 10

func buildDiskIndex(s *sideInput, blocks []core.Block) (*diskIndex, error) {
	// The time of a group is of no use here: the latest needs no window's end.
	g := &grouper{scan: s.scan, combiner: pipepb.OutputTime_LATEST_IN_PANE, stage: s.stage}
	c := newCollector(g, byWindow, s.keep, s.stage, 0)
	part := func(_ *coders.Element, whole []byte) (key, value []byte, err error) { return nil, whole, nil }
	if s.byKey {
		part = nil
	}
	room := s.keep.mem.share(8, 4<<10, 64<<20)
	held := int64(0)
	for i := range blocks {
		if err := c.add(blocks[i:i+1], part); err != nil {
			return nil, err
		}
		if held += blocks[i].Bytes; held > room {
			held = 0
			if err := c.flush(); err != nil {
				return nil, err
			}
		}
	}
	if len(c.gr.groups) > 0 {
		if err := c.flush(); err != nil {
			return nil, err
		}
	}
	_, runs, err := c.end()
	if err != nil {
		return nil, err
	}
	if len(runs) == 0 {
		return &diskIndex{&sortedRun{}}, nil
	}
	extent := min(s.keep.extentBytes(), sideExtent)
	if runs, err = mergeRuns(s.keep, s.stage, runs, extent, 1, g.combine); err != nil {
		return nil, err
	}
	x := &diskIndex{runs[0]}
	n := int64(0)
	for _, id := range x.run.first {
		n += int64(len(id)) + entryBytes
	}
	s.keep.count(memSides, n)
	return x, nil
}

// open returns a reader at the token, or in front of the first record whose id is
// not less than id.
func (x *diskIndex) open(id, token []byte) (*runReader, error) {
	r := &runReader{run: x.run}
	if len(token) > 0 {
		extent, n := binary.Uvarint(token)
		if n <= 0 || extent >= uint64(len(x.run.extents)) {
			return nil, badCursor(token)
		}
		off, m := binary.Uvarint(token[n:])
		if m <= 0 || n+m != len(token) {
			return nil, badCursor(token)
		}
		if err := r.load(int(extent)); err != nil {
			return nil, err
		}
		if off > uint64(len(r.data)) {
			return nil, badCursor(token)
		}
		r.off = int(off)
		return r, nil
	}
	// Its records may begin in the extent before the first that begins with it.
	i := sort.Search(len(x.run.first), func(i int) bool { return string(x.run.first[i]) >= string(id) })
	if len(x.run.extents) == 0 {
		return r, nil
	}
	return r, r.load(max(0, i-1))
}

func (r *runReader) position() []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(r.next-1)), uint64(r.off))
}

func (x *diskIndex) values(window, key, token []byte) (data, next []byte, err error) {
	id := windowKey(nil, window, key)
	r, err := x.open(id, token)
	if err != nil {
		return nil, nil, err
	}
	var rec record
	for {
		if len(data) >= pageBytes/2 {
			next = r.position()
		}
		ok, err := r.read(&rec)
		switch {
		case err != nil:
			return nil, nil, err
		case !ok || string(rec.id) > string(id):
			return data, nil, nil
		case string(rec.id) < string(id):
		case next != nil:
			return data, next, nil
		default:
			data = append(data, rec.values...)
		}
	}
}

func (x *diskIndex) keys(window, token []byte) (data, next []byte, err error) {
	prefix := windowKey(nil, window, nil)
	r, err := x.open(prefix, token)
	if err != nil {
		return nil, nil, err
	}
	var rec record
	var last []byte
	for {
		at := r.position()
		ok, err := r.read(&rec)
		if err != nil {
			return nil, nil, err
		}
		if !ok {
			return data, nil, nil
		}
		if len(rec.id) < len(prefix) || string(rec.id[:len(prefix)]) != string(prefix) {
			if string(rec.id) > string(prefix) {
				return data, nil, nil
			}
			continue
		}
		if last != nil && string(rec.id) == string(last) {
			continue
		}
		if len(data) >= pageBytes {
			return data, at, nil
		}
		last = append(last[:0], rec.id...)
		data = append(data, rec.id[len(prefix):]...)
	}
}
