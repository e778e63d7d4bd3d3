package kafkaio

import (
	"fmt"
	"sync"
	"time"
)

// seen is when this process last had a record of each partition. A bundle lasts for less
// than a second, so it can't tell by itself that a partition has been idle for long.
var seen struct {
	seenMu sync.Mutex
	at     map[feedKey]time.Time
}

func (f *reader) key(p Partition) feedKey {
	return feedKey{f.Conf.Cluster.id(), p.Topic, p.Number, f.Conf.Isolated}
}

func sawRecord(k feedKey, now time.Time) {
	seen.seenMu.Lock()
	defer seen.seenMu.Unlock()
	if seen.at == nil {
		seen.at = make(map[feedKey]time.Time)
	}
	seen.at[k] = now
}

// idleFor is for how long there has been no record, as far as this process knows.
func idleFor(k feedKey, now time.Time) time.Duration {
	seen.seenMu.Lock()
	defer seen.seenMu.Unlock()
	at, ok := seen.at[k]
	if !ok {
		if seen.at == nil {
			seen.at = make(map[feedKey]time.Time)
		}
		seen.at[k] = now
		return 0
	}
	return now.Sub(at)
}

func topicPartition(p Partition) string { return fmt.Sprintf("%s/%d", p.Topic, p.Number) }
