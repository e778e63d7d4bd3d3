package engine

import (
	"fmt"
	"testing"

	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/stores"
)

// TestRecordBytes: a batch is given the room that a layer's records take, and not much more.
func TestRecordBytes(t *testing.T) {
	open, err := stores.Opener(stores.Pebble)
	if err != nil {
		t.Fatal(err)
	}
	st, err := open(t.TempDir(), statebackend.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for _, size := range []int{10, 1000} {
		s := newShardState(nil, 0)
		l := newLayer(1)
		for i := range 1000 {
			key := cellKey(nil, i%KeyGroups, 1, []byte("window"), fmt.Appendf(nil, "key%06d", i), "id")
			if i%2 == 0 {
				l.setValue(string(key), value{data: make([]byte, size)})
				continue
			}
			c := l.cell(string(key))
			c.bag = make([]byte, size)
			l.bytes += int64(size)
		}
		b := st.NewBatch()
		if err := s.writeLayer(b, st, l); err != nil {
			t.Fatal(err)
		}
		if got := l.recordBytes(); got < b.Bytes()*9/10 || got > b.Bytes()*12/10 {
			t.Errorf("values of %d bytes: room for %d bytes, they take %d", size, got, b.Bytes())
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}
