package monitoring

import (
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/metrics"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/metricsx"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
)

func info(urn, typ, step string, payload []byte) *pipepb.MonitoringInfo {
	return &pipepb.MonitoringInfo{
		Urn: urn, Type: typ, Payload: payload,
		Labels: map[string]string{"PTRANSFORM": step, "NAMESPACE": "ns", "NAME": "n"},
	}
}

// Encodings written by hand, not with the code under test.
func ints(vs ...int64) []byte {
	var b []byte
	for _, v := range vs {
		u := uint64(v)
		for ; u >= 0x80; u >>= 7 {
			b = append(b, byte(u)|0x80)
		}
		b = append(b, byte(u))
	}
	return b
}

func floats(vs ...float64) []byte {
	var b []byte
	for _, v := range vs {
		u := math.Float64bits(v)
		for shift := 56; shift >= 0; shift -= 8 {
			b = append(b, byte(u>>shift))
		}
	}
	return b
}

func cat(parts ...[]byte) []byte { return slices.Concat(parts...) }

func set(items ...string) []byte {
	b := []byte{0, 0, 0, byte(len(items))}
	for _, s := range items {
		b = append(append(b, ints(int64(len(s)))...), s...)
	}
	return b
}

func chunkedSet(chunks ...[]string) []byte {
	b := []byte{0xff, 0xff, 0xff, 0xff}
	for _, items := range chunks {
		b = append(b, ints(int64(len(items)))...)
		for _, s := range items {
			b = append(append(b, ints(int64(len(s)))...), s...)
		}
	}
	return append(b, 0)
}

// TestMerge merges payloads of each type, one after the other.
func TestMerge(t *testing.T) {
	for _, tc := range []struct {
		typ      string
		payloads [][]byte
		want     []byte
	}{
		{typeSumInt64, [][]byte{ints(3), ints(-10), ints(300)}, ints(293)},
		{typeSumInt64, [][]byte{ints(math.MaxInt64), ints(1)}, ints(math.MinInt64)},
		{typeSumDouble, [][]byte{floats(0.5), floats(-2)}, floats(-1.5)},
		{typeDistInt64, [][]byte{ints(2, 10, 3, 7), ints(1, -5, -5, -5), ints(0), ints(0, 0, math.MaxInt64, math.MinInt64)}, ints(3, 5, -5, 7)},
		{typeDistInt64, [][]byte{ints(0, 0, math.MaxInt64, math.MinInt64)}, ints(0, 0, 0, 0)},
		{typeDistInt64, [][]byte{ints(math.MaxInt64, 1, 1, 1), ints(5, 1, 1, 1)}, ints(math.MaxInt64, 2, 1, 1)},
		{typeDistDouble, [][]byte{cat(ints(1), floats(2, 2, 2)), cat(ints(1), floats(-1, -1, -1))}, cat(ints(2), floats(1, -1, 2))},
		{typeLatestInt64, [][]byte{ints(100, 1), ints(300, 2), ints(200, 3)}, ints(300, 2)},
		{typeLatestInt64, [][]byte{ints(100, 1), ints(100, 2)}, ints(100, 2)},
		{typeLatestInt64, [][]byte{ints(-5, 1)}, ints(-5, 1)},
		{typeLatestDouble, [][]byte{cat(ints(100), floats(1)), cat(ints(50), floats(2))}, cat(ints(100), floats(1))},
		{typeSetString, [][]byte{set("b", "a"), set(), chunkedSet([]string{"c", "a"}, []string{""})}, set("", "a", "b", "c")},
		{"beam:metrics:progress:v1", [][]byte{{1, 2, 3}, {4}}, []byte{4}},
		{"beam:metrics:top_n_int64:v1", [][]byte{set("x"), {9}}, []byte{9}},
		{"beam:metrics:monitoring_table:v1", [][]byte{{1}, {2}}, []byte{2}},
		{"somebody's own", [][]byte{{1}, nil}, nil},
	} {
		var a Accumulator
		for i, p := range tc.payloads {
			if err := a.Add([]*pipepb.MonitoringInfo{info("u", tc.typ, "s", slices.Clone(p))}); err != nil {
				t.Errorf("%s: payload %d: %v", tc.typ, i, err)
			}
		}
		got := a.Snapshot()
		if len(got) != 1 || !slices.Equal(got[0].GetPayload(), tc.want) || got[0].GetType() != tc.typ || got[0].GetUrn() != "u" {
			t.Errorf("%s: %x merge to %v, want payload %x", tc.typ, tc.payloads, got, tc.want)
		}
	}
}

