package capsule

import (
	"bytes"
	"errors"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
)

func sample() *Capsule {
	key := &fnpb.StateKey{Type: &fnpb.StateKey_BagUserState_{BagUserState: &fnpb.StateKey_BagUserState{
		TransformId: "n6", UserStateId: "count", Window: []byte{1}, Key: []byte("k")}}}
	return &Capsule{
		Header: Header{
			Version: Version, Job: "job-1", Name: "clicks", Stage: "s02", Transforms: []string{"a", "b"}, Transform: "b",
			Element: "at 1970, key \"k\"", Source: "source", Elements: 2, Families: []Family{{"n6", "f"}},
			Capabilities: []string{"beam:version:sdk_base:go:x"}, Attempt: 3, Time: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC),
		},
		Error:      "division by zero",
		Descriptor: &fnpb.ProcessBundleDescriptor{Id: "d", Transforms: map[string]*pipepb.PTransform{"n6": {UniqueName: "b"}}},
		Input:      []byte("two elements"),
		Timers:     []Timers{{Family{"n6", "f"}, []byte("timers")}, {Family{"n6", ""}, []byte("more")}},
		State: []Answer{
			{Key: key, Data: []byte("page one"), Next: []byte("t")},
			{Key: key, Token: []byte("t"), Data: []byte("page two")},
			{Key: key, Err: "no"},
		},
	}
}

func written(t testing.TB, c *Capsule) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func same(a, b *Capsule) string {
	return cmp.Diff(a, b, protocmp.Transform(), cmp.Transformer("bytes", func(b []byte) string { return string(b) }))
}

func TestRoundTrip(t *testing.T) {
	want := sample()
	data := written(t, want)
	got, err := Read(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if d := same(want, got); d != "" {
		t.Error(d)
	}
}

func TestDamage(t *testing.T) {
	data := written(t, sample())
	for _, n := range []int{0, 10, len(data) / 2, len(data) - 1} {
		if _, err := Read(bytes.NewReader(data[:n]), int64(n)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d bytes of it: %v", n, err)
		}
	}
	other := sample()
	other.State[0].Key = nil // is an empty key
	if data = written(t, other); data == nil {
		t.Fatal("nothing")
	}
	if _, err := cutParts([]byte{5, 'a'}, make([][]byte, 1)); err == nil {
		t.Error("a part is longer than what is there")
	}
}

// FuzzRead: whatever the bytes, Read returns; what it takes for a capsule is the same when it
// is written and read again.
func FuzzRead(f *testing.F) {
	f.Add(written(f, sample()))
	f.Add(written(f, &Capsule{Descriptor: &fnpb.ProcessBundleDescriptor{}}))
	f.Add([]byte("PK"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Read(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		again := written(t, c)
		got, err := Read(bytes.NewReader(again), int64(len(again)))
		if err != nil {
			t.Fatal(err)
		}
		if d := same(c, got); d != "" {
			t.Error(d)
		}
	})
}

// FuzzParts is FuzzRead for what is inside, which zip's checksums keep from most damage.
func FuzzParts(f *testing.F) {
	f.Add(appendParts(nil, []byte("n6"), []byte("f"), []byte("data")))
	f.Add(appendParts(nil, nil, nil, nil, nil, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c Capsule
		if err := c.readTimers(data); err == nil {
			var back []byte
			for _, p := range c.Timers {
				back = appendParts(back, []byte(p.Transform), []byte(p.Family.Family), p.Data)
			}
			if len(back) > len(data) {
				t.Errorf("%q was read of %q", back, data)
			}
		}
		_ = c.readState(data) // it must return
	})
}
