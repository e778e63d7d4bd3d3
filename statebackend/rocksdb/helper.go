//go:build rocksdb

package rocksdb

/*
#cgo LDFLAGS: -lrocksdb
#cgo noescape sb_get
#cgo nocallback sb_get
#cgo noescape sb_take
#cgo nocallback sb_take
#cgo noescape sb_multiget
#cgo nocallback sb_multiget
#cgo noescape sb_scan_open
#cgo nocallback sb_scan_open
#cgo noescape sb_scan_fill
#cgo nocallback sb_scan_fill
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <rocksdb/c.h>

// A call into C costs little beside a read, but more than a step of an
// iterator; and each of RocksDB's own steps (valid, key, value, next) would be
// one. So these copy as much as fits into a buffer of the caller.

typedef struct {
	char* err;                    // to be freed
	rocksdb_pinnableslice_t* big; // what did not fit, for sb_take
	size_t len;
	int found;
} sb_value;

static sb_value sb_get(rocksdb_t* db, const rocksdb_readoptions_t* ro,
		const char* key, size_t klen, char* buf, size_t cap) {
	sb_value v = {0};
	rocksdb_pinnableslice_t* p = rocksdb_get_pinned(db, ro, key, klen, &v.err);
	if (p == NULL) return v;
	const char* data = rocksdb_pinnableslice_value(p, &v.len);
	v.found = 1;
	if (v.len > cap) {
		v.big = p;
		return v;
	}
	memcpy(buf, data, v.len);
	rocksdb_pinnableslice_destroy(p);
	return v;
}

static void sb_take(rocksdb_pinnableslice_t* big, char* buf) {
	size_t len;
	const char* data = rocksdb_pinnableslice_value(big, &len);
	memcpy(buf, data, len);
	rocksdb_pinnableslice_destroy(big);
}

typedef struct {
	char* err;   // to be freed
	size_t n;    // entries in the buffer
	size_t need; // what the next entry takes, if none fitted
	int done;    // there are no more
} sb_filled;

// SB_TOGETHER is how many keys RocksDB looks up together: those in one block cost one look for it.
#define SB_TOGETHER 128

// An entry of sb_multiget is its length, or -1 for none, as int64, and its bytes.
static sb_filled sb_multiget(rocksdb_t* db, const rocksdb_readoptions_t* ro, rocksdb_column_family_handle_t* cf,
		const char* keys, const size_t* ends, size_t i, size_t n, int sorted, char* buf, size_t cap) {
	sb_filled f = {0};
	size_t used = 0;
	const char* key[SB_TOGETHER];
	size_t klen[SB_TOGETHER];
	rocksdb_pinnableslice_t* val[SB_TOGETHER];
	char* err[SB_TOGETHER];
	while (i < n) {
		size_t m = n - i < SB_TOGETHER ? n - i : SB_TOGETHER;
		// What doesn't fit is read twice: don't begin what probably won't.
		if (f.n > 0 && used / f.n * m > cap - used) return f;
		for (size_t j = 0; j < m; j++) {
			size_t from = i + j ? ends[i+j-1] : 0;
			key[j] = keys ? keys + from : "";
			klen[j] = ends[i+j] - from;
		}
		rocksdb_batched_multi_get_cf(db, ro, cf, m, key, klen, val, err, sorted);
		size_t need = 0;
		for (size_t j = 0; j < m; j++) {
			size_t len = 0;
			if (err[j] != NULL) {
				if (f.err == NULL) f.err = err[j];
				else rocksdb_free(err[j]);
			}
			if (val[j] != NULL) rocksdb_pinnableslice_value(val[j], &len);
			need += 8 + len;
		}
		int fits = f.err == NULL && need <= cap - used;
		for (size_t j = 0; j < m; j++) {
			size_t len = 0;
			const char* data = val[j] ? rocksdb_pinnableslice_value(val[j], &len) : NULL;
			if (fits) {
				int64_t head = val[j] ? (int64_t)len : -1;
				memcpy(buf + used, &head, 8);
				if (len) memcpy(buf + used + 8, data, len);
				used += 8 + len;
			}
			if (val[j] != NULL) rocksdb_pinnableslice_destroy(val[j]);
		}
		if (f.err != NULL) return f;
		if (!fits) {
			if (f.n == 0) f.need = need;
			return f;
		}
		f.n += m;
		i += m;
	}
	f.done = 1;
	return f;
}

typedef struct {
	rocksdb_readoptions_t* ro;
	rocksdb_iterator_t* it;
	char hi[]; // RocksDB keeps the pointer
} sb_scan;

// The read options are made here and not reused: the bound is one of them, and
// they cost a tenth of the iterator.
static sb_scan* sb_scan_open(rocksdb_t* db, const rocksdb_snapshot_t* snap,
		const char* lo, size_t llen, const char* hi, size_t hlen, int bounded) {
	sb_scan* s = malloc(sizeof(sb_scan) + hlen);
	if (s == NULL) abort();
	s->ro = rocksdb_readoptions_create();
	if (snap) rocksdb_readoptions_set_snapshot(s->ro, snap);
	if (bounded) {
		memcpy(s->hi, hi, hlen);
		rocksdb_readoptions_set_iterate_upper_bound(s->ro, s->hi, hlen);
	}
	s->it = rocksdb_create_iterator(db, s->ro);
	if (llen) rocksdb_iter_seek(s->it, lo, llen);
	else rocksdb_iter_seek_to_first(s->it);
	return s;
}

// An entry of sb_scan_fill is the lengths of key and value as uint32, and both.
static sb_filled sb_scan_fill(sb_scan* s, char* buf, size_t cap, size_t max) {
	sb_filled f = {0};
	size_t used = 0;
	while (f.n < max && rocksdb_iter_valid(s->it)) {
		size_t klen, vlen;
		const char* k = rocksdb_iter_key(s->it, &klen);
		const char* v = rocksdb_iter_value(s->it, &vlen);
		size_t need = 8 + klen + vlen;
		if (used + need > cap) {
			if (f.n == 0) f.need = need;
			return f;
		}
		uint32_t head[2] = {(uint32_t)klen, (uint32_t)vlen};
		memcpy(buf + used, head, 8);
		memcpy(buf + used + 8, k, klen);
		memcpy(buf + used + 8 + klen, v, vlen);
		used += need;
		f.n++;
		rocksdb_iter_next(s->it);
	}
	if (!rocksdb_iter_valid(s->it)) {
		f.done = 1;
		rocksdb_iter_get_error(s->it, &f.err);
	}
	return f;
}

static void sb_scan_close(sb_scan* s) {
	rocksdb_iter_destroy(s->it);
	rocksdb_readoptions_destroy(s->ro);
	free(s);
}
*/
import "C"

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"unsafe"

	"github.com/linxGnu/grocksdb"
)