func TestMergeHistogram(t *testing.T) {
	h := func(scale float64, counts ...int64) []byte {
		m := &pipepb.HistogramValue{BucketCounts: counts, BucketOptions: &pipepb.HistogramValue_BucketOptions{
			BucketType: &pipepb.HistogramValue_BucketOptions_Linear_{
				Linear: &pipepb.HistogramValue_BucketOptions_Linear{Width: proto.Float64(scale)},
			},
		}}
		var n int64
		for _, c := range counts {
			n += c
		}
		m.Count = &n
		return mustMarshal(m)
	}
	var a Accumulator
	for _, p := range [][]byte{h(1, 1, 2), h(1, 1, 0, 5)} {
		if err := a.Add([]*pipepb.MonitoringInfo{info("u", typeHistogramInt64, "s", p)}); err != nil {
			t.Fatal(err)
		}
	}
	if got := a.Snapshot()[0].GetPayload(); !slices.Equal(got, h(1, 2, 2, 5)) {
		t.Errorf("got %x", got)
	}
	_ = a.Add([]*pipepb.MonitoringInfo{info("u", typeHistogramInt64, "s", h(2, 7))})
	if got := a.Snapshot()[0].GetPayload(); !slices.Equal(got, h(2, 7)) {
		t.Errorf("with other buckets: %x", got)
	}
}

// TestMalformed: a payload that can't be read changes nothing, and the others of
// the same report count.
func TestMalformed(t *testing.T) {
	for _, tc := range []struct {
		typ       string
		good, bad []byte
	}{
		{typeSumInt64, ints(1), nil},
		{typeSumInt64, ints(1), ints(1, 2)},
		{typeSumInt64, ints(1), slices.Repeat([]byte{0x80}, 11)},
		{typeSumDouble, floats(1), floats(1)[:7]},
		{typeDistInt64, ints(1, 2, 3, 4), ints(1, 2, 3)},
		{typeDistInt64, ints(1, 2, 3, 4), ints(-1, 2, 3, 4)},
		{typeDistDouble, cat(ints(1), floats(1, 1, 1)), ints(1, 1, 1, 1)},
		{typeLatestInt64, ints(1, 1), ints(2)},
		{typeLatestDouble, cat(ints(1), floats(1)), ints(2)},
		{typeSetString, set("a"), set("b", "c")[:6]},
		{typeSetString, set("a"), []byte{0xff, 0xff, 0xff, 0xfe}},
		{typeSetString, set("a"), []byte{0xff, 0xff, 0xff, 0xff, 1, 1, 'b'}},
		{typeSetString, set("a"), cat([]byte{0, 0, 0, 1}, ints(-1))},
		{typeSetString, set("a"), []byte{0x7f, 0xff, 0xff, 0xff}},
		{typeBoundedTrie, trie(100, "a"), []byte{0xff}},
		{typeHistogramInt64, nil, []byte{0xff}},
	} {
		var a Accumulator
		good := info("u", tc.typ, "s", tc.good)
		if err := a.Add([]*pipepb.MonitoringInfo{good}); err != nil {
			t.Fatal(err)
		}
		before := a.Snapshot()
		err := a.Add([]*pipepb.MonitoringInfo{info("u", tc.typ, "s", tc.bad), info("u", tc.typ, "new", tc.bad), nil, info("v", typeSumInt64, "s", ints(5))})
		var bad *PayloadError
		if !errors.As(err, &bad) || bad.Count != 2 || bad.Type != tc.typ || bad.URN != "u" || !strings.Contains(err.Error(), "1 more") {
			t.Errorf("%s: %x gives %v", tc.typ, tc.bad, err)
		}
		after := a.Snapshot()
		if len(after) != 2 {
			t.Errorf("%s: %d infos after a bad one", tc.typ, len(after))
		}
		if diff := cmp.Diff(before[0], after[0], protocmp.Transform()); diff != "" {
			t.Errorf("%s: a bad payload changed it: %s", tc.typ, diff)
		}
	}
}

