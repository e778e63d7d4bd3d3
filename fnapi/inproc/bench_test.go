package inproc_test

import (
	"context"
	"testing"

	bt "github.com/summerbeam/summerbeam/fnapi/inproc/bundletest"
	"github.com/summerbeam/summerbeam/runner/engine"
)

// A bundle of one element on a used plan: what a bundle costs by itself.
func BenchmarkOneElement(b *testing.B) {
	w := start(b)
	st := bt.MustStage(b, "identity")
	el := bt.KV("key", "value")
	run(b, w, st, 1, el)
	b.ReportAllocs()
	for b.Loop() {
		run(b, w, st, 1, el)
	}
}

// 100,000 elements of KV<bytes, bytes> through a DoFn that does nothing.
func BenchmarkElements(b *testing.B) {
	w := start(b)
	st := bt.MustStage(b, "identity")
	const n = 100_000
	var chunks [][]byte
	var chunk []byte
	for range n {
		chunk = append(chunk, bt.KV("a key of 16 bytes", "a value of some 80 bytes, as records of the benchmarks that others publish often have")...)
		if len(chunk) > 128<<10 {
			chunks = append(chunks, chunk)
			chunk = nil
		}
	}
	chunks = append(chunks, chunk)
	run(b, w, st, n, chunks...)
	b.ReportAllocs()
	for b.Loop() {
		run(b, w, st, n, chunks...)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/element")
}

func run(b *testing.B, w engine.Worker, st *bt.Stage, n int, chunks ...[]byte) {
	bundle := st.Bundle(n, chunks...).Bundle
	bundle.Output = func(string, []byte) error { return nil }
	if _, err := w.Run(context.Background(), &bundle); err != nil {
		b.Fatal(err)
	}
}
