package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
)

func channelSplit(lastPrimary, firstResidual int64) *fnpb.ProcessBundleSplitResponse {
	return &fnpb.ProcessBundleSplitResponse{ChannelSplits: []*fnpb.ProcessBundleSplitResponse_ChannelSplit{{
		LastPrimaryElement: lastPrimary, FirstResidualElement: firstResidual,
	}}}
}

func root(e []byte) *fnpb.BundleApplication { return &fnpb.BundleApplication{Element: e} }

func TestCutClaim(t *testing.T) {
	scan, err := coders.CompileWindowed(testCoders(), "wkv")
	if err != nil {
		t.Fatal(err)
	}
	st := &stageRun{plan: &graph.Stage{}, input: scan}
	element := func(i int) []byte { return kv(int64(100+i), "k", fmt.Sprint(i)) }
	claim := []core.Block{block(element(0), element(1), element(2)), block(element(3), element(4))}
	values := func(blocks []core.Block) (out []string) {
		var e coders.Element
		for _, b := range blocks {
			n := int64(0)
			for data := b.Payload.([]byte); len(data) > 0; n++ {
				m, err := scan.Next(data, &e)
				if err != nil {
					t.Fatal(err)
				}
				_, w, _ := coders.ReadVarint(e.Value)
				out = append(out, string(e.Value[w:]))
				data = data[m:]
			}
			if n != b.Count {
				t.Errorf("a block says it has %d elements and has %d", b.Count, n)
			}
		}
		return out
	}
	split := channelSplit(0, 2)
	split.PrimaryRoots = []*fnpb.BundleApplication{root(element(10))}
	split.ResidualRoots = []*fnpb.DelayedBundleApplication{{Application: root(element(11))}}
	lost := channelSplit(0, 2)
	for _, c := range []struct {
		name              string
		resp              *fnpb.ProcessBundleSplitResponse
		primary, residual []string
		err               error
	}{
		{"between blocks", channelSplit(2, 3), []string{"0", "1", "2"}, []string{"3", "4"}, nil},
		{"inside a block", channelSplit(0, 1), []string{"0"}, []string{"1", "2", "3", "4"}, nil},
		{"all goes", channelSplit(-1, 0), nil, []string{"0", "1", "2", "3", "4"}, nil},
		{"inside an element", split, []string{"0", "10"}, []string{"11", "2", "3", "4"}, nil},
		{"nothing goes", channelSplit(4, 5), []string{"0", "1", "2", "3", "4"}, nil, nil},
		{"behind the end", channelSplit(5, 6), []string{"0", "1", "2", "3", "4"}, nil, nil},
		{"an element in neither part", lost, nil, nil, errSplit},
		{"two elements in neither part", channelSplit(0, 3), nil, nil, errSplit},
		{"an element in both parts", channelSplit(2, 2), nil, nil, errSplit},
		{"before the beginning", channelSplit(-3, -2), nil, nil, errSplit},
	} {
		t.Run(c.name, func(t *testing.T) {
			primary, residual, err := st.cutClaim(claim, 0, c.resp)
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if err != nil {
				return
			}
			if got := values(primary); !slices.Equal(got, c.primary) {
				t.Errorf("primary %v, want %v", got, c.primary)
			}
			if got := values(residual); !slices.Equal(got, c.residual) {
				t.Errorf("residual %v, want %v", got, c.residual)
			}
		})
	}
}

// TestCutClaimAgain: an element that is split in two windows leaves two roots, and
// they are not two elements when it is split again.
func TestCutClaimAgain(t *testing.T) {
	scan, err := coders.CompileWindowed(testCoders(), "wkv")
	if err != nil {
		t.Fatal(err)
	}
	st := &stageRun{plan: &graph.Stage{}, input: scan}
	element := func(i int) []byte { return kv(int64(100+i), "k", fmt.Sprint(i)) }
	claim := []core.Block{block(element(0)), block(element(1)), block(element(2))}
	split := channelSplit(0, 2)
	split.PrimaryRoots = []*fnpb.BundleApplication{root(element(10)), root(element(11))}
	split.ResidualRoots = []*fnpb.DelayedBundleApplication{{Application: root(element(12))}}
	primary, residual, err := st.cutClaim(claim, 0, split)
	if err != nil || len(primary) != 3 || len(residual) != 2 {
		t.Fatalf("%d and %d blocks, %v; want 3 and 2", len(primary), len(residual), err)
	}
	// Nothing more of it can be given up: the Go SDK names the element behind it.
	again, residual, err := st.cutClaim(primary, 2, channelSplit(1, 2))
	if err != nil || len(again) != 3 || residual != nil {
		t.Fatalf("%d and %d blocks, %v; want 3 and none", len(again), len(residual), err)
	}
	again, residual, err = st.cutClaim(primary, 2, split)
	if err != nil || len(again) != 3 || len(residual) != 1 {
		t.Fatalf("%d and %d blocks, %v; want 3 and 1", len(again), len(residual), err)
	}
}

