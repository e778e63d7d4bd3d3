package storetest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

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
	defer s.Close()
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
	var key, dst []byte
	pick := rand.New(rand.NewPCG(1, 2))
	get := func(b *testing.B, base uint64, want bool) {
		b.ReportAllocs()
		for b.Loop() {
			var found bool
			key = benchKey(key, base+pick.Uint64N(benchKeys))
			if dst, found, err = s.Get(dst[:0], key); err != nil || found != want {
				b.Fatal(found, err)
			}
		}
	}
	b.Run("GetHit", func(b *testing.B) { get(b, 0, true) })
	b.Run("GetMiss", func(b *testing.B) { get(b, benchKeys, false) })
	b.Run("MultiGet100", func(b *testing.B) {
		b.ReportAllocs()
		keys := make([][]byte, 100)
		for b.Loop() {
			for i := range keys {
				keys[i] = benchKey(keys[i], pick.Uint64N(benchKeys))
			}
			_, err := s.MultiGet(keys)
			must(b, err)
		}
		perEntry(b, len(keys))
	})
	b.Run("Scan", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			must(b, s.Scan(nil, nil, func(_, _ []byte) bool { n++; return n < 100_000 }))
		}
		perEntry(b, 100_000)
	})
	b.Run("ScanOne", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			key = benchKey(key, pick.Uint64N(benchKeys))
			must(b, s.Scan(key, nil, func(_, _ []byte) bool { return false }))
		}
	})
	b.Run("PutSynced1000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w.Reset()
			for range benchBatch {
				w.Put(benchKey(key, pick.Uint64N(benchKeys)), val)
			}
			must(b, s.Write(w, true))
		}
		perEntry(b, benchBatch)
	})
	b.Run("Put1000", func(b *testing.B) {
		for b.Loop() {
			w.Reset()
			for range benchBatch {
				w.Put(benchKey(key, pick.Uint64N(benchKeys)), val)
			}
			must(b, s.Write(w, false))
		}
		perEntry(b, benchBatch)
	})
	b.Run("DeleteRange", func(b *testing.B) {
		for i := uint64(0); b.Loop(); i++ {
			w.Reset()
			w.DeleteRange(binary.BigEndian.AppendUint64(nil, i), binary.BigEndian.AppendUint64(nil, i+1))
			must(b, s.Write(w, false))
		}
	})
	copies := 0
	b.Run("Checkpoint", func(b *testing.B) {
		for b.Loop() {
			copies++
			must(b, s.Checkpoint(filepath.Join(b.TempDir(), fmt.Sprint("copy", copies))))
		}
	})
	b.Run("OpenClose", func(b *testing.B) {
		dir := filepath.Join(b.TempDir(), "other")
		for b.Loop() {
			s, err := open(dir, statebackend.Options{Ephemeral: true})
			must(b, err)
			must(b, s.Close())
		}
	})
	must(b, w.Close())
}

func perEntry(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/entry")
}
