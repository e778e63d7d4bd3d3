package storetest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/summerbeam/summerbeam/statebackend"
)

const (
	benchKeys  = 500_000
	benchBatch = 1000
)

// benchKey spreads keys as a hash prefix does; the entries are 24 and 100 bytes.
func benchKey(dst []byte, i uint64) []byte {
	dst = binary.BigEndian.AppendUint64(dst[:0], i*0x9e3779b97f4a7c15)
	return append(binary.BigEndian.AppendUint64(dst, i), "suffix.."...)
}

// Bench measures what the engine does most, on 500,000 entries of 124 bytes.
func Bench(b *testing.B, open statebackend.Opener) {
	dir := filepath.Join(b.TempDir(), "store")
	s, err := open(dir, statebackend.Options{CacheBytes: 128 << 20})
	must(b, err)
	defer func() { s.Close() }()
	val := make([]byte, 100)
	rng := rand.NewChaCha8([32]byte{4})
	w := s.NewBatch()
	for i := range uint64(benchKeys) {
		rng.Read(val[:50])
		w.Put(benchKey(nil, i), val)
		if w.Len() == benchBatch {
			must(b, s.Write(w, false))
			w.Reset()
		}
	}
	must(b, s.Flush())
	// Compactions that follow the load would be counted as the reads' CPU.
	must(b, s.Close())
	s, err = open(dir, statebackend.Options{CacheBytes: 128 << 20})
	must(b, err)
	for idle := 0; idle < 5; {
		before := cpuNanos()
		time.Sleep(100 * time.Millisecond)
		if idle++; cpuNanos()-before > 20e6 {
			idle = 0
		}
	}
	w = s.NewBatch()
	var key, dst []byte
	pick := rand.New(rand.NewPCG(1, 2))
	get := func(b *testing.B, base uint64, want bool) {
		for b.Loop() {
			var found bool
			key = benchKey(key, base+pick.Uint64N(benchKeys))
			if dst, found, err = s.Get(dst[:0], key); err != nil || found != want {
				b.Fatal(found, err)
			}
		}
	}
	bench := func(name string, entries int, fn func(b *testing.B)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			perEntry(b, entries, func() { fn(b) })
		})
	}
	bench("GetHit", 1, func(b *testing.B) { get(b, 0, true) })
	bench("GetMiss", 1, func(b *testing.B) { get(b, benchKeys, false) })
	multiGet := func(b *testing.B, base uint64) {
		keys := make([][]byte, 100)
		for b.Loop() {
			for i := range keys {
				keys[i] = benchKey(keys[i], base+pick.Uint64N(benchKeys))
			}
			_, err := s.MultiGet(keys)
			must(b, err)
		}
	}
	bench("MultiGetHit", 100, func(b *testing.B) { multiGet(b, 0) })
	bench("MultiGetMiss", 100, func(b *testing.B) { multiGet(b, benchKeys) })
	bench("Scan", 100_000, func(b *testing.B) {
		for b.Loop() {
			n := 0
			must(b, s.Scan(nil, nil, func(_, _ []byte) bool { n++; return n < 100_000 }))
		}
	})
	bench("ScanFirst", 1, func(b *testing.B) {
		for b.Loop() {
			key = benchKey(key, pick.Uint64N(benchKeys))
			must(b, s.Scan(key, nil, func(_, _ []byte) bool { return false }))
		}
	})
	put := func(b *testing.B, sync bool) {
		for b.Loop() {
			w.Reset()
			for range benchBatch {
				key = benchKey(key, pick.Uint64N(benchKeys))
				w.Put(key, val)
			}
			must(b, s.Write(w, sync))
		}
	}
	bench("PutSynced", benchBatch, func(b *testing.B) { put(b, true) })
	bench("PutUnsynced", benchBatch, func(b *testing.B) { put(b, false) })
	bench("DeleteRange", 1, func(b *testing.B) {
		for i := uint64(0); b.Loop(); i++ {
			w.Reset()
			w.DeleteRange(binary.BigEndian.AppendUint64(nil, i), binary.BigEndian.AppendUint64(nil, i+1))
			must(b, s.Write(w, false))
		}
	})
	copies := 0
	bench("Checkpoint", 1, func(b *testing.B) {
		dir := b.TempDir()
		for b.Loop() {
			copies++
			must(b, s.Checkpoint(filepath.Join(dir, fmt.Sprint("copy", copies))))
		}
	})
	bench("OpenCloseEphemeral", 1, func(b *testing.B) {
		dir := filepath.Join(b.TempDir(), "other")
		for b.Loop() {
			s, err := open(dir, statebackend.Options{Ephemeral: true})
			must(b, err)
			must(b, s.Close())
		}
	})
	must(b, w.Close())
}
