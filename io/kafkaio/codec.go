package kafkaio

import (
	"encoding/binary"
	"errors"
	"reflect"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Records have a coder of their own. The SDK would code them as rows, field by field
// through reflection, which costs several times as much as all else that is done to a
// record here.
//
//	flags | topic | partition | offset | leader epoch | millis | key | value | headers
//
// Numbers are varints, bytes have their length in front, and what the flags say is
// not there has no bytes at all.
const (
	hasTopic = 1 << iota
	hasKey
	hasValue
	hasHeaders
)

// (DoFns that are called for each record are registered by package register, the others
// by beam.RegisterDoFn: the compiler takes seconds for each of the former.)
func init() {
	beam.RegisterType(reflect.TypeFor[Record]())
	beam.RegisterType(reflect.TypeFor[Header]())
	register.Function1x1(encodeRecord)
	register.Function1x2(decodeRecord)
	beam.RegisterCoder(reflect.TypeFor[Record](), encodeRecord, decodeRecord)
}

func encodeRecord(r Record) []byte {
	return appendRecord(make([]byte, 0, 40+len(r.Topic)+len(r.Key)+len(r.Value)), &r)
}

func decodeRecord(b []byte) (Record, error) {
	var r Record
	rest, err := cutRecord(b, &r)
	if err == nil && len(rest) > 0 {
		err = errCut
	}
	return r, err
}

func appendRecord(b []byte, r *Record) []byte {
	var flags byte
	if r.Topic != "" {
		flags |= hasTopic
	}
	if !r.NoKey && r.Key != nil {
		flags |= hasKey
	}
	if !r.Tombstone {
		flags |= hasValue
	}
	if len(r.Headers) > 0 {
		flags |= hasHeaders
	}
	b = append(b, flags)
	if flags&hasTopic != 0 {
		b = appendBytes(b, r.Topic)
	}
	b = binary.AppendVarint(b, int64(r.Partition))
	b = binary.AppendVarint(b, r.Offset)
	b = binary.AppendVarint(b, int64(r.LeaderEpoch))
	b = binary.AppendVarint(b, r.Millis)
	if flags&hasKey != 0 {
		b = appendBytes(b, r.Key)
	}
	if flags&hasValue != 0 {
		b = appendBytes(b, r.Value)
	}
	if flags&hasHeaders != 0 {
		b = binary.AppendUvarint(b, uint64(len(r.Headers)))
		for _, h := range r.Headers {
			b = appendBytes(b, h.Key)
			// A header's value may be null, too: 0 is null, n + 1 has n bytes.
			if h.Value == nil {
				b = append(b, 0)
				continue
			}
			b = binary.AppendUvarint(b, uint64(len(h.Value))+1)
			b = append(b, h.Value...)
		}
	}
	return b
}

func appendBytes[T string | []byte](b []byte, v T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

var errCut = errors.New("BUG: kafkaio: a coded record is cut")

// cutRecord decodes the record at the beginning of b, and returns what is behind it. Key,
// value and headers are parts of b.
func cutRecord(b []byte, r *Record) ([]byte, error) {
	if len(b) == 0 {
		return nil, errCut
	}
	c := cutter{b: b[1:]}
	flags := b[0]
	if flags&hasTopic != 0 {
		r.Topic = string(c.bytes())
	}
	r.Partition = int32(c.varint())
	r.Offset = c.varint()
	r.LeaderEpoch = int32(c.varint())
	r.Millis = c.varint()
	if flags&hasKey != 0 {
		r.Key = c.bytes()
	} else {
		r.NoKey = true
	}
	if flags&hasValue != 0 {
		r.Value = c.bytes()
	} else {
		r.Tombstone = true
	}
	if flags&hasHeaders != 0 {
		n := c.uvarint()
		if n > uint64(len(c.b)) {
			return nil, errCut
		}
		r.Headers = make([]Header, n)
		for i := range r.Headers {
			r.Headers[i].Key = string(c.bytes())
			if size := c.uvarint(); size > 0 {
				r.Headers[i].Value = c.take(size - 1)
			}
		}
	}
	return c.b, c.err
}

// cutter takes parts off the front of b.
type cutter struct {
	b   []byte
	err error
}

func (c *cutter) varint() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.b, c.err = nil, errCut
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cutter) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.b, c.err = nil, errCut
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cutter) bytes() []byte { return c.take(c.uvarint()) }

func (c *cutter) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.b, c.err = nil, errCut
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

func fromKafka(r *kgo.Record) Record {
	out := Record{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, LeaderEpoch: r.LeaderEpoch,
		Millis: r.Timestamp.UnixMilli(), Key: r.Key, NoKey: r.Key == nil, Value: r.Value, Tombstone: r.Value == nil,
	}
	if len(r.Headers) > 0 {
		out.Headers = make([]Header, len(r.Headers))
		for i, h := range r.Headers {
			out.Headers[i] = Header{Key: h.Key, Value: h.Value}
		}
	}
	return out
}

// toKafka makes what is produced: to topic unless the record names one, with the time ts
// (ms since the Unix epoch) unless it has one.
func (r *Record) toKafka(out *kgo.Record, topic string, ts int64) {
	if r.Topic != "" {
		topic = r.Topic
	}
	if r.Millis != 0 {
		ts = r.Millis
	}
	out.Topic, out.Timestamp = topic, time.UnixMilli(ts)
	if !r.NoKey && r.Key != nil {
		out.Key = r.Key
	}
	if !r.Tombstone {
		if out.Value = r.Value; out.Value == nil {
			out.Value = []byte{}
		}
	}
	if len(r.Headers) > 0 {
		out.Headers = make([]kgo.RecordHeader, len(r.Headers))
		for i, h := range r.Headers {
			out.Headers[i] = kgo.RecordHeader{Key: h.Key, Value: h.Value}
		}
	}
}
