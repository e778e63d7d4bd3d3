package kafkaio

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/util/reflectx"
	"github.com/twmb/franz-go/pkg/kgo"
)

// clock says where elements' timestamps come from, and so what the watermark follows.
type clock string

const (
	recordTime     clock = "record"
	appendTime     clock = "append"
	extractedTime  clock = "extracted"
	processingTime clock = "processing"
)

// appendSkew is for how long a partition whose brokers give records their times must have been
// read to its end until its watermark follows this machine's clock, and by how much later:
// their clocks may differ by so much. Beam's Java KafkaIO has the same 2 s.
const appendSkew = 2 * time.Second

// RecordTime takes elements' timestamps from the records', and expects records to be out
// of order by no more than disorder. It is the default, without disorder.
func RecordTime(disorder time.Duration) ReadOption {
	return func(c *readConfig) { c.Clock, c.Disorder = recordTime, disorder }
}

// LogAppendTime takes elements' timestamps from the records', and expects brokers to have
// put them there, in order: topics must have message.timestamp.type=LogAppendTime, and a
// record of another kind fails its bundle. So a partition that is read to its end has seen
// all up to now: its watermark goes on with the clock, two seconds behind it (or as IdleAfter says).
func LogAppendTime() ReadOption {
	return func(c *readConfig) { c.Clock, c.Disorder = appendTime, 0 }
}

// TimestampBy takes elements' timestamps from a function of the record, and expects them to
// be out of order by no more than disorder. A zero time stands for the record's own.
//
// The function travels in the pipeline by its name. So it must have one, and be
// registered with register.Function1x1 when the program starts:
//
//	func clickTime(r kafkaio.Record) time.Time { ... }
//
//	func init() { register.Function1x1(clickTime) }
func TimestampBy(fn func(Record) time.Time, disorder time.Duration) ReadOption {
	return func(c *readConfig) {
		c.Clock, c.Disorder = extractedTime, disorder
		c.Extractor = ""
		if fn != nil {
			c.Extractor = reflectx.FunctionName(fn)
		}
	}
}

// ProcessingTime takes elements' timestamps from the clock of the machine that reads.
func ProcessingTime() ReadOption {
	return func(c *readConfig) { c.Clock, c.Disorder = processingTime, 0 }
}

// IdleAfter lets the watermark go on with the clock in partitions that have been read to
// their ends and have had no record for so long: it is then so much behind the clock, and the
// disorder too. A broker must say that there is no more: one that is away holds the watermark.
// Without it (and without LogAppendTime and ProcessingTime), a partition without records
// holds the watermark for ever.
func IdleAfter(d time.Duration) ReadOption { return func(c *readConfig) { c.IdleAfter = d } }

// hasName says whether a function's name is its own. Go gives names to function literals,
// method values and instances of generic functions, too, but each may be another's in
// another process, or in the same.
func hasName(fn string) bool {
	base := fn[strings.LastIndexByte(fn, '/')+1:]
	return strings.Count(base, ".") == 1 && !strings.HasSuffix(base, "-fm") && !strings.Contains(base, "[")
}

func (c *readConfig) checkClock() error {
	if c.Disorder < 0 || c.IdleAfter < 0 {
		return fmt.Errorf("kafkaio: a disorder of %v, idle after %v: neither can be negative", c.Disorder, c.IdleAfter)
	}
	if c.Clock != extractedTime {
		return nil
	}
	if c.Extractor == "" {
		return errors.New("kafkaio: TimestampBy: no function")
	}
	if !hasName(c.Extractor) {
		return fmt.Errorf("kafkaio: TimestampBy: %s is a function literal, a method or generic, and has no name of its own by which a worker could find it: "+
			"make it a function at the top level of a package", c.Extractor)
	}
	_, err := extractor(c.Extractor)
	return err
}

// extractor finds a function by its name.
func extractor(name string) (func(Record) time.Time, error) {
	fn, err := runtime.ResolveFunction(name, reflect.TypeFor[func(Record) time.Time]())
	if err != nil {
		return nil, fmt.Errorf("kafkaio: TimestampBy: function %s is not known: call register.Function1x1 with it in an init function of its package, and link that package into the worker: %w", name, err)
	}
	found, ok := fn.(func(Record) time.Time)
	if !ok {
		return nil, fmt.Errorf("kafkaio: TimestampBy: %s is a %T here, not a func(Record) time.Time: the worker's code is another", name, fn)
	}
	return found, nil
}

// Setup is called by the SDK before a reader's first bundle.
func (f *reader) Setup() (err error) {
	if f.Conf.Clock == extractedTime {
		f.extract, err = extractor(f.Conf.Extractor)
	}
	return err
}

// timestamp is that of a record's element, in ms since the Unix epoch, when the clock says now.
func (f *reader) timestamp(raw *kgo.Record, r *Record, now int64) (int64, error) {
	switch f.Conf.Clock {
	case processingTime:
		return now, nil
	case appendTime:
		if raw.Attrs.TimestampType() != 1 {
			return 0, fmt.Errorf("kafkaio: topic %s, partition %d, offset %d: the record's time is its producer's, but LogAppendTime wants the broker's: "+
				"set message.timestamp.type=LogAppendTime for the topic (records that are there already keep their times), or use RecordTime", r.Topic, r.Partition, r.Offset)
		}
	case extractedTime:
		if t := f.extract(*r); !t.IsZero() {
			return min(max(t.UnixMilli(), int64(mtime.MinTimestamp)), int64(mtime.MaxTimestamp)), nil
		}
	}
	return r.Millis, nil
}