func TestUntouched(t *testing.T) {
	claim := []core.Block{block(kv(0, "k", "0")), block(kv(1, "k", "1"))}
	for _, c := range []struct {
		residual []byte
		want     bool
	}{{kv(1, "k", "1"), true}, {kv(1, "k", "2"), false}} {
		split := channelSplit(0, 2)
		split.PrimaryRoots = []*fnpb.BundleApplication{root(kv(1, "k", ""))}
		split.ResidualRoots = []*fnpb.DelayedBundleApplication{{Application: root(c.residual)}}
		if got := untouched(claim, split); got != c.want {
			t.Errorf("residual %q: %t, want %t", c.residual, got, c.want)
		}
	}
	if untouched(claim, channelSplit(0, 1)) {
		t.Error("no element was split")
	}
}

// slowWorker runs a bundle element by element and takes splits meanwhile, as an SDK
// does.
type slowWorker struct {
	*scriptWorker
	scan *coders.Windowed

	mu      sync.Mutex
	bundles map[string]*slowBundle
	done    map[string]int
	splits  int
}

type slowBundle struct{ at, end int64 }

func (w *slowWorker) Run(ctx context.Context, b *Bundle) (*Result, error) {
	if b.Descriptor.GetId() != "s02" {
		return w.scriptWorker.Run(ctx, b)
	}
	data := input(b)
	s := &slowBundle{end: b.Elements}
	w.mu.Lock()
	w.bundles[b.ID] = s
	w.mu.Unlock()
	var e coders.Element
	for {
		w.mu.Lock()
		over := s.at >= s.end
		w.mu.Unlock()
		if over {
			return &Result{}, nil
		}
		n, err := w.scan.Next(data, &e)
		if err != nil {
			return nil, err
		}
		data = data[n:]
		if e.Timestamp < slowElements {
			time.Sleep(30 * time.Millisecond)
		}
		w.mu.Lock()
		w.done[string(e.Value)]++
		s.at++
		w.mu.Unlock()
	}
}

func (w *slowWorker) Split(_ context.Context, id string, fraction float64, _ int64) (*fnpb.ProcessBundleSplitResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.bundles[id]
	if s == nil || s.end-s.at < 2 {
		return nil, nil
	}
	at := s.at + 1 + int64(fraction*float64(s.end-s.at-1))
	s.end = at
	w.splits++
	return channelSplit(at-1, at), nil
}

// slowElements is how many elements, the first, take their time.
const slowElements = 25

// TestStragglersAreSplit: one bundle has all the slow elements; the idle slots get
// their share of it, and every element is done once.
func TestStragglersAreSplit(t *testing.T) {
	plan := testPlan(&graph.Input{})
	scan, err := coders.CompileWindowed(plan.Coders, "wkv")
	if err != nil {
		t.Fatal(err)
	}
	const n = 100
	s := &script{stages: map[string]func(context.Context, *Bundle) (*Result, error){"s01": makeKVs(n)}}
	w := &slowWorker{scriptWorker: &scriptWorker{s}, scan: scan, bundles: map[string]*slowBundle{}, done: map[string]int{}}
	j := newTestJobWith(t, plan, startFunc(func() Worker { return w }), core.Config{
		Slots: 4, BundleElements: n, SplitAfter: 20 * time.Millisecond,
	})
	begin := time.Now()
	if err := run(t, j); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.done) != n {
		t.Errorf("%d different elements done, want %d", len(w.done), n)
	}
	for v, times := range w.done {
		if times != 1 {
			t.Errorf("%q done %d times", v, times)
		}
	}
	if w.splits == 0 {
		t.Error("nothing was split")
	}
	if alone := slowElements * 30 * time.Millisecond; took > alone*7/10 {
		t.Errorf("took %v, %d splits: the slots stood idle", took, w.splits)
	}
}
