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
	marker int64
}

type transactorKey struct{ cluster, name, shard, writer string }

// id is the transactional id, and the key of the marker.
func (k transactorKey) id() string { return k.name + "-" + k.writer + "-" + k.shard }

// transactors are those that nobody uses at the moment.
var transactors struct {
	transactorsMu sync.Mutex
	idle          map[transactorKey]*transactor
}

func takeTransactor(ctx context.Context, conf *writeConfig, shard, writer string) (*transactor, error) {
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
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("kafkaio: %w", err)
	}
	t = &transactor{key: key, cl: cl, markers: conf.Markers}
	if err := patiently(ctx, "writer "+key.id(), func() error { return t.begin(ctx, conf) }); err != nil {
		cl.Close()
		return nil, fmt.Errorf("kafkaio: writer %s: %w", key.id(), err)
	}
	return t, nil
}

// begin takes the id up and reads the marker.
func (t *transactor) begin(ctx context.Context, conf *writeConfig) error {
	if _, _, err := t.cl.ProducerID(ctx); err != nil {
		return fmt.Errorf("taking up its transactional id: %w", err)
	}
	if err := makeMarkers(ctx, conf); err != nil {
		return err
	}
	var err error
	t.marker, err = readMarker(ctx, conf, t.key.id())
	return err
}

// makeMarkers makes the topic of markers, unless it is there.
func makeMarkers(ctx context.Context, conf *writeConfig) error {
	cl, err := conf.Cluster.client()
	if err != nil {
		return err
	}
	adm := kadm.NewClient(cl)
	compact := "compact"
	_, err = adm.CreateTopic(ctx, 1, -1, map[string]*string{"cleanup.policy": &compact}, conf.Markers)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("making topic %s: %w", conf.Markers, err)
	}
	return nil
}

// readMarker reads the topic of markers to its end. It has a record or two of each writer.
func readMarker(ctx context.Context, conf *writeConfig, id string) (int64, error) {
	cl, err := conf.Cluster.client()
	if err != nil {
		return 0, err
	}
	adm := kadm.NewClient(cl)
	numbers, err := partitions(ctx, adm, conf.Markers)
	if err != nil {
		return 0, err
	}
	from, err := Earliest().resolve(ctx, adm, conf.Markers, numbers)
	if err != nil {
		return 0, err
	}
	// To the last stable offset: our own transactions are over, and the others' open ones
	// say nothing about us.
	ends, err := adm.ListCommittedOffsets(ctx, conf.Markers)
	if err != nil {
		return 0, fmt.Errorf("topic %s: %w", conf.Markers, err)
	}
	var last int64
	for _, n := range numbers {
		end, ok := ends.Lookup(conf.Markers, n)
		if !ok || end.Err != nil {
			return 0, fmt.Errorf("topic %s, partition %d: %w", conf.Markers, n, end.Err)
		}
		if from[n] >= end.Offset {
			continue
		}
		fd, err := takeFeed(&conf.Cluster, conf.Markers, n, from[n], true)
		if err != nil {
			return 0, err
		}
		for next := from[n]; next < end.Offset; {
			records, err := fd.poll(ctx, time.Second)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				fd.cl.Close()
				return 0, err
			}
			for _, r := range records {
				next = r.Offset + 1
				if !r.Attrs.IsControl() && string(r.Key) == id && len(r.Value) == 8 {
					last = max(last, int64(binary.BigEndian.Uint64(r.Value)))
				}
			}
			fd.have = nil
		}
		fd.cl.Close()
	}
	return last, nil
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
	t.marker = last
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
