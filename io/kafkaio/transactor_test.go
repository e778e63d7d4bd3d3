package kafkaio

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func exactlyOnce(t *testing.T) *writeConfig {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &writeConfig{Cluster: Cluster{Brokers: c.ListenAddrs()}, Topic: "out", Name: "test", Shards: 1, Markers: "markers"}
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
