package kafkaio_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"

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

// TestPatternFindsNewTopics: a topic that appears while the job runs is read from its first record.
func TestPatternFindsNewTopics(t *testing.T) {
	b := newBroker(t, 1, "clicks-a", "out")
	b.produce(rec("clicks-a", 0, "k", "a", 1000))
	p, s := beam.NewPipelineWithRoot()
	in := kafkaio.Read(s, b.cluster, kafkaio.TopicPattern("clicks-.*"), kafkaio.DiscoverEvery(50*time.Millisecond))
	kafkaio.Write(s, b.cluster, beam.ParDo(s, upper, in), kafkaio.Topic("out"))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := beamrunner.Execute(ctx, p)
		ended <- err
	}()
	defer func() {
		cancel()
		<-ended
	}()
	wait := func(want ...string) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			got := b.all("out")
			slices.Sort(got)
			if slices.Equal(got, want) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("got %v after a minute, want %v", got, want)
			}
		}
	}
	wait("A")
	if err := b.fake.CreateTopic("clicks-b", 1, nil); err != nil {
		t.Fatal(err)
	}
	b.produce(rec("clicks-b", 0, "k", "b", 1000))
	wait("A", "B")
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
