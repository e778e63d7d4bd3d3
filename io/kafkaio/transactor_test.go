package kafkaio

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func exactlyOnce(t *testing.T) *writeConfig {
	t.Helper()
	conf, _ := exactlyOnceOn(t)
	return conf
}

func exactlyOnceOn(t *testing.T) (*writeConfig, *kfake.Cluster) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &writeConfig{Cluster: Cluster{Brokers: c.ListenAddrs()}, Topic: "out", Name: "test", Shards: 1, Markers: "markers"}, c
}

func take(t *testing.T, conf *writeConfig, from int64) *transactor {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tx, err := takeTransactor(ctx, conf, "0", "writer", from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tx.close)
	return tx
}

// TestZombie: who takes a writer's id up ends the one before, which can commit nothing any
// more, and finds its last marker.
func TestZombie(t *testing.T) {
	conf := exactlyOnce(t)
	old := take(t, conf, 0)
	commit := func(tx *transactor, value string, last int64) error {
		return tx.commit(t.Context(), []*kgo.Record{{Topic: "out", Value: []byte(value)}}, last)
	}
	if err := commit(old, "a", 1); err != nil {
		t.Fatal(err)
	}
	heir := take(t, conf, old.markerAt)
	if heir.marker != 1 {
		t.Errorf("the heir's marker is %d, want 1", heir.marker)
	}
	err := commit(old, "b", 2)
	if !errors.Is(err, kerr.InvalidProducerEpoch) && !errors.Is(err, kerr.ProducerFenced) {
		t.Errorf("the old writer's commit: %v, want it fenced", err)
	}
	if err := commit(heir, "c", 2); err != nil {
		t.Fatal(err)
	}
	if last := take(t, conf, 0); last.marker != 2 {
		t.Errorf("the marker is %d, want 2", last.marker)
	}
}

// TestMarkersOfManyPartitions: markers are looked for in one partition.
func TestMarkersOfManyPartitions(t *testing.T) {
	conf := exactlyOnce(t)
	cl, err := conf.Cluster.client()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 2, 1, nil, "markers"); err != nil {
		t.Fatal(err)
	}
	if _, err := takeTransactor(t.Context(), conf, "0", "writer", 0); err == nil || !strings.Contains(err.Error(), "must have one") {
		t.Errorf("got %v, want to hear that markers have one partition", err)
	}
}

// TestMarkerThatDoesNotCome: a broker that knows of records but doesn't give them fails the
// bundle, and whoever reads why hears where to look.
func TestMarkerThatDoesNotCome(t *testing.T) {
	conf, fake := exactlyOnceOn(t)
	tx := take(t, conf, 0)
	if err := tx.commit(t.Context(), []*kgo.Record{{Topic: "out", Value: []byte("a")}}, 1); err != nil {
		t.Fatal(err)
	}
	fake.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		return nil, nil, true // no answer
	})
	_, _, err := readMarker(t.Context(), conf, tx.key.id(), 0, 200*time.Millisecond)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "topic markers, partition 0: nothing at offset 0") {
		t.Errorf("got %v, want to hear at which offset of which topic nothing came", err)
	}
}

// valueState is a state.Provider that has one value.
type valueState struct {
	state.Provider
	value any
}

func (s valueState) ReadValueState(string) (any, []state.Transaction, error) {
	return s.value, nil, nil
}

// TestLostMarkers: state that says what was written, and markers that don't, is an error
// for the user, whether the topic was deleted or has lost its records. To take it for a
// beginning would write all again.
func TestLostMarkers(t *testing.T) {
	for name, lose := range map[string]func(fake *kfake.Cluster) error{
		"topic deleted":   func(fake *kfake.Cluster) error { return fake.DeleteTopic("markers") },
		"records deleted": func(fake *kfake.Cluster) error { return fake.DeleteRecords("markers", 0, 2) },
	} {
		t.Run(name, func(t *testing.T) {
			conf, fake := exactlyOnceOn(t)
			tx := take(t, conf, 0)
			if err := tx.commit(t.Context(), []*kgo.Record{{Topic: "out", Value: []byte("a")}}, 1); err != nil {
				t.Fatal(err)
			}
			if err := lose(fake); err != nil {
				t.Fatal(err)
			}
			// Another process has clients of its own, which don't remember the topic.
			conf.Cluster.Brokers = append(conf.Cluster.Brokers, conf.Cluster.Brokers...)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			sp := valueState{value: Written{Last: 1, From: tx.markerAt}}
			_, err := newTransact(*conf).open(ctx, sp, "0", "writer")
			if err == nil || !strings.Contains(err.Error(), "has written up to 1, but topic markers says 0: its markers are lost") {
				t.Errorf("got %v, want to hear that the markers are lost", err)
			}
		})
	}
}
