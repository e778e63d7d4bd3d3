package kafkaio_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/summerbeam/summerbeam/io/kafkaio"
	"github.com/summerbeam/summerbeam/runner/beamrunner"
)

func init() {
	register.Function1x1(swell)
	register.Function1x1(letterText)
}

// swell makes a record whose value has as many bytes as it says, of which none compresses well.
func swell(r kafkaio.Record) kafkaio.Record {
	var n int
	if _, err := fmt.Sscan(string(r.Value), &n); err != nil {
		panic(err)
	}
	h := uint64(1)
	value := make([]byte, n)
	for i := range value {
		h ^= h << 13
		h ^= h >> 7
		h ^= h << 17
		value[i] = byte(h)
	}
	return kafkaio.Record{Key: r.Key, Value: value, Topic: "out"}
}

func letterText(l kafkaio.DeadLetter) string {
	return fmt.Sprintf("%s=%d bytes: %s", l.Record.Key, len(l.Record.Value), l.Cause)
}

// TestTooLarge: a record that the brokers would refuse goes to the letters, with why, and to a topic
// of dead letters if the user wants so; the others are written.
func TestTooLarge(t *testing.T) {
	for _, exactly := range []bool{false, true} {
		t.Run(fmt.Sprintf("exactly=%v", exactly), func(t *testing.T) {
			b := newBroker(t, 1, "in", "out", "dead")
			b.limit("out", "20000")
			for i, n := range []int{10, 19_000, 19_990, 30_000, 11_000, 12_000, 13_000} {
				b.produce(rec("in", 0, fmt.Sprintf("k%d", i), fmt.Sprint(n), 1000))
			}
			p, s := beam.NewPipelineWithRoot()
			in := beam.ParDo(s, swell, kafkaio.Read(s, b.cluster, kafkaio.Topics("in"), kafkaio.Until(kafkaio.Latest())))
			opts := []kafkaio.WriteOption{kafkaio.Topic("out"), kafkaio.MaxRecordBytes(20_000)}
			if exactly {
				opts = append(opts, kafkaio.ExactlyOnce("test"), kafkaio.Shards(1))
			}
			letters := kafkaio.TryWrite(s, b.cluster, in, opts...)
			passert.Equals(s, beam.ParDo(s, letterText, letters),
				"k2=19990 bytes: too large to write: up to 20089 bytes with its headers, and 20000 is the most",
				"k3=30000 bytes: too large to write: up to 30099 bytes with its headers, and 20000 is the most")
			kafkaio.Write(s, b.cluster, beam.ParDo(s, kafkaio.LetterRecord, letters), kafkaio.Topic("dead"))
			if _, err := beamrunner.Execute(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			sizes := func(topic string) (out []int) {
				for _, v := range b.all(topic) {
					out = append(out, len(v))
				}
				slices.Sort(out)
				return out
			}
			if got := sizes("out"); !slices.Equal(got, []int{10, 11_000, 12_000, 13_000, 19_000}) {
				t.Errorf("values of %d bytes are written", got)
			}
			if got := sizes("dead"); !slices.Equal(got, []int{19_990, 30_000}) {
				t.Errorf("values of %d bytes are among the dead letters", got)
			}
		})
	}
}

// TestTooLargeFails: without letters a record that is too large fails the job, which says what to do.
func TestTooLargeFails(t *testing.T) {
	b := newBroker(t, 1, "in", "out")
	b.limit("out", "20000")
	b.produce(rec("in", 0, "k", "30000", 1000))
	p, s := beam.NewPipelineWithRoot()
	in := kafkaio.Read(s, b.cluster, kafkaio.Topics("in"), kafkaio.Until(kafkaio.Latest()))
	kafkaio.Write(s, b.cluster, beam.ParDo(s, swell, in), kafkaio.Topic("out"))
	_, err := beamrunner.Execute(t.Context(), p)
	if err == nil || !strings.Contains(err.Error(), "set MaxRecordBytes to the topic's max.message.bytes") {
		t.Errorf("got %v, want to hear of MaxRecordBytes", err)
	}
}

// limit sets a topic's max.message.bytes.
func (b *broker) limit(topic, max string) {
	b.t.Helper()
	set := []kadm.AlterConfig{{Name: "max.message.bytes", Value: &max}}
	if _, err := kadm.NewClient(b.cl).AlterTopicConfigs(b.t.Context(), set, topic); err != nil {
		b.t.Fatal(err)
	}
}

// TestLetterRecord: a letter's record says where it came from.
func TestLetterRecord(t *testing.T) {
	in := kafkaio.Record{Topic: "clicks", Partition: 3, Offset: 17, Key: []byte("k"), Value: []byte("v"), Headers: []kafkaio.Header{{Key: "h", Value: []byte("1")}}}
	out := kafkaio.LetterRecord(kafkaio.DeadLetter{Record: in, Cause: "because"})
	var got bytes.Buffer
	for _, h := range out.Headers {
		fmt.Fprintf(&got, "%s=%s ", h.Key, h.Value)
	}
	if want := "h=1 dead-letter-cause=because dead-letter-topic=clicks dead-letter-partition=3 dead-letter-offset=17 "; got.String() != want {
		t.Errorf("headers %s, want %s", &got, want)
	}
	if out.Topic != "" || string(out.Key) != "k" || string(out.Value) != "v" {
		t.Errorf("the record is %+v", out)
	}
}
