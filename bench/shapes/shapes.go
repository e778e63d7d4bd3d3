// Package shapes has the pipelines that runners are measured with. Each is what a
// user would write, and each checks itself: its last DoFns count what arrives and
// sum a hash of it into metrics, which must be what Expect computes without Beam.
package shapes

import (
	"fmt"
	"strings"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/metrics"

	"github.com/summerbeam/summerbeam/internal/loadsource"
)

// Size is how much a shape has to do.
type Size struct {
	// Records of each source.
	Records int
	// Keys that are different.
	Keys int
	// Hot is how many records in a hundred have one and the same key.
	Hot int
}

func (z Size) source(seed int) loadsource.Config {
	return loadsource.Config{Records: z.Records, Keys: z.Keys, Seed: seed, Hot: z.Hot}
}

// Counters are the sums of the metrics of the namespace "bench", by name.
type Counters map[string]int64

// Shape is a pipeline of any size.
type Shape struct {
	Name string
	// Does says it in a few words, for tables.
	Does string
	// Sources is how many sources of Size.Records the shape reads. Those with none
	// are of one size only.
	Sources int
	// Build adds the pipeline to s.
	Build func(s beam.Scope, z Size)
	// Expect computes the counters of a right run.
	Expect func(z Size) Counters
}

// All are the shapes, cheapest first.
var All = []Shape{
	{"startup", "one element, nothing to do", 0, startup, expectStartup},
	{"floor", "source, discard", 1, floor, expectRecords},
	{"group_by_key", "group, read all values", 1, groupByKey, expectGroups},
	{"combine", "greatest value per key", 1, combine, expectCombined},
	{"cogbk", "two sources grouped together", 2, coGroup, expectCoGroups},
	{"pardo10", "ten DoFns, each with a counter", 1, tenParDos, expectTenParDos},
	{"side_input", "iterable side input, read once", 1, sideInput, expectRecords},
	{"keyed_count", "a count per key in value state", 1, keyedCount, expectKeyedCount},
}

// ByName returns the shape of the name.
func ByName(name string) (Shape, error) {
	var names []string
	for _, s := range All {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Shape{}, fmt.Errorf("there is no shape %q, but %s", name, strings.Join(names, ", "))
}

// CountersOf are the counters of a run that has ended.
func CountersOf(r metrics.Results) Counters {
	c := Counters{}
	for _, m := range r.AllMetrics().Counters() {
		if m.Key.Namespace != namespace {
			continue
		}
		n := m.Committed
		if n == 0 {
			n = m.Attempted // Flink reports no committed metrics.
		}
		c[m.Key.Name] += n
	}
	return c
}

// Diff says how got differs from want, and is empty if it doesn't.
func Diff(got, want Counters) string {
	var out []string
	for name, n := range want {
		if got[name] != n {
			out = append(out, fmt.Sprintf("%s is %d, want %d", name, got[name], n))
		}
	}
	for name, n := range got {
		if _, ok := want[name]; !ok {
			out = append(out, fmt.Sprintf("%s is %d and should not be", name, n))
		}
	}
	return strings.Join(out, "; ")
}

// Report is what a program that runs a shape prints.
type Report struct {
	// Seconds from the submission of the pipeline to its end.
	Seconds float64 `json:"seconds"`
	// CPU seconds, if they are not those of the whole process.
	CPU      float64  `json:"cpu,omitempty"`
	Counters Counters `json:"counters"`
}
