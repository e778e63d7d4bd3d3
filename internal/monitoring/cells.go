package monitoring

import (
	"bytes"
	"cmp"
	"math"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// cell is the merged value of one metric.
type cell interface {
	// merge adds an encoded value. If it can't be read the cell stays as it was.
	// The payload is not kept.
	merge(payload []byte) error
	// payload returns the merged value in the same encoding, in fresh memory.
	payload() []byte
}

func newCell(typ string) cell {
	switch typ {
	case typeSumInt64:
		return &sum[int64]{}
	case typeSumDouble:
		return &sum[float64]{}
	case typeDistInt64:
		return &distribution[int64]{}
	case typeDistDouble:
		return &distribution[float64]{}
	case typeLatestInt64:
		return &latest[int64]{}
	case typeLatestDouble:
		return &latest[float64]{}
	case typeSetString:
		return &stringSet{limit: stringSetLimit}
	case typeBoundedTrie:
		return &boundedTrie{}
	case typeHistogramInt64:
		return &histogram{}
	default:
		return &newest{}
	}
}

// sum is the encoding <value>. Integers wrap around, as the SDKs' do.
type sum[T number] struct{ total T }

func (s *sum[T]) merge(p []byte) error {
	r := reader{rest: p}
	v := read[T](&r)
	if err := r.end(); err != nil {
		return err
	}
	s.total += v
	return nil
}

func (s *sum[T]) payload() []byte { return appendNumber(nil, s.total) }

// distribution is the encoding <count><sum><min><max>.
type distribution[T number] struct {
	count         int64
	sum, min, max T
}

func (d *distribution[T]) merge(p []byte) error {
	r := reader{rest: p}
	count := r.varint()
	if count == 0 && r.err == nil {
		// An empty distribution's other figures mean nothing: Python sends the
		// widest range upside down, others send zeros or nothing at all.
		return nil
	}
	total, lo, hi := read[T](&r), read[T](&r), read[T](&r)
	if err := r.end(); err != nil {
		return err
	}
	if count < 0 {
		return errNegativeCount
	}
	if d.count == 0 {
		d.min, d.max = lo, hi
	} else {
		d.min, d.max = min(d.min, lo), max(d.max, hi)
	}
	// The count stops at the top instead of wrapping: a negative one can't be read.
	d.count += min(count, math.MaxInt64-d.count)
	d.sum += total
	return nil
}

func (d *distribution[T]) payload() []byte {
	b := appendNumber(nil, d.count)
	b = appendNumber(b, d.sum)
	b = appendNumber(b, d.min)
	return appendNumber(b, d.max)
}

// latest is the encoding <timestamp><value>, the timestamp in milliseconds. The
// newest wins, and of equal ones the one that came last: a gauge set twice within
// a millisecond shows its second value.
type latest[T number] struct {
	set   bool
	ms    int64
	value T
}

func (l *latest[T]) merge(p []byte) error {
	r := reader{rest: p}
	ms, v := r.varint(), read[T](&r)
	if err := r.end(); err != nil {
		return err
	}
	if !l.set || cmp.Compare(ms, l.ms) >= 0 {
		l.set, l.ms, l.value = true, ms, v
	}
	return nil
}

func (l *latest[T]) payload() []byte {
	return appendNumber(appendNumber(nil, l.ms), l.value)
}

// newest keeps the payload that came last, whatever it means.
type newest struct{ last []byte }

func (n *newest) merge(p []byte) error {
	n.last = append(n.last[:0], p...)
	return nil
}

func (n *newest) payload() []byte { return bytes.Clone(n.last) }

// histogram is a HistogramValue. Counts add up as long as the buckets are the same;
// when they change, which no SDK does within a job, the newest is kept.
type histogram struct{ value *pipepb.HistogramValue }

func (h *histogram) merge(p []byte) error {
	v := &pipepb.HistogramValue{}
	if err := proto.Unmarshal(p, v); err != nil {
		return err
	}
	if h.value == nil || !proto.Equal(h.value.GetBucketOptions(), v.GetBucketOptions()) {
		h.value = v
		return nil
	}
	// Missing buckets at the end are zero.
	for i, n := range v.GetBucketCounts() {
		if i < len(h.value.BucketCounts) {
			h.value.BucketCounts[i] += n
		} else {
			h.value.BucketCounts = append(h.value.BucketCounts, n)
		}
	}
	h.value.Count = proto.Int64(h.value.GetCount() + v.GetCount())
	return nil
}

func (h *histogram) payload() []byte { return mustMarshal(h.value) }
