package kafkaio

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"strconv"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
)

// DeadLetter is a record that was put aside, so that the others can go on, and why.
type DeadLetter struct {
	Record Record
	Cause  string
}

func init() {
	beam.RegisterType(reflect.TypeFor[DeadLetter]())
	register.Function1x1(encodeLetter)
	register.Function1x2(decodeLetter)
	beam.RegisterCoder(reflect.TypeFor[DeadLetter](), encodeLetter, decodeLetter)
	register.Function1x1(LetterRecord)
	register.DoFn3x0[Record, func(Record), func(DeadLetter)](&sift{})
	register.Emitter1[Record]()
	register.Emitter1[DeadLetter]()
}

func encodeLetter(l DeadLetter) []byte { return appendRecord(appendBytes(nil, l.Cause), &l.Record) }

func decodeLetter(b []byte) (DeadLetter, error) {
	c := cutter{b: b}
	l := DeadLetter{Cause: string(c.bytes())}
	if c.err != nil {
		return l, c.err
	}
	rest, err := cutRecord(c.b, &l.Record)
	if err == nil && len(rest) > 0 {
		err = errCut
	}
	return l, err
}

// LetterRecord makes a record of a letter, to write to a topic of dead letters: key, value,
// time and headers as they were, and headers that begin with "dead-letter-" and say
// why it was put aside and from where it came. It goes to the topic that Write is given.
//
//	kafkaio.Write(s, cluster, beam.ParDo(s, kafkaio.LetterRecord, letters), kafkaio.Topic("clicks-dead"))
func LetterRecord(l DeadLetter) Record {
	r := l.Record
	r.Headers = append(slices.Clip(r.Headers), Header{Key: "dead-letter-cause", Value: []byte(l.Cause)})
	if r.Topic != "" {
		r.Headers = append(r.Headers,
			Header{Key: "dead-letter-topic", Value: []byte(r.Topic)},
			Header{Key: "dead-letter-partition", Value: strconv.AppendInt(nil, int64(r.Partition), 10)},
			Header{Key: "dead-letter-offset", Value: strconv.AppendInt(nil, r.Offset, 10)})
	}
	r.Topic = ""
	return r
}

// defaultMaxRecord is how many bytes of records a broker takes at once unless somebody has said
// otherwise: Kafka's message.max.bytes is a little more.
const defaultMaxRecord = 1_000_012

// sift tells records that are too large for the brokers from the others. It stands before
// whatever numbers records or groups them: what is numbered must be written.
type sift struct{ Max int }

func (f *sift) ProcessElement(r Record, emit func(Record), bad func(DeadLetter)) {
	if n := wireSize(&r); n > f.Max {
		bad(DeadLetter{Record: r, Cause: fmt.Sprintf("too large to write: up to %d bytes with its headers, and %d is the most", n, f.Max)})
		return
	}
	emit(r)
}

// wireSize is how many bytes a record may take as the only one of its batch, without compression.
func wireSize(r *Record) int {
	const (
		batch  = 61 // the header of a batch of format 2
		fields = 1 + 5 + 10 + 5 + 5 + 5 + 5
	)
	n := batch + fields + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += 2*binary.MaxVarintLen32 + len(h.Key) + len(h.Value)
	}
	return n
}
