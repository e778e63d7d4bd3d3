package graph

import (
	"errors"
	"slices"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/apache/beam/sdks/v2/go/test/integration/primitives"
	"google.golang.org/protobuf/proto"
)

// FuzzCompile mutates sound pipelines: whatever comes, Compile answers with a plan
// that holds together or with an error.
func FuzzCompile(f *testing.F) {
	for _, script := range []string{
		`impulse i -> a
		 pardo f a -> b:kv<mine,other> c
		 gbk k b -> d:kv<mine,iterable<other>>
		 pardo g d -> e side=c
		 flatten m e c -> h
		 reshuffle r h -> j
		 pardo s j -> l sdf=kv<mine,bool> side=b:multimap
		 pardo t b -> n state=varint list=row`,
		`impulse i -> a
		 pardo f a -> b:kv<mine,varint>@sessions
		 gbk k b -> c:kv<mine,iterable<varint>>@sessions
		 pardo x c -> d:kv<mine,double>@sessions
		 composite comb beam:transform:combine_per_key:v1 b -> d parts=k,x accum=other
		 pardo h d -> e@fixed timer=timer<mine,interval_window>
		 flatten m e e -> n@fixed`,
	} {
		b := newBuilder()
		b.env("w")
		for line := range strings.Lines(script) {
			if err := runLine(b, strings.TrimSpace(line)); err != nil {
				f.Fatal(err)
			}
		}
		addSeed(f, b.p)
	}
	addSeed(f, build(f, primitives.CoGBK))
	addSeed(f, build(f, primitives.WindowSums_Lifted))
	addSeed(f, build(f, primitives.TestStreamToGBK))
	f.Fuzz(func(t *testing.T, data, ops []byte) {
		p := &pipepb.Pipeline{}
		if err := proto.Unmarshal(data, p); err != nil {
			return
		}
		mutate(p, ops)
		plan, err := Compile(p)
		if err != nil {
			if strings.Contains(err.Error(), "BUG") {
				t.Fatal(err)
			}
			var unsupported *UnsupportedError
			if errors.As(err, &unsupported) && len(unsupported.Reasons) == 0 {
				t.Fatal("unsupported for no reason")
			}
			return
		}
		checkPlan(t, plan)
		_ = plan.String()
	})
}

func addSeed(f *testing.F, p *pipepb.Pipeline) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, []byte(nil))
	for kind := range byte(mutations) {
		f.Add(data, []byte{kind, 1, 2, kind, 5, 3, kind, 2, 7})
	}
}

const mutations = 12

// mutate applies ops, three bytes each: a kind and two places. It changes what
// pipelines refer to, which mutated bytes of a proto hardly ever do.
func mutate(p *pipepb.Pipeline, ops []byte) {
	c := p.GetComponents()
	if c == nil {
		return
	}
	for ; len(ops) >= 3; ops = ops[3:] {
		kind, x, y := ops[0]%mutations, int(ops[1]), int(ops[2])
		t := c.Transforms[at(sortedKeys(c.Transforms), x)]
		if t == nil {
			continue
		}
		col := at(sortedKeys(c.Pcollections), y)
		coder := at(sortedKeys(c.Coders), y)
		switch kind {
		case 0:
			delete(c.Transforms, at(sortedKeys(c.Transforms), y))
		case 1:
			delete(c.Pcollections, col)
		case 2:
			delete(c.Coders, coder)
		case 3:
			delete(c.WindowingStrategies, at(sortedKeys(c.WindowingStrategies), y))
		case 4:
			if local := at(sortedKeys(t.Inputs), y); local != "" {
				t.Inputs[local] = col
			}
		case 5:
			if t.Inputs != nil {
				t.Inputs[string(rune('a'+y%26))] = col
			}
		case 6:
			if from := c.Coders[at(sortedKeys(c.Coders), x)]; from != nil && len(from.ComponentCoderIds) > 0 {
				from.ComponentCoderIds[0] = coder
			}
		case 7:
			if t.Spec != nil {
				urns := []string{urnImpulse, urnGroup, urnFlatten, urnParDo, urnReshuffle, urnCombinePerKey, urnPrecombine,
					urnMergeAccumulators, urnPair, urnSplit, urnProcessSized, urnWindowInto, urnToString, urnTestStream, ""}
				t.Spec.Urn = urns[y%len(urns)]
			}
		case 8:
			t.Subtransforms = append(t.Subtransforms, at(sortedKeys(c.Transforms), y))
		case 9:
			if from := c.Pcollections[at(sortedKeys(c.Pcollections), x)]; from != nil {
				from.CoderId = coder
			}
		case 10:
			if t.Spec != nil && len(t.Spec.Payload) > 0 {
				t.Spec.Payload = slices.Clone(t.Spec.Payload)
				t.Spec.Payload[y%len(t.Spec.Payload)] ^= byte(x + 1)
			}
		case 11:
			t.Spec, c.Coders = nil, rebuilt(c.Coders)
			if coder != "" && y%2 == 0 {
				c.Coders[coder] = nil
			}
		}
	}
}

func at(list []string, i int) string {
	if len(list) == 0 {
		return ""
	}
	return list[i%len(list)]
}
