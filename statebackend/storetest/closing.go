package storetest

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/summerbeam/summerbeam/statebackend"
)

func wantClosed(t testing.TB, what string, err error) {
	t.Helper()
	if !errors.Is(err, statebackend.ErrClosed) {
		t.Errorf("%s after Close: %v, want ErrClosed", what, err)
	}
}

func checkClosedReader(t testing.TB, r statebackend.Reader) {
	t.Helper()
	_, _, err := r.Get(nil, []byte("a"))
	wantClosed(t, "Get", err)
	_, err = r.MultiGet([][]byte{[]byte("a")})
	wantClosed(t, "MultiGet", err)
	wantClosed(t, "Scan", r.Scan(nil, nil, func(_, _ []byte) bool { return true }))
}

func testClosed(t *testing.T, open statebackend.Opener) {
	s := fresh(t, open)
	put(t, s, kv{"a", "1"})
	n, err := s.Snapshot()
	must(t, err)
	b := s.NewBatch()
	b.Put([]byte("b"), nil)
	written := s.NewBatch()
	written.Put([]byte("c"), nil)
	must(t, s.Write(written, true))

	must(t, s.Close())

	checkClosedReader(t, s)
	checkClosedReader(t, n)
	must(t, n.Close())
	b.Put([]byte("c"), nil)
	b.DeleteRange([]byte("c"), []byte("d"))
	wantClosed(t, "Write", s.Write(b, true))
	b.Reset()
	must(t, b.Close())
	written.Reset()
	written.Put([]byte("d"), nil)
	wantClosed(t, "Write", s.Write(written, true))
	must(t, written.Close())
	late := s.NewBatch()
	late.Put([]byte("d"), nil)
	wantClosed(t, "Write", s.Write(late, false))
	must(t, late.Close())
	_, err = s.Snapshot()
	wantClosed(t, "Snapshot", err)
	wantClosed(t, "Checkpoint", s.Checkpoint(filepath.Join(t.TempDir(), "copy")))
	wantClosed(t, "Flush", s.Flush())
	_, err = s.Size()
	wantClosed(t, "Size", err)
	wantClosed(t, "Close", s.Close())
}

// testCloseWithReaders closes a store that is being used in every way. The
// contract does not promise it; the end of the process would be no answer though.
func testCloseWithReaders(t *testing.T, open statebackend.Opener) {
	for round := range 5 {
		s := fresh(t, open)
		for i := range 500 {
			put(t, s, kv{fmt.Sprintf("%04d", i), "value"})
		}
		var wg sync.WaitGroup
		use := func(fn func(i int) error) {
			wg.Go(func() {
				for i := 0; ; i++ {
					if err := fn(i); err != nil {
						wantClosed(t, "a call", err)
						return
					}
				}
			})
		}
		use(func(i int) error { _, _, err := s.Get(nil, fmt.Appendf(nil, "%04d", i%500)); return err })
		use(func(int) error { return s.Scan(nil, nil, func(_, _ []byte) bool { return true }) })
		use(func(int) error {
			n, err := s.Snapshot()
			if err != nil {
				return err
			}
			n.Scan(nil, nil, func(_, _ []byte) bool { return true })
			return n.Close()
		})
		kept, err := s.Snapshot()
		must(t, err)
		use(func(int) error { _, err := kept.MultiGet([][]byte{[]byte("0007")}); return err })
		b := s.NewBatch()
		use(func(i int) error { b.Reset(); b.Put(fmt.Append(nil, i), nil); return s.Write(b, i%10 == 0) })
		time.Sleep(time.Duration(round) * 3 * time.Millisecond)
		must(t, s.Close())
		wg.Wait()
		must(t, b.Close())
		must(t, kept.Close())
	}
}

// testCloseInsideScan has Close waiting for a Scan whose function uses the
// store: it must be refused, not wait for Close in turn.
func testCloseInsideScan(t *testing.T, open statebackend.Opener) {
	s := fresh(t, open)
	put(t, s, kv{"a", ""}, kv{"b", ""})
	closed := make(chan error)
	calls := 0
	err := s.Scan(nil, nil, func(_, _ []byte) bool {
		if calls++; calls > 1 {
			return true
		}
		go func() { closed <- s.Close() }()
		for {
			if _, _, err := s.Get(nil, []byte("a")); err != nil {
				wantClosed(t, "Get", err)
				return true
			}
		}
	})
	must(t, err)
	must(t, <-closed)
	if calls != 2 {
		t.Errorf("a scan that Close waits for gave %d of 2 entries", calls)
	}
}
