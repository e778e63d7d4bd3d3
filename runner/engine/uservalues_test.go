package engine

import (
	"context"
	"fmt"
	"strings"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/runner/graph"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/memstore"
)

func valueKey(key string) *fnpb.StateKey {
	return &fnpb.StateKey{Type: &fnpb.StateKey_BagUserState_{BagUserState: &fnpb.StateKey_BagUserState{
		TransformId: "t", UserStateId: "value", Key: []byte(key)}}}
}

// valueShard is a shard with a value, and the store beneath it.
type valueShard struct {
	t      fataler
	stage  *stageRun
	store  *jobStore
	frozen *layer
}

func newValueShard(t fataler, remembered int64) *valueShard {
	st := statefulStage(t)
	st.states[sideID{"t", "value"}] = declaredState{whole: true}
	st.shards[0].kept.limit = remembered
	disk := memstore.NewDisk(nil)
	return &valueShard{t: t, stage: st, store: &jobStore{open: func() (statebackend.Store, error) { return disk.Open("job", statebackend.Options{}) }}}
}

func (s *valueShard) bundle() *bundleState {
	return newBundleState(s.stage, s.stage.shards[0], s.store.reader)
}

func (s *valueShard) freeze() { s.frozen = s.stage.shards[0].freeze() }

func (s *valueShard) write() {
	if _, err := s.store.write(s.stage.shards, []*layer{s.frozen}, nil); err != nil {
		s.t.Fatalf("write: %v", err)
	}
}

func (s *valueShard) thaw() {
	s.stage.shards[0].thaw()
	s.frozen = nil
}

// restart loses what is in memory.
func (s *valueShard) restart() {
	old := s.stage.shards[0]
	next := old.views.Load().dirty.epoch + 1
	s.stage.shards[0], s.frozen = newShardState(nil, old.kept.limit), nil
	s.stage.shards[0].views.Store(&views{dirty: newLayer(next)})
}

// records counts what the store has.
func (s *valueShard) records() (n int) {
	st, err := s.store.reader()
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	if st == nil {
		return 0
	}
	if err := st.Scan(nil, nil, func([]byte, []byte) bool { n++; return true }); err != nil {
		s.t.Fatalf("%v", err)
	}
	return n
}

// play does what each letter says: c clears, g reads, any other is appended. It returns what
// the last g has read.
func play(t fataler, b *bundleState, key, script string) (read string) {
	t.Helper()
	k := valueKey(key)
	for _, c := range script {
		var err error
		switch c {
		case 'c':
			err = b.Clear(context.Background(), k)
		case 'g':
			read = readAll(t, b, k)
		default:
			err = b.Append(context.Background(), k, []byte(string(c)))
		}
		if err != nil {
			t.Fatalf("%c: %v", c, err)
		}
	}
	return read
}

