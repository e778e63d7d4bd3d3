package kafkaio_test

import (
	"strings"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/summerbeam/summerbeam/io/kafkaio"
	"github.com/summerbeam/summerbeam/runner/beamrunner"
)

// TestPatternBounded: topics whose whole names match, once if they are named too, and none
// of the cluster's own.
func TestPatternBounded(t *testing.T) {
	topics := []string{"clicks-a", "clicks-b", "old-clicks-a", "__clicks", "other"}
	b := newBroker(t, 1, topics...)
	for _, topic := range topics {
		b.produce(rec(topic, 0, "k", topic, 1000))
	}
	p, s := beam.NewPipelineWithRoot()
	got := kafkaio.Read(s, b.cluster, kafkaio.TopicPattern("(__)?clicks.*"), kafkaio.Topics("clicks-b"), kafkaio.Until(kafkaio.Latest()))
	passert.Equals(s, beam.ParDo(s, text, got),
		"clicks-a/0@0 k=clicks-a tombstone=false headers=[]", "clicks-b/0@0 k=clicks-b tombstone=false headers=[]")
	if _, err := beamrunner.Execute(t.Context(), p); err != nil {
		t.Fatal(err)
	}

	p, s = beam.NewPipelineWithRoot()
	kafkaio.Read(s, b.cluster, kafkaio.TopicPattern("click"), kafkaio.Until(kafkaio.Latest()))
	if _, err := beamrunner.Execute(t.Context(), p); err == nil || !strings.Contains(err.Error(), "no topic matches click") {
		t.Errorf("got %v, want to hear that no topic matches", err)
	}
}

// TestPatternFindsNewTopics: a topic that appears while the job runs is read from its first record, be it the
// first that matches, which the job waits for, or a later one.
func TestPatternFindsNewTopics(t *testing.T) {
	b := newBroker(t, 1, "other", "out")
	listed := make(chan struct{}, 2)
	b.fake.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.fake.KeepControl()
		if req.(*kmsg.MetadataRequest).Topics == nil { // who asks for all
			select {
			case listed <- struct{}{}:
			default:
			}
		}
		return nil, nil, false
	})
	p, s := beam.NewPipelineWithRoot()
	in := kafkaio.Read(s, b.cluster, kafkaio.TopicPattern("clicks-.*"), kafkaio.DiscoverEvery(50*time.Millisecond))
	kafkaio.Write(s, b.cluster, beam.ParDo(s, upper, in), kafkaio.Topic("out"))
	job := run(t, p)
	for range cap(listed) {
		select {
		case <-listed:
		case err := <-job.ended:
			t.Fatalf("the job has ended before there was a topic: %v", err)
		}
	}
	var want []string
	for _, name := range []string{"a", "b"} {
		if err := b.fake.CreateTopic("clicks-"+name, 1, nil); err != nil {
			t.Fatal(err)
		}
		b.produce(rec("clicks-"+name, 0, "k", name, 1000))
		want = append(want, strings.ToUpper(name))
		job.until(b, want...)
	}
}

func TestPatternThatIsNone(t *testing.T) {
	defer func() {
		if r := recover(); r == nil {
			t.Error("a pattern that is no regular expression was taken")
		}
	}()
	_, s := beam.NewPipelineWithRoot()
	kafkaio.Read(s, kafkaio.Cluster{Brokers: []string{"localhost:1"}}, kafkaio.TopicPattern("a)|(b"))
}
