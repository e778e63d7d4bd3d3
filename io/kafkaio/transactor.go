package kafkaio

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// transactor is the transactional producer of one writer. The cluster knows it by its
// transactional id: whoever takes that id up last fences off those before, and ends a
// transaction that they have left open. So it is taken up first, and the marker is read
// then: nobody changes it any more.
type transactor struct {
	key     transactorKey
	cl      *kgo.Client
	markers string
	// marker is the number of the last record that was committed, 0 if there is none.
	// markerAt is an offset at or below the last marker's.
	marker, markerAt int64
}

type transactorKey struct{ cluster, name, shard, writer string }

// id is the transactional id, and the key of the marker.
func (k transactorKey) id() string { return k.name + "-" + k.writer + "-" + k.shard }

// transactors are those that nobody uses at the moment.
var transactors struct {
	transactorsMu sync.Mutex
	idle          map[transactorKey]*transactor
}

func takeTransactor(ctx context.Context, conf *writeConfig, shard, writer string, from int64) (*transactor, error) {
	key := transactorKey{conf.Cluster.id(), conf.Name, shard, writer}
	transactors.transactorsMu.Lock()
	t := transactors.idle[key]
	delete(transactors.idle, key)
	transactors.transactorsMu.Unlock()
	if t != nil {
		return t, nil
	}
	opts, err := conf.Cluster.options()
	if err != nil {
		return nil, err
	}
	opts = append(opts, kgo.TransactionalID(key.id()), kgo.TransactionTimeout(commitTimeout))
	if conf.MaxRecord > 0 {
		opts = append(opts, kgo.ProducerBatchMaxBytes(int32(conf.MaxRecord)))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("kafkaio: %w", err)
	}
	t = &transactor{key: key, cl: cl, markers: conf.Markers}
	if err := patiently(ctx, "writer "+key.id(), func() error { return t.begin(ctx, conf, from) }); err != nil {
		cl.Close()
		return nil, fmt.Errorf("kafkaio: writer %s: %w", key.id(), conf.explain(err))
	}
	return t, nil
}

// begin takes the id up and reads the marker, from an offset on.
func (t *transactor) begin(ctx context.Context, conf *writeConfig, from int64) error {
	if _, _, err := t.cl.ProducerID(ctx); err != nil {
		return fmt.Errorf("taking up its transactional id: %w", err)
	}
	if err := makeMarkers(ctx, conf); err != nil {
		return err
	}
	var err error
	t.marker, t.markerAt, err = readMarker(ctx, conf, t.key.id(), from, commitTimeout)
	return err
}

// makeMarkers makes the topic of markers, unless it is there. It has one partition. Segments
// are small, since a broker compacts all but the last one.
func makeMarkers(ctx context.Context, conf *writeConfig) error {
	cl, err := conf.Cluster.client()
	if err != nil {
		return err
	}
	adm := kadm.NewClient(cl)
	if known, err := adm.ListTopics(ctx, conf.Markers); err == nil && known.Has(conf.Markers) {
		if n := len(known[conf.Markers].Partitions); n != 1 {
			return fmt.Errorf("topic %s has %d partitions: a topic of markers must have one", conf.Markers, n)
		}
		return nil
	}
	_, err = adm.CreateTopic(ctx, 1, -1, map[string]*string{
		"cleanup.policy": kadm.StringPtr("compact"), "segment.bytes": kadm.StringPtr("4194304"),
	}, conf.Markers)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("making topic %s: %w", conf.Markers, err)
	}
	return nil
}

// readMarker reads the topic of markers, from an offset on, to its end. It returns the
// number that a writer's marker has, 0 if there is none, and the marker's offset. It fails
// if it isn't there within a time: a bundle that fails is seen and tried again, one that
// hangs is neither.
func readMarker(ctx context.Context, conf *writeConfig, id string, from int64, within time.Duration) (number, at int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	topic := conf.Markers
	cl, err := conf.Cluster.client()
	if err != nil {
		return 0, 0, err
	}
	adm := kadm.NewClient(cl)
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err != nil {
		return 0, 0, fmt.Errorf("topic %s: %w", topic, err)
	}
	// To the last stable offset: our own transactions are over, and the others' open ones
	// say nothing about us.
	ends, err := adm.ListCommittedOffsets(ctx, topic)
	if err != nil {
		return 0, 0, fmt.Errorf("topic %s: %w", topic, err)
	}
	start, ok1 := starts.Lookup(topic, 0)
	end, ok2 := ends.Lookup(topic, 0)
	err = errors.Join(start.Err, end.Err)
	if err == nil && (!ok1 || !ok2) {
		err = kerr.UnknownTopicOrPartition // it is new: not all brokers know of it yet
	}
	if err != nil {
		return 0, 0, fmt.Errorf("topic %s, partition 0: %w", topic, err)
	}
	from = max(from, start.Offset)
	if from >= end.Offset {
		return 0, from, nil
	}
	// A client of its own: it is read once, and to its end.
	con, err := newConsumer(&conf.Cluster, consumerKey{conf.Cluster.id(), true})
	if err != nil {
		return 0, 0, err
	}
	fd := con.add(feedKey{cluster: conf.Cluster.id(), topic: topic, committed: true}, from)
	fd.begin()
	defer fd.drop()
	at = from
	for next := from; next < end.Offset; {
		records, err := fd.poll(ctx, time.Second)
		if err == nil {
			err = ctx.Err()
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return 0, 0, fmt.Errorf("topic %s, partition 0: nothing at offset %d or later has come for %v, but it ends before %d: "+
				"see whether its leader is there and answers: %w",
				topic, next, within, end.Offset, err)
		}
		if err != nil {
			return 0, 0, err
		}
		if len(records) == 0 {
			// Compaction may have taken all up to the end. An error here is one of the next poll, too.
			if to, err := beyondGap(ctx, &conf.Cluster, topic, 0, next, true); err == nil {
				next = to
			}
		}
		for _, r := range records {
			next = r.Offset + 1
			if !r.Attrs.IsControl() && string(r.Key) == id && len(r.Value) == 8 {
				number, at = int64(binary.BigEndian.Uint64(r.Value)), r.Offset
			}
		}
		fd.have = nil
	}
	return number, at, nil
}

// commit writes records and the marker in one transaction.
func (t *transactor) commit(ctx context.Context, records []*kgo.Record, last int64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	if err := t.cl.BeginTransaction(); err != nil {
		return err
	}
	marker := &kgo.Record{Topic: t.markers, Key: []byte(t.key.id()), Value: binary.BigEndian.AppendUint64(nil, uint64(last))}
	if err := t.cl.ProduceSync(ctx, append(records, marker)...).FirstErr(); err != nil {
		// Nothing of it will be seen; what is left of it ends when the id is taken up anew.
		_ = t.cl.AbortBufferedRecords(ctx)
		_ = t.cl.EndTransaction(ctx, kgo.TryAbort)
		return err
	}
	if err := t.cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return err
	}
	t.marker, t.markerAt = last, marker.Offset
	return nil
}

// put gives the transactor back for the next bundle.
func (t *transactor) put() {
	transactors.transactorsMu.Lock()
	if transactors.idle == nil {
		transactors.idle = make(map[transactorKey]*transactor)
	}
	other := transactors.idle[t.key]
	transactors.idle[t.key] = t
	transactors.transactorsMu.Unlock()
	if other != nil {
		other.close()
	}
}

func (t *transactor) close() { t.cl.Close() }