// TestValueRequests plays what SDKs do with a value that isn't there, or lies in any of the layers.
func TestValueRequests(t *testing.T) {
	for _, c := range []struct{ script, fromNone, fromOld string }{
		{"g", "", "O"},
		{"gcXg", "X", "X"},      // read, write
		{"cXg", "X", "X"},       // blind write
		{"cXYZg", "XYZ", "XYZ"}, // written in pieces
		{"cg", "", ""},
		{"Xg", "X", "OX"}, // an accumulator that is added
		{"gXg", "X", "OX"},
		{"XYg", "XY", "OXY"},
		{"gXcg", "", ""},
		{"cXcg", "", ""},
		{"cXcYg", "Y", "Y"},
		{"cgXgcYgZg", "YZ", "YZ"},
	} {
		for _, where := range []string{"nowhere", "dirty", "frozen", "written", "store", "restart"} {
			t.Run(c.script+"/"+where, func(t *testing.T) {
				s := newValueShard(t, 1<<20)
				want := c.fromNone
				if where != "nowhere" {
					want = c.fromOld
					b := s.bundle()
					play(t, b, "k", "O")
					s.stage.shards[0].apply(b.staged())
				}
				switch where {
				case "frozen":
					s.freeze()
				case "written":
					s.freeze()
					s.write()
				case "store", "restart":
					s.freeze()
					s.write()
					s.thaw()
				}
				if where == "restart" {
					s.restart()
				}
				b := s.bundle()
				if got := play(t, b, "k", c.script); got != want {
					t.Fatalf("the bundle reads %q, want %q", got, want)
				}
				play(t, b, "another", "gX") // which is not what was asked for last
				s.stage.shards[0].apply(b.staged())
				if got := play(t, s.bundle(), "k", "g"); got != want {
					t.Errorf("the next bundle reads %q, want %q", got, want)
				}
				if where == "frozen" || where == "written" {
					s.write()
					s.thaw()
				}
				s.freeze()
				s.write()
				s.thaw()
				s.restart()
				if got := play(t, s.bundle(), "k", "g"); got != want {
					t.Errorf("after a restart: %q, want %q", got, want)
				}
				records := 1 // another
				if want != "" {
					records++
				}
				if n := s.records(); n != records {
					t.Errorf("%d records, want %d", n, records)
				}
			})
		}
	}
}

// TestValuesAgainstModel runs random bundles of requests for values, some of which fail and are dropped,
// with epochs and restarts at random moments.
func TestValuesAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newValueShard(t, rapid.SampledFrom([]int64{0, 400, 1 << 20}).Draw(t, "remembered"))
		defer s.store.close()
		now, frozen, stored := map[string]string{}, map[string]string{}, map[string]string{}
		clone := func(m map[string]string) map[string]string {
			c := map[string]string{}
			for k, v := range m {
				c[k] = v
			}
			return c
		}
		epoch := func() {
			switch {
			case s.frozen == nil:
				s.freeze()
				frozen = clone(now)
			case rapid.Bool().Draw(t, "thaw"):
				s.write()
				s.thaw()
				stored = frozen
			default: // written, but readers still have the frozen layer
				s.write()
				stored = frozen
			}
		}
		for range rapid.IntRange(1, 15).Draw(t, "bundles") {
			if rapid.IntRange(0, 8).Draw(t, "restart") == 0 {
				s.restart()
				now = clone(stored)
			}
			b, next := s.bundle(), clone(now)
			for range rapid.IntRange(0, 12).Draw(t, "ops") {
				if rapid.IntRange(0, 5).Draw(t, "epoch") == 0 {
					epoch()
				}
				key := rapid.SampledFrom([]string{"k", "kk", "kkk"}).Draw(t, "key")
				op := rapid.StringMatching("[cgXYZ]{1,3}").Draw(t, "op")
				want := next[key]
				for _, c := range op {
					switch c {
					case 'c':
						next[key] = ""
					case 'g':
						want = next[key]
					default:
						next[key] += string(c)
					}
				}
				if got := play(t, b, key, op); strings.Contains(op, "g") && got != want {
					t.Fatalf("%s of %s reads %q, want %q", op, key, got, want)
				}
			}
			if rapid.IntRange(0, 3).Draw(t, "fails") == 0 {
				continue
			}
			if n := b.staged().valueBytes; n != sizeOf(b.staged().values) {
				t.Fatalf("%d bytes are staged, counted %d", sizeOf(b.staged().values), n)
			}
			s.stage.shards[0].apply(b.staged())
			now = next
		}
		b := s.bundle()
		for k, want := range now {
			if got := play(t, b, k, "g"); got != want {
				t.Fatalf("%s is %q, want %q", k, got, want)
			}
		}
	})
}

func sizeOf(values map[string]value) (n int64) {
	for key, v := range values {
		n += v.size(key)
	}
	return n
}

