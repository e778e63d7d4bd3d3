package shapes

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"github.com/summerbeam/summerbeam/internal/loadsource"
)

func init() {
	register.DoFn1x0[[]byte](&checkNothing{})
	register.DoFn2x0[[]byte, []byte](&checkRecords{})
	register.DoFn2x0[[]byte, int64](&checkNumbers{})
	register.DoFn4x0[context.Context, []byte, []byte, func([]byte, []byte)](&countElements{})
	register.DoFn4x1[state.Provider, []byte, []byte, func([]byte, int64), error](&countPerKey{})
	register.Function3x0(digestGroup)
	register.Function4x0(digestTwoGroups)
	register.Function2x1(greatest)
	register.Function3x0(readSideInput)
	register.Emitter2[[]byte, []byte]()
	register.Emitter2[[]byte, int64]()
	register.Iter1[[]byte]()
	register.Iter2[[]byte, []byte]()
}

func startup(s beam.Scope, _ Size) { beam.ParDo0(s, &checkNothing{}, beam.Impulse(s)) }

func floor(s beam.Scope, z Size) {
	beam.ParDo0(s, &checkRecords{}, loadsource.Records(s, z.source(0)))
}

func groupByKey(s beam.Scope, z Size) {
	groups := beam.GroupByKey(s, loadsource.Records(s, z.source(0)))
	beam.ParDo0(s, &checkNumbers{}, beam.ParDo(s, digestGroup, groups))
}

func combine(s beam.Scope, z Size) {
	beam.ParDo0(s, &checkRecords{}, beam.CombinePerKey(s, greatest, loadsource.Records(s, z.source(0))))
}

func coGroup(s beam.Scope, z Size) {
	left, right := s.Scope("left"), s.Scope("right")
	groups := beam.CoGroupByKey(s, loadsource.Records(left, z.source(0)), loadsource.Records(right, z.source(1)))
	beam.ParDo0(s, &checkNumbers{}, beam.ParDo(s, digestTwoGroups, groups))
}

// parDos is how many there are in the shape pardo10.
const parDos = 10

func tenParDos(s beam.Scope, z Size) {
	records := loadsource.Records(s, z.source(0))
	for i := range parDos {
		records = beam.ParDo(s, &countElements{Name: stepName(i)}, records)
	}
	beam.ParDo0(s, &checkRecords{}, records)
}

func stepName(i int) string { return fmt.Sprintf("step%d", i) }

func sideInput(s beam.Scope, z Size) {
	records := loadsource.Records(s, z.source(0))
	beam.ParDo0(s, readSideInput, beam.Impulse(s), beam.SideInput{Input: records})
}

func keyedCount(s beam.Scope, z Size) {
	counts := beam.ParDo(s, &countPerKey{Count: state.MakeValueState[int64]("count")}, loadsource.Records(s, z.source(0)))
	beam.ParDo0(s, &checkNumbers{}, counts)
}

func digestGroup(key []byte, values func(*[]byte) bool, emit func([]byte, int64)) {
	emit(key, digestAll(values))
}

func digestTwoGroups(key []byte, left, right func(*[]byte) bool, emit func([]byte, int64)) {
	emit(key, both(digestAll(left), digestAll(right)))
}

func digestAll(values func(*[]byte) bool) int64 {
	var sum int64
	var v []byte
	for values(&v) {
		sum += digest(v)
	}
	return sum
}

// digest is the length of a value and a few bits of it. Sums of digests show that
// no value is lost, doubled or of another key.
func digest(v []byte) int64 {
	return int64(len(v)) + int64(binary.LittleEndian.Uint32(v))<<16
}

// both makes one digest of two that must not be mistaken for each other.
func both(left, right int64) int64 { return left + 3*right }

func greatest(a, b []byte) []byte {
	if bytes.Compare(a, b) < 0 {
		return b
	}
	return a
}

// countElements emits what it gets and counts it in a metric.
type countElements struct {
	Name    string
	counter beam.Counter
}

func (f *countElements) Setup() { f.counter = beam.NewCounter(namespace, f.Name) }

func (f *countElements) ProcessElement(ctx context.Context, key, value []byte, emit func([]byte, []byte)) {
	f.counter.Inc(ctx, 1)
	emit(key, value)
}

// countPerKey emits, for each element, how many of its key there have been.
type countPerKey struct {
	Count state.Value[int64]
}

func (f *countPerKey) ProcessElement(p state.Provider, key, _ []byte, emit func([]byte, int64)) error {
	n, _, err := f.Count.Read(p)
	if err != nil {
		return err
	}
	n++
	if err := f.Count.Write(p, n); err != nil {
		return err
	}
	emit(key, n)
	return nil
}

func readSideInput(ctx context.Context, _ []byte, records func(*[]byte, *[]byte) bool) {
	var t tally
	var key, value []byte
	for records(&key, &value) {
		t.record(key, value)
	}
	t.report(ctx)
}
