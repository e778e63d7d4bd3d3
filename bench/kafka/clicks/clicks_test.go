package clicks_test

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/summerbeam/summerbeam/bench/kafka/clicks"
)

// results counts a size's records once more, by their bytes alone.
func results(t *testing.T, s clicks.Size) []*kgo.Record {
	t.Helper()
	type id struct {
		user string
		end  int64
	}
	counts := map[id]int64{}
	last := map[int32]time.Time{}
	partition := map[string]int32{}
	n := 0
	s.Each(func(r *kgo.Record) {
		n++
		if n > s.Records {
			return // what closes windows
		}
		if size := len(r.Key) + len(r.Value); size != 111 {
			t.Fatalf("a record of %d bytes", size)
		}
		if r.Timestamp.Before(last[r.Partition]) {
			t.Fatal("a partition is not in order of time")
		}
		last[r.Partition] = r.Timestamp
		if p, ok := partition[string(r.Key)]; ok && p != r.Partition {
			t.Fatalf("%s is in two partitions", r.Key)
		}
		partition[string(r.Key)] = r.Partition
		counts[id{string(r.Key), r.Timestamp.Truncate(time.Minute).Add(time.Minute).UnixMilli()}]++
	})
	if n != s.Records+clicks.Partitions {
		t.Fatalf("%d records", n)
	}
	var out []*kgo.Record
	for id, n := range counts {
		k, v := clicks.Result([]byte(id.user), id.end, n)
		out = append(out, &kgo.Record{Key: k, Value: v})
	}
	return out
}

func TestCheck(t *testing.T) {
	s := clicks.Size{Records: 5000, Users: 100, Span: 3 * time.Minute}
	right := results(t, s)
	c := s.Counts()
	if c.Len() != len(right) || c.Len() != 300 {
		t.Fatalf("%d results, counted again %d, want 300", c.Len(), len(right))
	}
	if err := c.Check(right); err != nil {
		t.Errorf("the right results: %v", err)
	}
	changed := *right[7]
	changed.Value = binary.BigEndian.AppendUint64(nil, 1)
	for want, bad := range map[string][]*kgo.Record{
		"came twice":        append(slices.Clone(right), right[3]),
		"1 of 300 results":  right[1:],
		"is 1, want":        append(slices.Clone(right[8:]), append(slices.Clone(right[:7]), &changed)...),
		"nobody asked for":  append(slices.Clone(right), &kgo.Record{Key: []byte("x"), Value: make([]byte, 8)}),
		"a value of 3 byte": append(slices.Clone(right[1:]), &kgo.Record{Key: right[0].Key, Value: make([]byte, 3)}),
	} {
		if err := c.Check(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("have the error %v, want one that says %q", err, want)
		}
	}
}
