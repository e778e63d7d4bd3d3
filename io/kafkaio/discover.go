package kafkaio

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/twmb/franz-go/pkg/kadm"
)

// Partition is a partition to read, from an offset up to another (math.MaxInt64: no end).
// It is exported for Beam's coders alone.
type Partition struct {
	Topic string
	// ID is the topic's, which tells it from others that have had, or will have, its name.
	ID          string
	Number      int32
	Start, Stop int64
}

// Sighting is a partition that discovery has seen; First says that it was there when the
// job began. It is exported for Beam's coders alone.
type Sighting struct {
	Topic  string
	ID     string
	Number int32
	First  bool
}

func init() {
	beam.RegisterType(reflect.TypeFor[Partition]())
	beam.RegisterType(reflect.TypeFor[Sighting]())
	beam.RegisterDoFn(&listPartitions{})
	register.Emitter1[Partition]()
	beam.RegisterDoFn(&watch{})
	register.Emitter3[beam.EventTime, string, Sighting]()
	beam.RegisterDoFn(&firstSight{})
}

// listPartitions finds the partitions of a bounded read, with their ends.
type listPartitions struct{ Conf readConfig }

func (f *listPartitions) ProcessElement(ctx context.Context, _ []byte, emit func(Partition)) error {
	cl, err := f.Conf.Cluster.client()
	if err != nil {
		return err
	}
	adm := kadm.NewClient(cl)
	topics, err := f.Conf.topics(ctx, adm)
	if err != nil {
		return err
	}
	if len(topics) == 0 {
		return fmt.Errorf("kafkaio: no topic matches %s: see whether it matches the whole of a name, and whether the user may see the topic", f.Conf.Pattern)
	}
	for _, topic := range topics {
		info, err := find(ctx, adm, topic)
		if err != nil {
			return err
		}
		from, err := f.Conf.From.resolve(ctx, adm, topic, info.partitions)
		if err != nil {
			return fmt.Errorf("kafkaio: where to begin: %w", err)
		}
		until, err := f.Conf.Until.resolve(ctx, adm, topic, info.partitions)
		if err != nil {
			return fmt.Errorf("kafkaio: where to end: %w", err)
		}
		for _, n := range info.partitions {
			if from[n] < until[n] {
				emit(Partition{Topic: topic, ID: info.id, Number: n, Start: from[n], Stop: until[n]})
			}
		}
	}
	return nil
}

// watch looks for partitions again and again. It emits all it sees: which of them are new
// is a question of state.
type watch struct{ Conf readConfig }

func (*watch) CreateInitialRestriction([]byte) offsetrange.Restriction {
	return offsetrange.Restriction{End: math.MaxInt64 / 2}
}

func (*watch) SplitRestriction(_ []byte, r offsetrange.Restriction) []offsetrange.Restriction {
	return []offsetrange.Restriction{r}
}

func (*watch) RestrictionSize([]byte, offsetrange.Restriction) float64 { return 1 }

func (*watch) CreateTracker(r offsetrange.Restriction) *sdf.LockRTracker {
	return sdf.NewLockRTracker(offsetrange.NewTracker(r))
}

// TruncateRestriction: a drained job looks for nothing more.
func (*watch) TruncateRestriction(rt *sdf.LockRTracker, _ []byte) offsetrange.Restriction {
	r := rt.GetRestriction().(offsetrange.Restriction)
	return offsetrange.Restriction{Start: r.Start, End: r.Start}
}

func (*watch) InitialWatermarkEstimatorState(beam.EventTime, offsetrange.Restriction, []byte) int64 {
	return int64(mtime.MinTimestamp)
}

func (*watch) CreateWatermarkEstimator(ms int64) *watermark { return &watermark{millis: ms} }

func (*watch) WatermarkEstimatorState(w *watermark) int64 { return w.now() }

func (f *watch) ProcessElement(ctx context.Context, w *watermark, rt *sdf.LockRTracker, _ []byte, emit func(beam.EventTime, string, Sighting)) (sdf.ProcessContinuation, error) {
	round := rt.GetRestriction().(offsetrange.Restriction).Start
	if !rt.TryClaim(round) {
		return sdf.StopProcessing(), nil
	}
	cl, err := f.Conf.Cluster.client()
	if err != nil {
		return nil, err
	}
	adm := kadm.NewClient(cl)
	topics, err := f.Conf.topics(ctx, adm)
	if err != nil {
		return nil, err
	}
	for _, topic := range topics {
		info, err := find(ctx, adm, topic)
		if err != nil {
			if round > 0 {
				continue // it was there before; whoever reads it says what is wrong
			}
			return nil, err
		}
		for _, n := range info.partitions {
			emit(beam.EventTime(w.now()), fmt.Sprintf("%s/%d/%s", topic, n, info.id), Sighting{Topic: topic, ID: info.id, Number: n, First: round == 0})
		}
	}
	// Until the next round nothing comes. What comes then has that time.
	w.advance(time.Now().UnixMilli())
	return sdf.ResumeProcessingIn(f.Conf.Discover), nil
}

// firstSight lets each partition pass once, with where to begin in it.
type firstSight struct {
	Conf readConfig
	Seen state.Value[bool]
}

func newFirstSight(conf readConfig) *firstSight {
	return &firstSight{Conf: conf, Seen: state.MakeValueState[bool]("seen")}
}

func (f *firstSight) ProcessElement(ctx context.Context, sp state.Provider, _ string, at Sighting, emit func(Partition)) error {
	seen, _, err := f.Seen.Read(sp)
	if err != nil || seen {
		return err
	}
	cl, err := f.Conf.Cluster.client()
	if err != nil {
		return err
	}
	from := f.Conf.From
	if !at.First {
		from = Earliest()
	}
	start, err := from.resolve(ctx, kadm.NewClient(cl), at.Topic, []int32{at.Number})
	if err != nil {
		return fmt.Errorf("kafkaio: where to begin: %w", err)
	}
	emit(Partition{Topic: at.Topic, ID: at.ID, Number: at.Number, Start: start[at.Number], Stop: math.MaxInt64})
	return f.Seen.Write(sp, true)
}
