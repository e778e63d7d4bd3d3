package kafkaio

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var anyRecord = rapid.Custom(func(t *rapid.T) Record {
	bytes := rapid.SliceOfN(rapid.Byte(), 0, 20)
	r := Record{
		Topic: rapid.StringN(0, 10, 20).Draw(t, "topic"), Partition: rapid.Int32().Draw(t, "partition"),
		Offset: rapid.Int64().Draw(t, "offset"), LeaderEpoch: rapid.Int32().Draw(t, "epoch"), Millis: rapid.Int64().Draw(t, "millis"),
	}
	if r.NoKey = rapid.Bool().Draw(t, "no key"); !r.NoKey {
		r.Key = bytes.Draw(t, "key")
	}
	if r.Tombstone = rapid.Bool().Draw(t, "tombstone"); !r.Tombstone {
		r.Value = bytes.Draw(t, "value")
	}
	for range rapid.IntRange(0, 3).Draw(t, "headers") {
		h := Header{Key: rapid.StringN(0, 5, 10).Draw(t, "header")}
		if rapid.Bool().Draw(t, "null") {
			h.Value = bytes.Draw(t, "header value")
		}
		r.Headers = append(r.Headers, h)
	}
	return r
})

// TestRecordCoder: what is coded comes back, empty and missing parts too, and one that is
// cut is an error.
func TestRecordCoder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyRecord.Draw(t, "record")
		b := encodeRecord(want)
		got, err := decodeRecord(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		if _, err := decodeRecord(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]); err == nil {
			t.Fatal("a part of a record was taken for one")
		}
		if _, err := decodeRecord(append(b, 0)); err == nil {
			t.Fatal("more than a record was taken for one")
		}
	})
}

func BenchmarkRecordCoder(b *testing.B) {
	r := Record{Topic: "clicks", Partition: 3, Offset: 1 << 30, Millis: 1_700_000_000_000, Key: make([]byte, 10), Value: make([]byte, 90)}
	for b.Loop() {
		if _, err := decodeRecord(encodeRecord(r)); err != nil {
			b.Fatal(err)
		}
	}
}
