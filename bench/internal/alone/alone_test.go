package alone_test

import (
	"context"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"

	"github.com/summerbeam/summerbeam/bench/internal/alone"
	"github.com/summerbeam/summerbeam/bench/shapes"
)

func TestMain(m *testing.M) {
	beam.Init()
	m.Run()
}

// All that the recorded run has read can be read again, and again.
func TestReplay(t *testing.T) {
	for _, shape := range shapes.All {
		t.Run(shape.Name, func(t *testing.T) {
			p, s := beam.NewPipelineWithRoot()
			size := shapes.Size{Records: 3_000, Keys: 200}
			shape.Build(s, size)
			r, err := alone.Record(context.Background(), p)
			if err != nil {
				t.Fatal(err)
			}
			if d := shapes.Diff(shapes.CountersOf(*r.Metrics), shape.Expect(size)); d != "" {
				t.Errorf("the recorded run: %s", d)
			}
			for range 2 {
				if err := r.Replay(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
