package storetest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/summerbeam/summerbeam/statebackend"
)

func testBatch(t *testing.T, open statebackend.Opener) {
	s := fresh(t, open)
	b := s.NewBatch()
	if b.Len() != 0 || b.Bytes() != 0 {
		t.Errorf("an empty batch has %d operations, %d bytes", b.Len(), b.Bytes())
	}
	must(t, s.Write(b, true)) // nothing, but a sync
	b.Reset()
	b.Put([]byte("a"), make([]byte, 1000))
	b.Delete([]byte("b"))
	b.DeleteRange([]byte("c"), []byte("d"))
	if b.Len() != 3 || b.Bytes() < 1000 || b.Bytes() > 2000 {
		t.Errorf("a batch of 3 operations and 1 kB has %d, %d", b.Len(), b.Bytes())
	}
	b.Reset()
	if b.Len() != 0 || b.Bytes() != 0 {
		t.Errorf("a reset batch has %d operations, %d bytes", b.Len(), b.Bytes())
	}
	b.Grow(10_000)
	if b.Len() != 0 || b.Bytes() != 0 {
		t.Errorf("a batch with room has %d operations, %d bytes", b.Len(), b.Bytes())
	}
	b.Put([]byte("x"), []byte("1"))
	b.Grow(1)
	must(t, s.Write(b, false))
	want(t, s, kv{"x", "1"}) // and no a
	for i := range 100 {
		b.Reset()
		b.Put([]byte("x"), fmt.Append(nil, i))
		must(t, s.Write(b, i%10 == 0))
	}
	must(t, b.Close())
	must(t, b.Close())
	want(t, s, kv{"x", "99"})
}

func testBatchMisuse(t *testing.T, open statebackend.Opener) {
	s := fresh(t, open)
	fails := func(b statebackend.Batch, why string) {
		t.Helper()
		if err := s.Write(b, false); err == nil {
			t.Errorf("%s is written without an error", why)
		}
	}
	b := s.NewBatch()
	b.Put([]byte("a"), nil)
	must(t, s.Write(b, false))
	fails(b, "a batch written before")
	b.Put([]byte("b"), nil)
	fails(b, "a batch changed after it was written")
	b.Reset()
	b.Put([]byte("c"), nil)
	must(t, s.Write(b, false))
	must(t, b.Close())
	b.Put([]byte("d"), nil)
	fails(b, "a closed batch")
	want(t, s, kv{"a", ""}, kv{"c", ""})

	b = s.NewBatch()
	b.Put(nil, []byte("empty key"))
	b.Put([]byte("f"), nil)
	fails(b, "a batch with an empty key")
	b.Reset()
	must(t, s.Write(b, false))
	want(t, s, kv{"a", ""}, kv{"c", ""})

	other := fresh(t, open).NewBatch()
	other.Put([]byte("e"), nil)
	fails(other, "another store's batch")
	want(t, s, kv{"a", ""}, kv{"c", ""})
}

// testBatchIsAtomic moves a token between keys while readers count the keys
// that have it.
func testBatchIsAtomic(t *testing.T, open statebackend.Opener) {
	s := fresh(t, open)
	key := func(i int) []byte { return fmt.Appendf(nil, "k%02d", i%16) }
	put(t, s, kv{string(key(0)), ""})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				n := 0
				if err := s.Scan([]byte("k"), []byte("l"), func(_, _ []byte) bool { n++; return true }); err != nil || n != 1 {
					t.Errorf("a reader sees %d of one key: half a batch (%v)", n, err)
					return
				}
			}
		})
	}
	b := s.NewBatch()
	for i := range 2000 {
		b.Reset()
		if i%2 == 0 {
			b.Delete(key(i))
		} else {
			b.DeleteRange([]byte("k"), []byte("l"))
		}
		b.Put(key(i+1), nil)
		must(t, s.Write(b, false))
	}
	close(stop)
	wg.Wait()
	must(t, b.Close())
}
