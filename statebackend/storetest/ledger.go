package storetest

import (
	"encoding/binary"
	"fmt"

	"github.com/summerbeam/summerbeam/statebackend"
)

// A ledger is content that shows which batches are in it, and that no batch is
// there by half. Batch n sets every cell to n and replaces the one page by page
// n, by a range delete before and puts after, so that half a batch, in whatever
// order, is seen.

const ledgerCells = 40

func cell(i int) []byte     { return fmt.Appendf(nil, "cell/%02d", i) }
func page(n uint64) []byte  { return binary.BigEndian.AppendUint64([]byte("page/"), n) }
func entry(n uint64) []byte { return binary.BigEndian.AppendUint64(make([]byte, 0, 300), n) }

// LedgerBatch puts batch n, counted from 1, into b.
func LedgerBatch(b statebackend.Batch, n uint64) {
	b.DeleteRange([]byte("page/"), []byte("page0"))
	for i := range ledgerCells {
		// Now and then larger than any one write to the log.
		b.Put(cell(i), entry(n)[:8+int(n*7)%290])
		if n%37 == 0 && i == 20 {
			b.Put(cell(i), entry(n)[:8:8])
			b.Put([]byte("bulk"), make([]byte, 300_000))
		}
	}
	b.Put(page(n), nil)
}

// LedgerState returns the number of the last batch in r, 0 for none, or what is
// wrong with the content.
func LedgerState(r statebackend.Reader) (n uint64, err error) {
	pages, cells := 0, 0
	if err := r.Scan([]byte("page/"), []byte("page0"), func(key, _ []byte) bool {
		pages++
		n = binary.BigEndian.Uint64(key[len("page/"):])
		return true
	}); err != nil {
		return 0, err
	}
	var wrong error
	if err := r.Scan([]byte("cell/"), []byte("cell0"), func(key, val []byte) bool {
		cells++
		if at := binary.BigEndian.Uint64(val); at != n && wrong == nil {
			wrong = fmt.Errorf("half a batch: the page is of batch %d, %s of batch %d", n, key, at)
		}
		return true
	}); err != nil {
		return 0, err
	}
	if wrong != nil {
		return 0, wrong
	}
	if pages == 0 && cells == 0 {
		return 0, nil
	}
	if pages != 1 || cells != ledgerCells {
		return 0, fmt.Errorf("half a batch: %d pages and %d cells, want 1 and %d", pages, cells, ledgerCells)
	}
	return n, nil
}
