package kafkaio

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
)

// offsets is the tracker of a range of a partition's offsets. It is the SDK's
// offsetrange tracker, with a lock in it, with a claim of many records at once, and with the
// backlog as what remains where there is no end.
//
// A range without an end is not split in the middle: both halves would be read at
// once, and that a partition's records come in order is what Kafka's users rely on. It
// can be cut off behind what is claimed. A range with an end is split anywhere.
type offsets struct {
	offsetsMu sync.Mutex
	rest      offsetrange.Restriction
	next      int64 // the first offset that is not claimed
	high      int64 // the first offset that the partition doesn't have yet, as far as is known
	stopped   bool  // a claim was refused: all of the range is done
	err       error
}

func newOffsets(r offsetrange.Restriction, high int64) *offsets {
	return &offsets{rest: r, next: r.Start, high: high}
}

// TryClaim implements sdf.RTracker: it claims all up to an offset, an int64, and with it.
func (o *offsets) TryClaim(pos any) bool {
	last := pos.(int64)
	return o.claim(last) > last
}

// claim claims all offsets up to last, and with it, that are in the range. It returns the
// first offset that isn't claimed then: last + 1, or the end of the range, which is done
// then and ends the turn.
func (o *offsets) claim(last int64) int64 {
	o.offsetsMu.Lock()
	defer o.offsetsMu.Unlock()
	switch {
	case o.stopped:
		o.err = errors.New("BUG: kafkaio: a claim behind the end of a range")
		return o.rest.End
	case last < o.next:
		o.stopped, o.err = true, fmt.Errorf("BUG: kafkaio: offset %d is claimed, the next is %d", last, o.next)
		return o.next
	case last >= o.rest.End:
		o.next, o.stopped = o.rest.End, true
		return o.rest.End
	}
	o.next = last + 1
	return o.next
}

// grow says that the partition has offsets up to high, without it.
func (o *offsets) grow(high int64) {
	o.offsetsMu.Lock()
	defer o.offsetsMu.Unlock()
	o.high = max(o.high, high)
}

// GetError implements sdf.RTracker.
func (o *offsets) GetError() error {
	o.offsetsMu.Lock()
	defer o.offsetsMu.Unlock()
	return o.err
}

// TrySplit implements sdf.RTracker.
func (o *offsets) TrySplit(fraction float64) (primary, residual any, err error) {
	o.offsetsMu.Lock()
	defer o.offsetsMu.Unlock()
	if o.done() || o.stopped || (o.endless() && fraction > 0) {
		return o.rest, nil, nil
	}
	at := o.next + int64(math.Ceil(min(max(fraction, 0), 1)*float64(o.rest.End-o.next)))
	if fraction <= 0 {
		at = o.next
	}
	if at >= o.rest.End {
		return o.rest, nil, nil
	}
	residual = offsetrange.Restriction{Start: at, End: o.rest.End}
	o.rest.End = at
	return o.rest, residual, nil
}

// GetProgress implements sdf.RTracker, in offsets.
func (o *offsets) GetProgress() (done, remaining float64) {
	o.offsetsMu.Lock()
	defer o.offsetsMu.Unlock()
	end := o.rest.End
	if o.endless() {
		end = max(o.high, o.next)
	}
	return float64(o.next - o.rest.Start), float64(end - o.next)
}

// IsDone implements sdf.RTracker.
func (o *offsets) IsDone() bool {
	o.offsetsMu.Lock()
	defer o.offsetsMu.Unlock()
	return o.err == nil && o.done()
}

func (o *offsets) done() bool { return o.next >= o.rest.End }

// GetRestriction implements sdf.RTracker.
func (o *offsets) GetRestriction() any {
	o.offsetsMu.Lock()
	defer o.offsetsMu.Unlock()
	return o.rest
}

// IsBounded implements sdf.BoundableRTracker.
func (o *offsets) IsBounded() bool {
	o.offsetsMu.Lock()
	defer o.offsetsMu.Unlock()
	return !o.endless()
}

func (o *offsets) endless() bool { return o.rest.End == math.MaxInt64 }