// reader reads from a database, or a snapshot of it. The caller sees to it that
// the database stays open meanwhile.
type reader struct {
	db   *C.rocksdb_t
	cf   *C.rocksdb_column_family_handle_t
	snap *C.rocksdb_snapshot_t // nil for the present
	ro   *C.rocksdb_readoptions_t
}

// newReader needs the C pointers, which grocksdb keeps to itself.
func newReader(db *grocksdb.DB, cf *grocksdb.ColumnFamilyHandle) (r reader, err error) {
	d, err := pointer(db)
	if err != nil {
		return reader{}, err
	}
	f, err := pointer(cf)
	if err != nil {
		return reader{}, err
	}
	return reader{db: (*C.rocksdb_t)(d), cf: (*C.rocksdb_column_family_handle_t)(f), ro: C.rocksdb_readoptions_create()}, nil
}

func pointer(of any) (unsafe.Pointer, error) {
	c := reflect.ValueOf(of).Elem().FieldByName("c")
	if !c.IsValid() || c.Kind() != reflect.Pointer {
		return nil, fmt.Errorf("this version of %T is unknown: it has no C pointer", of)
	}
	return c.UnsafePointer(), nil
}

// snapshot returns a reader of the present content.
func (r reader) snapshot() reader {
	n := reader{db: r.db, cf: r.cf, snap: C.rocksdb_create_snapshot(r.db), ro: C.rocksdb_readoptions_create()}
	C.rocksdb_readoptions_set_snapshot(n.ro, n.snap)
	return n
}

func (r reader) close() {
	C.rocksdb_readoptions_destroy(r.ro)
	if r.snap != nil {
		C.rocksdb_release_snapshot(r.db, r.snap)
	}
}

