package kafkaio

import (
	"reflect"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Record is a record of a topic. A nil value is a tombstone; Kafka tells it from an empty
// one, and so does Tombstone, since Beam's coders don't.
type Record struct {
	Topic     string
	Partition int32
	// Offset and LeaderEpoch are set by Read.
	Offset      int64
	LeaderEpoch int32
	// Millis is the timestamp in ms since the Unix epoch; Write sets it to the element's
	// if it is 0.
	Millis    int64
	Key       []byte
	NoKey     bool
	Value     []byte
	Tombstone bool
	Headers   []Header
}

// Header is a record's header.
type Header struct {
	Key   string
	Value []byte
}

// Time is the record's timestamp.
func (r *Record) Time() time.Time { return time.UnixMilli(r.Millis) }

func init() {
	beam.RegisterType(reflect.TypeFor[Record]())
	beam.RegisterType(reflect.TypeFor[Header]())
}

func fromKafka(r *kgo.Record) Record {
	out := Record{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, LeaderEpoch: r.LeaderEpoch,
		Millis: r.Timestamp.UnixMilli(), Key: r.Key, NoKey: r.Key == nil, Value: r.Value, Tombstone: r.Value == nil,
	}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, Header{Key: h.Key, Value: h.Value})
	}
	return out
}

// toKafka makes what is produced: to topic unless the record names one.
func (r *Record) toKafka(topic string, ts int64) *kgo.Record {
	out := &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value}
	if out.Topic == "" {
		out.Topic = topic
	}
	switch {
	case r.NoKey || r.Key == nil:
		out.Key = nil
	case out.Key == nil:
		out.Key = []byte{}
	}
	switch {
	case r.Tombstone:
		out.Value = nil
	case out.Value == nil:
		out.Value = []byte{}
	}
	if r.Millis != 0 {
		ts = r.Millis
	}
	out.Timestamp = time.UnixMilli(ts)
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return out
}
