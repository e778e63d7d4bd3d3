package kafkaio

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// quiet is what this process knows of a partition without records. A bundle lasts for less
// than a second, so it can't tell by itself that a partition has been idle for long.
type quiet struct {
	// record is when a record was last seen, or when the partition was taken up.
	record time.Time
	// asked is when a broker was last asked for the partition's end.
	asked time.Time
}

// quiets are those of the partitions that this process reads.
var quiets struct {
	quietsMu sync.Mutex
	of       map[feedKey]quiet
}

// askEvery is how often a broker is asked for the end of an idle partition.
const askEvery = time.Second

func (f *reader) key(p Partition) feedKey {
	if f.cluster == "" {
		f.cluster = f.Conf.Cluster.id()
	}
	return feedKey{f.cluster, p.Topic, p.ID, p.Number, f.Conf.Isolated}
}

// sawRecord says that there was a record.
func sawRecord(k feedKey, now time.Time) {
	quiets.quietsMu.Lock()
	defer quiets.quietsMu.Unlock()
	if quiets.of == nil {
		quiets.of = make(map[feedKey]quiet)
	}
	quiets.of[k] = quiet{record: now}
}

// askNow says whether there has been no record for so long, as far as this process knows,
// and a broker should be asked now.
func askNow(k feedKey, now time.Time, after time.Duration) bool {
	quiets.quietsMu.Lock()
	defer quiets.quietsMu.Unlock()
	q, ok := quiets.of[k]
	switch {
	case !ok:
		if quiets.of == nil {
			quiets.of = make(map[feedKey]quiet)
		}
		q.record = now
	case now.Sub(q.record) < after || now.Sub(q.asked) < askEvery:
		return false
	default:
		q.asked = now
	}
	quiets.of[k] = q
	return ok
}

// idle says whether a partition has been idle for long enough, and has nothing behind next.
// A broker that is away says neither, and what it will have when it is back may be as old as
// can be: so it is asked. (A partition's end is that of uncommitted records, too: those of an open
// transaction may be older than what comes behind it.)
func (f *reader) idle(ctx context.Context, p Partition, next int64, now time.Time) bool {
	if f.Conf.IdleAfter <= 0 || !askNow(f.key(p), now, f.Conf.IdleAfter) {
		return false
	}
	cl, err := f.Conf.Cluster.client()
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askEvery)
	defer cancel()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, p.Topic)
	if err != nil {
		return false // whoever reads the partition says what is wrong
	}
	end, ok := ends.Lookup(p.Topic, p.Number)
	if !ok || end.Err != nil {
		return false
	}
	if end.Offset > next {
		next, err = beyondGap(ctx, &f.Conf.Cluster, p.Topic, p.Number, next, false)
	}
	return err == nil && end.Offset <= next
}

func topicPartition(p Partition) string { return fmt.Sprintf("%s/%d", p.Topic, p.Number) }
