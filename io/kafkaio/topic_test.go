package kafkaio

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestTopicDeleted: a topic that is deleted while it is read, and not made again, fails its reader, which says so.
func TestTopicDeleted(t *testing.T) {
	broker := fakeTopic(t, nil, &kgo.Record{Value: []byte("a")}, &kgo.Record{Value: []byte("b")})
	f := &readUnbounded{reader{Conf: readConfig{Cluster: Cluster{Brokers: broker.ListenAddrs()}, Topics: []string{"in"}}, patience: 300 * time.Millisecond}}
	p, next := Partition{Topic: "in", Stop: math.MaxInt64}, int64(0)
	turn := func() error {
		_, err := f.ProcessElement(t.Context(), &watermark{}, newOffsets(offsetrange.Restriction{Start: next, End: math.MaxInt64}, 0), p,
			func(beam.EventTime, Record) {}, func(_ string, to int64) { next = to })
		return err
	}
	for deadline := time.Now().Add(time.Minute); next < 2; {
		if err := turn(); err != nil || time.Now().After(deadline) {
			t.Fatalf("offset %d is next: %v", next, err)
		}
	}
	if err := broker.DeleteTopic("in"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		err := turn()
		if err != nil {
			if want := "topic in: it is not there"; !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "was it deleted?") {
				t.Errorf("got %v, want to read %q, and that it may have been deleted", err, want)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the topic is gone, and nobody has said so for a minute")
		}
	}
}
