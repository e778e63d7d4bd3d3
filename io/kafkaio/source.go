package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/log"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func init() {
	beam.RegisterDoFn(&readUnbounded{})
	beam.RegisterDoFn(&readBounded{})
	register.Emitter2[beam.EventTime, Record]()
	register.Emitter2[string, int64]()
}

const (
	// turnRecords and turnTime end a turn at a partition: what a bundle has read is seen
	// by others when it has ended.
	turnRecords = 20_000
	turnTime    = 500 * time.Millisecond
	// pollTime is how long a turn waits for records, restTime how long it is until the
	// next one if there are none.
	pollTime = 100 * time.Millisecond
	restTime = 20 * time.Millisecond
)

// quietTurns is how many turns of a bounded read bring nothing until it asks whether
// there is something.
const quietTurns = 5

// lookEvery is how often it is seen whether a topic that brings nothing is still the same: the
// client need not hear of it.
const lookEvery = 2 * time.Second

// reader is what both kinds of reading have in common. A restriction is a range of
// offsets.
type reader struct {
	Conf readConfig

	cluster  string                 // its id, which takes a moment to make
	extract  func(Record) time.Time // for extractedTime
	patience time.Duration          // with a topic that is missing; 0 is missingPatience
}

func (*reader) CreateInitialRestriction(p Partition) offsetrange.Restriction {
	return offsetrange.Restriction{Start: p.Start, End: p.Stop}
}

func (*reader) SplitRestriction(_ Partition, r offsetrange.Restriction) []offsetrange.Restriction {
	return []offsetrange.Restriction{r}
}

// RestrictionSize is the number of offsets, where there is an end.
func (*reader) RestrictionSize(_ Partition, r offsetrange.Restriction) float64 {
	if r.End == math.MaxInt64 {
		return 1
	}
	return r.Size()
}

func (f *reader) CreateTracker(r offsetrange.Restriction) *offsets { return newOffsets(r, 0) }

// turn is one call's way through a partition.
type turn struct {
	next    int64 // the offset to read next
	records int
	// over says that the restriction, or what is left of it, is done.
	over bool
}

// claimRecords is how many records are claimed at once: a range can't be cut off between
// them.
const claimRecords = 64

// read claims and emits records from an offset on until the turn ends.
func (f *reader) read(ctx context.Context, rt *offsets, p Partition, from int64, emit func(ts int64, r Record)) (turn, error) {
	t := turn{next: from}
	fd, err := takeFeed(&f.Conf.Cluster, f.key(p), t.next)
	if err != nil {
		return t, err
	}
	for began := time.Now(); t.records < turnRecords && time.Since(began) < turnTime; {
		records, err := fd.poll(ctx, pollTime)
		gone := errors.Is(err, errGone)
		if gone || err == nil && fd.doubtful(len(records) > 0, time.Now()) {
			sure, other := f.sameTopic(ctx, p)
			switch {
			case other != nil:
				fd.drop()
				return f.leave(ctx, rt, t, other)
			case !sure:
				// Brokers are away: another turn will find out.
				fd.put(t.next)
				return t, nil
			case gone:
				// Brokers didn't agree. The client may have heard of another topic: it must not go on.
				fd.drop()
				return t, nil
			}
			if len(records) > 0 {
				fd.trust()
			}
		}
		if err != nil {
			fd.drop()
			if errors.Is(err, errOutOfRange) && f.Conf.OutOfRange != "" {
				return f.skip(ctx, rt, p, t)
			}
			return t, err
		}
		rt.grow(fd.high)
		if len(records) == 0 {
			break
		}
		for len(records) > 0 {
			n := min(claimRecords, len(records))
			if err = f.take(rt, records[:n], &t, emit); err != nil {
				fd.drop()
				return t, err
			}
			if t.over {
				break // the feed keeps what is behind the range
			}
			for _, rec := range records[:n] {
				rec.Recycle()
			}
			records = records[n:]
			fd.have = records
		}
		if t.over {
			break
		}
	}
	fd.put(t.next)
	return t, nil
}

// take claims records and emits them.
func (f *reader) take(rt *offsets, records []*kgo.Record, t *turn, emit func(ts int64, r Record)) error {
	last := records[len(records)-1].Offset
	if last < t.next {
		return nil // what a compressed batch has in front of the offset asked for
	}
	claimed := rt.claim(last)
	now := time.Now().UnixMilli()
	for _, rec := range records {
		if rec.Offset < t.next || rec.Offset >= claimed || rec.Attrs.IsControl() {
			continue
		}
		r := fromKafka(rec)
		ts, err := f.timestamp(rec, &r, now)
		if err != nil {
			return err
		}
		emit(ts, r)
		t.records++
	}
	t.next, t.over = claimed, claimed <= last
	return nil
}

