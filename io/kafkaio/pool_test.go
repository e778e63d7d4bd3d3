package kafkaio

import (
	"fmt"
	"math"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestEmittedLast: what was emitted stays as it is when the memory of its kgo.Record has others, also where a range
// ends in the middle of what has come.
func TestEmittedLast(t *testing.T) {
	const each, first, rounds = 300, 137, 3
	var records []*kgo.Record
	var want []Record
	for i := range each {
		r := &kgo.Record{Key: fmt.Appendf(nil, "key%d", i), Value: says(int64(i))}
		r.Headers = []kgo.RecordHeader{{Key: fmt.Sprint("h", i), Value: says(int64(-i))}}
		records = append(records, r)
		want = append(want, Record{Topic: "in", Offset: int64(i), Key: r.Key, Value: r.Value, Headers: []Header{{Key: r.Headers[0].Key, Value: r.Headers[0].Value}}})
	}
	broker := fakeTopic(t, nil)
	for i := 0; i < each; i += 50 {
		fill(t, broker, records[i:i+50]...)
	}
	f := &reader{Conf: readConfig{Cluster: Cluster{Brokers: broker.ListenAddrs()}, Topics: []string{"in"}}}
	var got [rounds][]Record
	for i := range rounds {
		next := int64(0)
		for _, end := range []int64{first, math.MaxInt64} {
			for over := false; !over && next < each; {
				turn, err := f.read(t.Context(), newOffsets(offsetrange.Restriction{Start: next, End: end}, 0), Partition{Topic: "in", Stop: end}, next, func(_ int64, r Record) {
					r.Millis, r.LeaderEpoch = 0, 0
					got[i] = append(got[i], r)
				})
				if err != nil {
					t.Fatal(err)
				}
				next, over = turn.next, turn.over
			}
		}
	}
	for i := range got {
		if diff := cmp.Diff(want, got[i]); diff != "" {
			t.Errorf("round %d: %s", i, diff)
		}
	}
}

// TestPoolOfRecords: memory of many records isn't given away for a few.
func TestPoolOfRecords(t *testing.T) {
	var p recordPool
	p.PutRecords(make([]kgo.Record, 1000))
	for _, n := range []int{5, 1001} {
		if s := p.GetRecords(n); len(s) != 0 || cap(s) != n {
			t.Errorf("got %d records of %d for %d", len(s), cap(s), n)
		}
	}
}
