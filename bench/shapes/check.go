package shapes

import (
	"context"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/cespare/xxhash/v2"
)

const namespace = "bench"

var (
	itemsCounter = beam.NewCounter(namespace, "items")
	sumCounter   = beam.NewCounter(namespace, "sum")
)

// tally counts items and sums their hashes, in any order. It goes to the metrics
// at the end of a bundle: a counter's increment for each item would be
// measured too.
type tally struct {
	items, sum int64
}

func (t *tally) record(key, value []byte) {
	t.add(xxhash.Sum64(key) ^ xxhash.Sum64(value)*0x9e3779b97f4a7c15)
}

func (t *tally) number(key []byte, n int64) {
	t.add((xxhash.Sum64(key) ^ uint64(n)) * 0x9e3779b97f4a7c15)
}

// add takes the upper 32 bits of a hash, so that a sum of two thousand million
// of them is still a positive int64, as some runners expect of a counter.
func (t *tally) add(hash uint64) {
	t.items++
	t.sum += int64(hash >> 32)
}

func (t *tally) report(ctx context.Context) {
	itemsCounter.Inc(ctx, t.items)
	sumCounter.Inc(ctx, t.sum)
}

func (t *tally) counters() Counters { return Counters{"items": t.items, "sum": t.sum} }

// checked is the part of a DoFn that tallies.
type checked struct {
	tally tally
}

// StartBundle forgets what a failed bundle on the same instance has left.
func (c *checked) StartBundle(context.Context) { c.tally = tally{} }

// FinishBundle reports the bundle's tally.
func (c *checked) FinishBundle(ctx context.Context) { c.tally.report(ctx) }

type checkNothing struct{ checked }

func (c *checkNothing) ProcessElement([]byte) { c.tally.items++ }

type checkRecords struct{ checked }

func (c *checkRecords) ProcessElement(key, value []byte) { c.tally.record(key, value) }

type checkNumbers struct{ checked }

func (c *checkNumbers) ProcessElement(key []byte, n int64) { c.tally.number(key, n) }
