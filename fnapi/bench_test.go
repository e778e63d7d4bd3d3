package fnapi_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/summerbeam/summerbeam/fnapi"
)

// BenchmarkBundle is the round trip of a bundle of one element through a real Go
// harness in this process, one at a time and four.
func BenchmarkBundle(b *testing.B) {
	for _, parallel := range []int{1, 4} {
		b.Run(fmt.Sprintf("at-once=%d", parallel), func(b *testing.B) {
			w := loopback(b, serve(b, fnapi.Options{}), "w1", nil)
			d := stageOf(b, func(s beam.Scope, in beam.PCollection) beam.PCollection { return beam.ParDo(s, identity, in) })
			element := windowed(b, make([]byte, 100))
			var id atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(parallel)
			run := func() {
				in, _ := bundle(fmt.Sprint("b", id.Add(1)), d, element)
				if _, err := w.Run(b.Context(), in); err != nil {
					b.Error(err)
				}
			}
			if parallel == 1 {
				for b.Loop() {
					run()
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					run()
				}
			})
		})
	}
}

// BenchmarkElements moves 16 MiB of elements of 100 bytes, in chunks of 1 MiB,
// through a real harness with one ParDo and back.
func BenchmarkElements(b *testing.B) {
	w := loopback(b, serve(b, fnapi.Options{}), "w1", nil)
	d := stageOf(b, func(s beam.Scope, in beam.PCollection) beam.PCollection { return beam.ParDo(s, identity, in) })
	chunk := manyElements(b)
	in := make([][]byte, 16)
	for i := range in {
		in[i] = chunk
	}
	b.SetBytes(int64(len(in) * len(chunk)))
	for i := 0; b.Loop(); i++ {
		bn, _ := bundle(fmt.Sprint("b", i), d, in...)
		bn.Output = func(string, []byte) error { return nil }
		if _, err := w.Run(b.Context(), bn); err != nil {
			b.Fatal(err)
		}
	}
}

func manyElements(b *testing.B) []byte {
	var chunk []byte
	for element := windowed(b, make([]byte, 100)); len(chunk)+len(element) <= 1<<20; {
		chunk = append(chunk, element...)
	}
	return chunk
}

// BenchmarkTransport is the same with a worker that sends back what it gets: what
// gRPC and this package cost.
func BenchmarkTransport(b *testing.B) {
	w, f := startFake(b, fnapi.Options{})
	f.openData()
	go func() {
		for {
			e, err := f.data.Recv()
			if err != nil {
				return
			}
			id, last := "", false
			for _, d := range e.GetData() {
				d.TransformId = "sink"
				id, last = d.GetInstructionId(), last || d.GetIsLast()
			}
			if f.data.Send(e) != nil {
				return
			}
			if last {
				f.answer(id, &fnpb.ProcessBundleResponse{})
			}
		}
	}()
	go func() {
		for range f.requests {
		}
	}()
	d := plain("sink")
	chunk := manyElements(b)
	n := 0
	run := func(b *testing.B, in [][]byte) {
		n++
		bn, _ := bundle(fmt.Sprint("b", n), d, in...)
		bn.Output = func(string, []byte) error { return nil }
		if _, err := w.Run(b.Context(), bn); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("16MiB", func(b *testing.B) {
		in := make([][]byte, 16)
		for i := range in {
			in[i] = chunk
		}
		b.SetBytes(int64(len(in) * len(chunk)))
		for b.Loop() {
			run(b, in)
		}
	})
	b.Run("one-element", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			run(b, [][]byte{chunk[:112]})
		}
	})
}
