package engine

import (
	"encoding/binary"
)

// sortedRun is groups in order of their ids, on disk: extents of whole records. A group
// has one record or several, one after another; a run of elements that arrived
// later than another's has the later values of its groups.
type sortedRun struct {
	extents []*spilled
	// first has the first id of each extent.
	first [][]byte
	bytes int64
}

// A record is
//
//	id's length (4), id, timestamp (8), count of values (4), their length (4), the values
//
// and is never longer than an extent, unless it holds one value that is.
type record struct {
	id     []byte
	prefix uint64
	out    int64
	count  uint32
	values []byte
}

// maxRecord bounds a record's values: some take no bytes.
const maxRecord = 1 << 30

const recordHeader = 4 + 8 + 4 + 4 // without the id

// runWriter writes one run. Records come in order.
type runWriter struct {
	keep  *keeper
	stage int
	// size is about that of an extent.
	size int
	buf  []byte
	run  sortedRun

	// The open record.
	id   []byte
	out  int64
	from int // where its count is in buf
	n    uint32
}

func newRunWriter(keep *keeper, stage, size int) *runWriter {
	w := &runWriter{keep: keep, stage: stage, size: size, buf: make([]byte, 0, size)}
	keep.count(memGrouping, int64(size))
	return w
}

// begin opens a record; id is the caller's until end.
func (w *runWriter) begin(id []byte, out int64) error {
	if len(w.buf) > 0 && len(w.buf)+len(id)+recordHeader > w.size {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.id, w.out, w.n = id, out, 0
	if len(w.buf) == 0 {
		w.run.first = append(w.run.first, append([]byte(nil), id...))
	}
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(id)))
	w.buf = append(w.buf, id...)
	w.buf = binary.BigEndian.AppendUint64(w.buf, uint64(out))
	w.from = len(w.buf)
	w.buf = append(w.buf, 0, 0, 0, 0, 0, 0, 0, 0)
	return nil
}

// values appends count values to the open record, or to one more if it is full.
func (w *runWriter) values(count uint32, values []byte) error {
	if w.n > 0 && (len(w.buf)+len(values) > w.size || w.n > maxRecord) {
		w.end()
		if err := w.flush(); err != nil {
			return err
		}
		if err := w.begin(w.id, w.out); err != nil {
			return err
		}
	}
	w.buf = append(w.buf, values...)
	w.n += count
	return nil
}

// end closes the open record.
func (w *runWriter) end() {
	binary.BigEndian.PutUint32(w.buf[w.from:], w.n)
	binary.BigEndian.PutUint32(w.buf[w.from+4:], uint32(len(w.buf)-w.from-8))
}

func (w *runWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	sp, err := w.keep.disk.write(w.stage, w.buf)
	if err != nil {
		return err
	}
	w.run.extents = append(w.run.extents, sp)
	w.run.bytes += int64(len(w.buf))
	if cap(w.buf) > 2*w.size {
		w.buf = make([]byte, 0, w.size) // one large value was in it
	}
	w.buf = w.buf[:0]
	return nil
}

// close returns the run.
func (w *runWriter) close() (*sortedRun, error) {
	w.keep.count(memGrouping, -int64(w.size))
	if err := w.flush(); err != nil {
		return nil, err
	}
	return &w.run, nil
}

// runReader reads a run's records from an extent on.
type runReader struct {
	run  *sortedRun
	next int // the extent that follows data
	data []byte
	off  int
	// once frees each extent when it has been read, and reads the next into its place.
	once bool
}

// read fills rec with the next record. Its parts are valid until the next read, if
// extents are read once. It reports false at the end.
func (r *runReader) read(rec *record) (bool, error) {
	for r.off == len(r.data) {
		if r.next == len(r.run.extents) {
			return false, nil
		}
		if err := r.load(r.next); err != nil {
			return false, err
		}
		if r.once {
			r.run.extents[r.next-1].free()
		}
	}
	n, err := readRecord(r.data[r.off:], rec)
	r.off += n
	return err == nil, err
}

// load goes to the start of an extent.
func (r *runReader) load(extent int) error {
	var buf []byte
	if r.once {
		buf = r.data
	}
	data, err := r.run.extents[extent].readInto(buf)
	if err != nil {
		return err
	}
	r.data, r.off, r.next = data, 0, extent+1
	return nil
}

// readRecord reads the record at the start of b and returns its size.
func readRecord(b []byte, rec *record) (int, error) {
	if len(b) < 4 {
		return 0, errBadRun
	}
	idLen := uint64(binary.BigEndian.Uint32(b))
	if idLen+recordHeader > uint64(len(b)) {
		return 0, errBadRun
	}
	at := 4 + int(idLen)
	rec.id = b[4:at]
	rec.prefix = prefixOf(rec.id)
	rec.out = int64(binary.BigEndian.Uint64(b[at:]))
	rec.count = binary.BigEndian.Uint32(b[at+8:])
	n := uint64(binary.BigEndian.Uint32(b[at+12:]))
	at += 16
	if n > uint64(len(b)-at) {
		return 0, errBadRun
	}
	end := at + int(n)
	rec.values = b[at:end:end]
	return end, nil
}
