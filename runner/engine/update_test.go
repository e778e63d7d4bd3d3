package engine

import (
	"encoding/binary"
	"testing"

	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/memstore"
)

// TestDeleteSlot: all that a slot has goes, in every key group, and nothing of another's.
func TestDeleteSlot(t *testing.T) {
	st, err := memstore.NewDisk(nil).Open("store", statebackend.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	b := st.NewBatch()
	defer b.Close()
	count := func(slot int) (n int) {
		seen := func(k, _ []byte) bool {
			// Behind a key group, or the mark and a kind.
			if int(binary.BigEndian.Uint16(k[2:])) == slot {
				n++
			}
			return true
		}
		if err := st.Scan(nil, nil, seen); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, slot := range []int{4, 5, 6} {
		for group := range KeyGroups {
			b.Put(append(cellKey(nil, group, slot, []byte("w"), []byte("k"), "s"), recordBag), nil)
		}
		for _, kind := range timerRecords {
			b.Put([]byte(journalPrefix(kind, slot, 3)+"id"), nil)
		}
		b.Put(append(sidePrefix(slot), 1), nil)
	}
	if err := st.Write(b, true); err != nil {
		t.Fatal(err)
	}
	if err := deleteSlot(st, 5); err != nil {
		t.Fatal(err)
	}
	want := KeyGroups + len(timerRecords) + 1
	if a, b, c := count(4), count(5), count(6); a != want || b != 0 || c != want {
		t.Errorf("%d, %d and %d records are left, want %d, 0 and %d", a, b, c, want, want)
	}
}

// TestDeleteWhere finds a state by its id in more records than a batch has.
func TestDeleteWhere(t *testing.T) {
	st, err := memstore.NewDisk(nil).Open("store", statebackend.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	b := st.NewBatch()
	defer b.Close()
	const keys = 12_000
	for i := range keys {
		key := binary.BigEndian.AppendUint32(nil, uint32(i))
		kind := []byte{recordBag, recordValue}[i%2]
		b.Put(append(cellKey(nil, 1, 2, nil, key, "kept"), kind), nil)
		b.Put(append(cellKey(nil, 1, 2, nil, key, "gone"), kind), nil)
	}
	if err := st.Write(b, true); err != nil {
		t.Fatal(err)
	}
	if err := deleteWhere(st, []byte{0, 1, 0, 2}, func(k, _ []byte) bool { return cellID(string(k)) == "gone" }); err != nil {
		t.Fatal(err)
	}
	left := 0
	if err := st.Scan(nil, nil, func(k, _ []byte) bool {
		left++
		if cellID(string(k)) != "kept" {
			t.Errorf("%x is left", k)
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if left != keys {
		t.Errorf("%d records are left, want %d", left, keys)
	}
}
