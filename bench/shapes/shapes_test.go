package shapes_test

import (
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/ptest"

	"github.com/summerbeam/summerbeam/bench/shapes"
	_ "github.com/summerbeam/summerbeam/runner/beamrunner"
)

func TestMain(m *testing.M) { ptest.MainWithDefault(m, "summerbeam") }

// What Beam computes must be what is computed without Beam.
func TestShapes(t *testing.T) {
	size := shapes.Size{Records: 2_000, Keys: 150}
	for _, shape := range shapes.All {
		t.Run(shape.Name, func(t *testing.T) {
			p, s := beam.NewPipelineWithRoot()
			shape.Build(s, size)
			res, err := ptest.RunWithMetrics(p)
			if err != nil {
				t.Fatal(err)
			}
			if d := shapes.Diff(shapes.CountersOf(res.Metrics()), shape.Expect(size)); d != "" {
				t.Error(d)
			}
		})
	}
}

// Checks that can't fail would prove nothing: each shape must expect something
// else of other records.
func TestExpectationsDiffer(t *testing.T) {
	for _, shape := range shapes.All {
		if shape.Sources == 0 {
			continue
		}
		a, b := shape.Expect(shapes.Size{Records: 500, Keys: 40}), shape.Expect(shapes.Size{Records: 1000, Keys: 40})
		if shapes.Diff(a, b) == "" {
			t.Errorf("%s expects the same of 500 and of 1000 records", shape.Name)
		}
		if c := shape.Expect(shapes.Size{Records: 1000, Keys: 41}); shapes.Diff(b, c) == "" {
			t.Errorf("%s expects the same of 40 and of 41 keys", shape.Name)
		}
	}
}

func TestDiff(t *testing.T) {
	got, want := shapes.Counters{"a": 1, "b": 2}, shapes.Counters{"a": 1, "c": 3}
	if d := shapes.Diff(got, got); d != "" {
		t.Errorf("differs from itself: %s", d)
	}
	if d := shapes.Diff(got, want); d != "c is 0, want 3; b is 2 and should not be" {
		t.Errorf("says %q", d)
	}
}

func TestByName(t *testing.T) {
	if _, err := shapes.ByName("cogbk"); err != nil {
		t.Error(err)
	}
	if _, err := shapes.ByName("nosuch"); err == nil {
		t.Error("finds a shape that there isn't")
	}
}