// TestSnapshotOrder: the order depends on what the infos are, not on when they came.
func TestSnapshotOrder(t *testing.T) {
	infos := []*pipepb.MonitoringInfo{
		info("a", typeSumInt64, "s1", ints(1)),
		info("a", typeSumInt64, "s2", ints(2)),
		info("a", typeDistInt64, "s1", ints(0)),
		info("b", typeSumInt64, "s1", ints(4)),
		info("a\x00b", typeSumInt64, "s1", ints(5)),
		{Urn: "a", Type: typeSumInt64, Payload: ints(6)},
		{Urn: "a", Type: typeSumInt64, Payload: ints(7), Labels: map[string]string{"x": ""}},
		{Urn: "a", Type: typeSumInt64, Payload: ints(8), Labels: map[string]string{"": "x"}},
	}
	var a, b Accumulator
	for i := range infos {
		_ = a.Add(infos[i : i+1])
		_ = b.Add(infos[len(infos)-1-i : len(infos)-i])
	}
	got := a.Snapshot()
	if len(got) != len(infos) {
		t.Errorf("%d infos became %d", len(infos), len(got))
	}
	if diff := cmp.Diff(got, b.Snapshot(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	for i := 1; i < len(got); i++ {
		if got[i-1].GetUrn() > got[i].GetUrn() {
			t.Errorf("%q comes before %q", got[i-1].GetUrn(), got[i].GetUrn())
		}
	}
}

// TestReadByGoSDK merges what the Go SDK encodes, and lets it read the result.
func TestReadByGoSDK(t *testing.T) {
	must := func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	at := time.UnixMilli(1_600_000_000_000)
	var j Job
	for i := range int64(3) {
		_ = j.BundleDone("b", []*pipepb.MonitoringInfo{
			info(metricsx.UrnToString(metricsx.UrnUserSumInt64), metricsx.UrnToType(metricsx.UrnUserSumInt64), "step", must(metricsx.Int64Counter(i))),
			info(metricsx.UrnToString(metricsx.UrnUserDistInt64), metricsx.UrnToType(metricsx.UrnUserDistInt64), "step", must(metricsx.Int64Distribution(1, i, i, i))),
			info(metricsx.UrnToString(metricsx.UrnUserLatestMsInt64), metricsx.UrnToType(metricsx.UrnUserLatestMsInt64), "step", must(metricsx.Int64Latest(at.Add(-time.Duration(i)*time.Second), i))),
		})
	}
	attempted, committed := j.Snapshot()
	got := metricsx.FromMonitoringInfos(&pipepb.Pipeline{}, attempted, committed).AllMetrics()
	if c := got.Counters(); len(c) != 1 || c[0].Committed != 3 || c[0].Attempted != 3 {
		t.Errorf("counters %+v", c)
	}
	want := metrics.DistributionValue{Count: 3, Sum: 3, Min: 0, Max: 2}
	if d := got.Distributions(); len(d) != 1 || d[0].Committed != want || d[0].Attempted != want {
		t.Errorf("distributions %+v", d)
	}
	if g := got.Gauges(); len(g) != 1 || g[0].Committed.Value != 0 || !g[0].Committed.Timestamp.Equal(at) {
		t.Errorf("gauges %+v", g)
	}
}

func TestJobViews(t *testing.T) {
	var j Job
	count := func(n int64) []*pipepb.MonitoringInfo {
		return []*pipepb.MonitoringInfo{info("u", typeSumInt64, "s", ints(n))}
	}
	check := func(when string, attempted, committed int64) {
		t.Helper()
		a, c := j.Snapshot()
		value := func(infos []*pipepb.MonitoringInfo) int64 {
			if len(infos) == 0 {
				return 0
			}
			r := reader{rest: infos[0].GetPayload()}
			return r.varint()
		}
		if value(a) != attempted || value(c) != committed {
			t.Errorf("%s: attempted %d, committed %d; want %d, %d", when, value(a), value(c), attempted, committed)
		}
	}
	check("empty", 0, 0)
	_ = j.Progress("b1", count(1000))
	check("progress of nobody", 0, 0)
	j.BundleStarted("b1")
	j.BundleStarted("b2")
	check("started", 0, 0)
	_ = j.Progress("b1", count(1))
	_ = j.Progress("b2", count(10))
	_ = j.Progress("b2", count(20))
	check("progress", 21, 0)
	_ = j.BundleDone("b1", count(5))
	check("done", 25, 5)
	_ = j.Progress("b1", count(1000))
	check("progress that comes late", 25, 5)
	_ = j.BundleFailed("b2", nil)
	check("failed without figures", 25, 5)
	j.BundleStarted("b3")
	_ = j.Progress("b3", count(1))
	_ = j.BundleFailed("b3", count(100))
	check("failed with figures", 125, 5)
	_ = j.BundleDone("b4", count(7))
	check("done, never started", 132, 12)
	j.BundleStarted("b5")
	if err := j.Progress("b5", []*pipepb.MonitoringInfo{info("u", typeSumInt64, "s", nil)}); err == nil {
		t.Error("bad progress is no error")
	}
	if err := j.BundleFailed("b5", nil); err != nil {
		t.Error(err)
	}
	check("bad progress", 132, 12)
}

// TestJobCountsOnce: while bundles come and go, every snapshot has each exactly once.
func TestJobCountsOnce(t *testing.T) {
	var j Job
	one := []*pipepb.MonitoringInfo{info("u", typeSumInt64, "s", ints(1))}
	j.BundleStarted("x")
	_ = j.Progress("x", one)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		last := int64(1)
		for {
			a, _ := j.Snapshot()
			r := reader{rest: a[0].GetPayload()}
			if n := r.varint(); n < last {
				t.Errorf("attempted went from %d to %d", last, n)
				return
			} else {
				last = n
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for range 500 {
		_ = j.BundleDone("x", one)
		j.BundleStarted("x")
		_ = j.Progress("x", one)
	}
	close(stop)
	wg.Wait()
}

// TestStringSetLimit: as in the SDKs, the string that goes over the limit is the
// last one.
func TestStringSetLimit(t *testing.T) {
	for _, tc := range []struct{ items, want []string }{
		{[]string{"aaaa", "bbbb", "cccc", "dddd"}, []string{"aaaa", "bbbb", "cccc"}},
		{[]string{"aaaaaaaaaaaaaaa", "b"}, []string{"aaaaaaaaaaaaaaa"}},
		{[]string{"aaaa", "bbbbbb", "c", "d"}, []string{"aaaa", "bbbbbb", "c"}},
		{[]string{"aaaa", "bbbb"}, []string{"aaaa", "bbbb"}},
	} {
		for _, whole := range []bool{true, false} {
			s := &stringSet{limit: 10}
			if whole {
				_ = s.merge(set(tc.items...))
			} else {
				for _, item := range slices.Backward(tc.items) {
					_ = s.merge(set(item))
				}
			}
			if got := s.payload(); !slices.Equal(got, set(tc.want...)) {
				t.Errorf("of %q %q are kept, want %q", tc.items, got, tc.want)
			}
		}
	}
}