// leave ends the reading of a topic that isn't there any more, if another has its name and the user wants to go on
// with that: it is found as new topics are.
func (f *reader) leave(ctx context.Context, rt *offsets, t turn, why error) (turn, error) {
	if !f.Conf.Follow || f.Conf.Until != nil || !errors.Is(why, errRecreated) {
		return t, why
	}
	log.Warnf(ctx, "%v; going on with the new one", why)
	t.over, t.next = true, rt.claim(math.MaxInt64-1)
	return t, nil
}

// skip goes on where the user wants to when the next offset is gone.
func (f *reader) skip(ctx context.Context, rt *offsets, p Partition, t turn) (turn, error) {
	cl, err := f.Conf.Cluster.client()
	if err != nil {
		return t, err
	}
	at, err := Position{Kind: f.Conf.OutOfRange}.resolve(ctx, kadm.NewClient(cl), p.Topic, []int32{p.Number})
	if err != nil {
		return t, err
	}
	to := at[p.Number]
	if to <= t.next {
		// It is ahead of the partition's end: wait for what will come.
		return t, nil
	}
	// Claims all up to there: nothing of it will be read.
	t.over = !rt.TryClaim(to - 1)
	t.next = to
	return t, nil
}

// readUnbounded reads partitions without an end. Its second output says how far it has
// come: topic/partition, and the next offset.
type readUnbounded struct{ reader }

func (*readUnbounded) TruncateRestriction(rt *offsets, _ Partition) offsetrange.Restriction {
	r := rt.GetRestriction().(offsetrange.Restriction)
	return offsetrange.Restriction{Start: r.Start, End: r.Start}
}

func (*readUnbounded) InitialWatermarkEstimatorState(beam.EventTime, offsetrange.Restriction, Partition) int64 {
	return int64(mtime.MinTimestamp)
}

func (*readUnbounded) CreateWatermarkEstimator(ms int64) *watermark { return &watermark{millis: ms} }

func (*readUnbounded) WatermarkEstimatorState(w *watermark) int64 { return w.now() }

func (f *readUnbounded) ProcessElement(ctx context.Context, w *watermark, rt *offsets, p Partition, emit func(beam.EventTime, Record), position func(string, int64)) (sdf.ProcessContinuation, error) {
	newest := int64(math.MinInt64)
	t, err := f.read(ctx, rt, p, rt.GetRestriction().(offsetrange.Restriction).Start, func(ts int64, r Record) {
		emit(beam.EventTime(ts), r)
		if ts > newest {
			newest = ts
			w.advance(ts - f.Conf.Disorder.Milliseconds())
		}
	})
	if err != nil {
		return nil, err
	}
	now := time.Now()
	switch {
	case f.Conf.Clock == processingTime:
		w.advance(now.UnixMilli())
	case t.records > 0:
		sawRecord(f.key(p), now)
	case f.idle(ctx, p, t.next, now):
		w.advance(now.UnixMilli() - f.Conf.Disorder.Milliseconds() - f.Conf.IdleAfter.Milliseconds())
	}
	if t.records > 0 {
		position(topicPartition(p), t.next)
	}
	switch {
	case t.over:
		return sdf.StopProcessing(), nil
	case t.records == 0:
		return sdf.ResumeProcessingIn(restTime), nil
	}
	return sdf.ResumeProcessingIn(0), nil
}

// readBounded reads partitions up to an offset.
type readBounded struct{ reader }

func (f *readBounded) ProcessElement(ctx context.Context, rt *offsets, p Partition, emit func(beam.EventTime, Record)) error {
	quiet := 0
	for next := rt.GetRestriction().(offsetrange.Restriction).Start; ; {
		t, err := f.read(ctx, rt, p, next, func(ts int64, r Record) { emit(beam.EventTime(ts), r) })
		if err != nil || t.over {
			return err
		}
		if quiet++; t.next > next {
			next, quiet = t.next, 0
		}
		// The end is an offset that need not be there: behind the last record, or of one
		// that compaction took.
		end := rt.GetRestriction().(offsetrange.Restriction).End
		if quiet >= quietTurns {
			to, err := beyondGap(ctx, &f.Conf.Cluster, p.Topic, p.Number, next, f.Conf.Isolated)
			if err != nil && !away(err) {
				return fmt.Errorf("kafkaio: topic %s, partition %d, offset %d: %w", p.Topic, p.Number, next, err)
			}
			next, quiet = min(max(to, next), end), 0
		}
		if next >= end {
			rt.TryClaim(end)
			return nil
		}
	}
}