// TestWhichStatesAreValues: those that SDKs write whole, and no others.
func TestWhichStatesAreValues(t *testing.T) {
	specs := map[string]*pipepb.StateSpec{
		"value":     {Spec: &pipepb.StateSpec_ReadModifyWriteSpec{ReadModifyWriteSpec: &pipepb.ReadModifyWriteStateSpec{CoderId: "bytes"}}},
		"combining": {Spec: &pipepb.StateSpec_CombiningSpec{CombiningSpec: &pipepb.CombiningStateSpec{AccumulatorCoderId: "bytes"}}},
		"bag":       {Spec: &pipepb.StateSpec_BagSpec{BagSpec: &pipepb.BagStateSpec{ElementCoderId: "bytes"}}},
		"set":       {Spec: &pipepb.StateSpec_SetSpec{SetSpec: &pipepb.SetStateSpec{ElementCoderId: "bytes"}}},
		"map":       {Spec: &pipepb.StateSpec_MapSpec{MapSpec: &pipepb.MapStateSpec{KeyCoderId: "bytes", ValueCoderId: "bytes"}}},
	}
	payload, err := proto.Marshal(&pipepb.ParDoPayload{StateSpecs: specs})
	if err != nil {
		t.Fatal(err)
	}
	plan := &graph.Plan{Coders: testCoders()}
	r := &stageRun{states: make(map[sideID]declaredState), plan: &graph.Stage{Transforms: []string{"t"}, Descriptor: &fnpb.ProcessBundleDescriptor{
		Transforms: map[string]*pipepb.PTransform{"t": {Spec: &pipepb.FunctionSpec{Urn: urnParDo, Payload: payload}}}}}}
	if err := r.declareStates(plan); err != nil {
		t.Fatal(err)
	}
	for name := range specs {
		if got, want := r.states[sideID{"t", name}].whole, name == "value" || name == "combining"; got != want {
			t.Errorf("%s is a value: %v, want %v", name, got, want)
		}
	}
	s := newValueShard(t, 0)
	k := mapKey("k", "a")
	k.GetMultimapUserState().UserStateId = "value"
	if err := s.bundle().Append(t.Context(), k, []byte("x")); err == nil || !strings.Contains(err.Error(), "is a value") {
		t.Errorf("a value was taken for a map: error %v", err)
	}
}

// BenchmarkValueRequests is a read and a write of a value in the bundle's and the shard's layers.
func BenchmarkValueRequests(b *testing.B) {
	const n = 10_000
	s := newValueShard(b, 0)
	keys := make([]*fnpb.StateKey, n)
	for i := range keys {
		keys[i] = valueKey(fmt.Sprintf("key%06d", i))
	}
	b.ReportAllocs()
	for b.Loop() {
		bs := s.bundle()
		for _, k := range keys {
			if _, _, err := bs.Get(b.Context(), k, nil); err != nil {
				b.Fatal(err)
			}
			if err := bs.Clear(b.Context(), k); err != nil {
				b.Fatal(err)
			}
			if err := bs.Append(b.Context(), k, []byte("12345678")); err != nil {
				b.Fatal(err)
			}
		}
		s.stage.shards[0].apply(bs.staged())
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/element")
}

// TestAppendCopies: the bytes that are appended stay the caller's.
func TestAppendCopies(t *testing.T) {
	s := newValueShard(t, 0)
	b := s.bundle()
	for _, c := range []struct {
		name string
		key  *fnpb.StateKey
		data string
	}{
		{"bag", bagKey("k"), "data"},
		{"value", valueKey("k"), "data"},
		{"map", mapKey("k", "m"), "data"},
		{"list", listKey("k", everySort), "\x05\x04data"},
	} {
		data := []byte(c.data)
		if err := b.Append(t.Context(), c.key, data); err != nil {
			t.Fatal(err)
		}
		clear(data)
		if got := readAll(t, b, c.key); got != c.data {
			t.Errorf("%s: %q, want %q", c.name, got, c.data)
		}
	}
}
