package engine

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// merged merges a shard's runs and returns the groups as blocks of rendered
// elements. A group that is large becomes a block of its own, whose values stay on
// disk.
func (g *grouper) merged(keep *keeper, runs []*sortedRun) ([]core.Block, error) {
	extent := keep.extentBytes()
	runs, err := mergeRuns(keep, g.stage, runs, extent, fanIn, g.combine)
	if err != nil {
		return nil, err
	}
	m, err := newMerger(keep, runs, extent)
	if err != nil {
		return nil, err
	}
	defer m.close()
	w := groupWriter{g: g, keep: keep, order: g.order(), page: int(keep.mem.share(2*keep.slots, 1<<10, pageBytes))}
	for {
		rec, err := m.next()
		if err != nil {
			return nil, err
		}
		if rec == nil {
			return w.close()
		}
		if err := w.add(rec); err != nil {
			return nil, err
		}
	}
}

// groupWriter makes blocks of records that come in the order of their ids.
type groupWriter struct {
	g     *grouper
	keep  *keeper
	order groupOrder
	// page is how much of one group is gathered before it goes to disk by itself.
	page int

	out []core.Block
	// buf is the open block.
	buf  []byte
	span span

	// The open group: what it has in memory and, before that, on disk.
	open     bool
	id       []byte
	window   coders.IntervalWindow // merging only
	outTime  int64
	count    int64
	values   []byte
	pages    []*spilled
	pageSize int64
}

func (w *groupWriter) add(rec *record) error {
	same, err := w.belongs(rec)
	if err != nil {
		return err
	}
	if !same {
		if err := w.endGroup(); err != nil {
			return err
		}
		if err := w.begin(rec); err != nil {
			return err
		}
	}
	w.outTime = w.g.combine(w.outTime, rec.out)
	if len(w.values) > 0 && len(w.values)+len(rec.values) > w.page {
		if err := w.flushPage(); err != nil {
			return err
		}
	}
	w.values = append(w.values, rec.values...)
	w.count += int64(rec.count)
	return nil
}

// belongs says that a record is of the open group; merging, it widens its window.
func (w *groupWriter) belongs(rec *record) (bool, error) {
	if !w.open || !w.g.merging {
		return w.open && string(w.id) == string(rec.id), nil
	}
	n := len(rec.id) - 16
	if n < 0 {
		return false, errBadRun
	}
	if len(w.id) != len(rec.id) || string(w.id[:n]) != string(rec.id[:n]) {
		return false, nil
	}
	iv, err := readSession(rec.id[n:])
	if err != nil {
		return false, err
	}
	if iv == w.window {
		return true, nil
	}
	// Windows come in order of their starts.
	if iv.Start >= w.window.End {
		return false, nil
	}
	w.window.End = max(w.window.End, iv.End)
	return true, nil
}

func (w *groupWriter) begin(rec *record) error {
	w.open = true
	w.id = append(w.id[:0], rec.id...)
	w.outTime = rec.out
	if !w.g.merging {
		return nil
	}
	if len(rec.id) < 16 {
		return errBadRun
	}
	var err error
	w.window, err = readSession(rec.id[len(rec.id)-16:])
	return err
}

func (w *groupWriter) flushPage() error {
	sp, err := w.keep.disk.write(w.g.stage, w.values)
	if err != nil {
		return err
	}
	w.pages = append(w.pages, sp)
	w.pageSize += int64(len(w.values))
	w.values = w.values[:0]
	return nil
}

// endGroup puts the open group into the open block, or makes a block of it.
func (w *groupWriter) endGroup() error {
	if !w.open {
		return nil
	}
	key, window, err := w.order.split(w.id)
	if err != nil {
		return err
	}
	if w.g.merging {
		window = coders.AppendIntervalWindow(nil, w.window)
		if w.g.atWindowEnd() {
			w.outTime = w.window.Max()
		}
	}
	if len(w.pages) > 0 {
		return w.endHotGroup(key, window)
	}
	if len(w.buf) > 0 && (len(w.buf) >= w.g.lim.blockBytes || w.span.count >= w.g.lim.blockElements) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.buf = coders.AppendHeader(w.buf, w.outTime, window, 1, ontimePane)
	w.buf = append(w.buf, key...)
	if w.buf, err = appendCount(w.buf, w.count); err != nil {
		return err
	}
	w.buf = append(w.buf, w.values...)
	w.span.add(w.outTime)
	w.open, w.count, w.values = false, 0, w.values[:0]
	return nil
}

func (w *groupWriter) endHotGroup(key, window []byte) error {
	if len(w.values) > 0 {
		if err := w.flushPage(); err != nil {
			return err
		}
	}
	// The blocks stay in the order of the groups.
	if err := w.flush(); err != nil {
		return err
	}
	h := &hotGroup{count: w.count, bytes: w.pageSize, pages: w.pages, stateBacked: w.g.stateBacked}
	h.header = append(coders.AppendHeader(nil, w.outTime, window, 1, ontimePane), key...)
	w.keep.count(memQueue, h.overhead())
	w.out = append(w.out, core.Block{Count: 1, Bytes: int64(len(h.header)) + h.bytes, Hold: w.outTime, Payload: h})
	w.open, w.count, w.pages, w.pageSize = false, 0, nil, 0
	return nil
}

func (w *groupWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	data := w.buf
	w.buf = nil
	if !w.keep.mem.full() {
		data = append(make([]byte, 0, len(data)), data...)
	}
	payload, onDisk, err := w.keep.keep(w.g.stage, data, false)
	if err != nil {
		return err
	}
	if onDisk {
		w.buf = data[:0]
	}
	w.out = append(w.out, core.Block{Count: w.span.count, Bytes: int64(len(data)), Hold: w.span.hold, Payload: payload})
	w.span = span{}
	return nil
}

func (w *groupWriter) close() ([]core.Block, error) {
	if err := w.endGroup(); err != nil {
		return nil, err
	}
	if err := w.flush(); err != nil {
		return nil, err
	}
	return w.out, nil
}

// combine makes one pane's timestamp of two.
func (g *grouper) combine(a, b int64) int64 {
	switch g.combiner {
	case pipepb.OutputTime_EARLIEST_IN_PANE:
		return min(a, b)
	case pipepb.OutputTime_LATEST_IN_PANE:
		return max(a, b)
	}
	return a
}

// atWindowEnd says that a pane's timestamp is its window's end.
func (g *grouper) atWindowEnd() bool {
	return g.combiner == pipepb.OutputTime_END_OF_WINDOW || g.combiner == pipepb.OutputTime_UNSPECIFIED
}

// appendCount appends the length of an iterable that is sent whole.
func appendCount(dst []byte, count int64) ([]byte, error) {
	if count > math.MaxInt32 {
		return nil, fmt.Errorf("a key and window has %d values: %w", count, errTooMany)
	}
	return binary.BigEndian.AppendUint32(dst, uint32(count)), nil
}

var errTooMany = fmt.Errorf("an iterable that is sent whole holds at most %d", math.MaxInt32)