func ptr(b []byte) *C.char { return (*C.char)(unsafe.Pointer(unsafe.SliceData(b))) }

// failure frees and returns an error of RocksDB's.
func failure(err *C.char) error {
	if err == nil {
		return nil
	}
	defer C.rocksdb_free(unsafe.Pointer(err))
	return errors.New(C.GoString(err))
}

func (r reader) get(dst, key []byte) ([]byte, bool, error) {
	if len(key) == 0 {
		return dst, false, nil
	}
	spare := dst[len(dst):cap(dst)]
	v := C.sb_get(r.db, r.ro, ptr(key), C.size_t(len(key)), ptr(spare), C.size_t(len(spare)))
	if v.err != nil {
		return dst, false, failure(v.err)
	}
	n := len(dst) + int(v.len)
	if v.big == nil {
		return dst[:n], v.found != 0, nil
	}
	grown := make([]byte, n)
	copy(grown, dst)
	C.sb_take(v.big, ptr(grown[len(dst):]))
	return grown, true, nil
}

// Buffers that the C side fills. Larger ones than maxPooled are left to the
// garbage collector.
const (
	bufferSize = 64 << 10
	maxPooled  = 1 << 20
)

var buffers = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

func giveBack(b *[]byte) {
	if len(*b) <= maxPooled {
		buffers.Put(b)
	}
}

func (r reader) multiGet(keys [][]byte) ([][]byte, error) {
	vals := make([][]byte, len(keys))
	joined := bytes.Join(keys, nil)
	ends := make([]C.size_t, len(keys))
	end := 0
	for i, k := range keys {
		end += len(k)
		ends[i] = C.size_t(end)
	}
	buf := buffers.Get().(*[]byte)
	defer func() { giveBack(buf) }()
	sorted := C.int(0)
	if slices.IsSortedFunc(keys, bytes.Compare) {
		sorted = 1
	}
	for i := 0; i < len(keys); {
		f := C.sb_multiget(r.db, r.ro, r.cf, ptr(joined), unsafe.SliceData(ends), C.size_t(i), C.size_t(len(keys)), sorted, ptr(*buf), C.size_t(len(*buf)))
		if f.err != nil {
			return nil, failure(f.err)
		}
		if f.need > 0 {
			*buf = make([]byte, f.need)
			continue
		}
		for rest := *buf; f.n > 0; f.n-- {
			n := int64(binary.NativeEndian.Uint64(rest))
			rest = rest[8:]
			if n >= 0 {
				vals[i] = append(make([]byte, 0, n), rest[:n]...)
				rest = rest[n:]
			}
			i++
		}
	}
	return vals, nil
}

// scan reads ahead in the sizes 4, 16, 64, ... entries: many scans look for the
// first entry only.
func (r reader) scan(lo, hi []byte, fn func(key, val []byte) bool) error {
	bounded := C.int(0)
	if hi != nil {
		if bytes.Compare(lo, hi) >= 0 {
			return nil
		}
		bounded = 1
	}
	s := C.sb_scan_open(r.db, r.snap, ptr(lo), C.size_t(len(lo)), ptr(hi), C.size_t(len(hi)), bounded)
	defer C.sb_scan_close(s) // fn may panic
	buf := buffers.Get().(*[]byte)
	defer func() { giveBack(buf) }()
	for ahead := C.size_t(4); ; ahead = min(ahead*4, 1<<20) {
		f := C.sb_scan_fill(s, ptr(*buf), C.size_t(len(*buf)), ahead)
		if f.need > 0 {
			*buf = make([]byte, f.need)
			continue
		}
		for rest := *buf; f.n > 0; f.n-- {
			klen, vlen := binary.NativeEndian.Uint32(rest), binary.NativeEndian.Uint32(rest[4:])
			key := rest[8:][:klen:klen]
			val := rest[8+klen:][:vlen:vlen]
			if !fn(key, val) {
				// An error behind what the caller asked for is not reported.
				if f.err != nil {
					C.rocksdb_free(unsafe.Pointer(f.err))
				}
				return nil
			}
			rest = rest[8+klen+vlen:]
		}
		if f.done != 0 {
			return failure(f.err)
		}
	}
}
