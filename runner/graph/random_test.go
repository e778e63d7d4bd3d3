package graph

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// drawPipeline makes a sound pipeline of all kinds of transforms.
func drawPipeline(t *rapid.T) *builder {
	b := newBuilder()
	b.env("go", "py")
	draw := func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label) }
	elements := []string{"bytes", "varint", "mine", "lp<mine>", "nullable<row>"}
	keyed := []string{"kv<string,varint>", "kv<mine,row>", "kv<lp<mine>,lp<row>>", "kv<row,bool>"}

	b.Add("i", urnImpulse, "", nil, nil, []string{"c"})
	plain, kvs := []string{"c"}, []string(nil)
	pick := func(label string) string {
		all := slices.Concat(plain, kvs)
		return all[draw(label, len(all))]
	}
	outputs := func(id string) []string {
		var specs []string
		for o := range 1 + draw("outputs", 3) {
			name := fmt.Sprintf("%s_%d", id, o)
			if rapid.Bool().Draw(t, "kv") {
				specs = append(specs, name+":"+keyed[draw("coder", len(keyed))])
				kvs = append(kvs, name)
			} else {
				specs = append(specs, name+":"+elements[draw("coder", len(elements))])
				plain = append(plain, name)
			}
		}
		return specs
	}
	coderOf := func(c string) string { return b.p.Components.Pcollections[c].CoderId }

	for n := range 1 + draw("transforms", 14) {
		id := fmt.Sprintf("t%02d", n)
		env := []string{"go", "go", "py"}[draw("env", 3)]
		switch draw("kind", 9) {
		case 0:
			b.Add(id, urnImpulse, "", nil, nil, []string{id})
			plain = append(plain, id)
		case 1, 2:
			if len(kvs) == 0 {
				continue
			}
			in := kvs[draw("in", len(kvs))]
			if coderOf(in) == "" || b.p.Components.Transforms[in] != nil && b.p.Components.Transforms[in].Spec.Urn == urnGroup {
				continue // Groupings of groupings nest coders; the scripts have some.
			}
			k := b.p.Components.Coders[coderOf(in)].ComponentCoderIds
			b.Add(id, urnGroup, "", nil, []string{in}, []string{id + ":kv<" + k[0] + ",iterable<" + k[1] + ">>"})
			kvs = append(kvs, id)
		case 3, 4:
			var ins []string
			for range draw("inputs", 4) {
				ins = append(ins, pick("in"))
			}
			coder := "mine"
			if len(ins) > 0 && rapid.Bool().Draw(t, "agree") {
				coder = coderOf(ins[0])
			}
			b.Add(id, urnFlatten, env, nil, ins, []string{id + ":" + coder})
			plain = append(plain, id)
		case 5:
			in := pick("in")
			coder := coderOf(in)
			if rapid.Bool().Draw(t, "other") {
				coder = "mine"
			}
			b.Add(id, urnReshuffle, "", nil, []string{in}, []string{id + ":" + coder})
			plain = append(plain, id)
		default:
			o := parDo{env: env}
			in := pick("in")
			for range draw("sides", 3) {
				o.sides = append(o.sides, pick("side"))
			}
			switch draw("flavour", 5) {
			case 0:
				restriction := b.Coder("kv<other,bool>")
				o.edit = func(p *pipepb.ParDoPayload) { p.RestrictionCoderId = restriction }
			case 1:
				if slices.Contains(kvs, in) {
					state := b.Coder("varint")
					o.edit = func(p *pipepb.ParDoPayload) {
						p.StateSpecs = map[string]*pipepb.StateSpec{"s": {Spec: &pipepb.StateSpec_BagSpec{
							BagSpec: &pipepb.BagStateSpec{ElementCoderId: state}}}}
					}
				}
			}
			b.parDo(id, o, in, outputs(id)...)
		}
	}
	return b
}

func TestRandomPipelines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawPipeline(t)
		before := proto.Clone(b.p)
		plan, err := Compile(b.p)
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(before, b.p) {
			t.Fatal("Compile changed the pipeline")
		}
		checkPlan(t, plan)
		checkRoutes(t, plan)
		if t.Failed() {
			t.Log("\n" + plan.String())
		}
	})
}

// checkRoutes compares where elements come from, in the plan and in the pipeline.
func checkRoutes(t *rapid.T, plan *Plan) {
	comps := plan.Pipeline.GetComponents()
	producer := make(map[string]string)
	for id, tr := range comps.GetTransforms() {
		for _, out := range tr.GetOutputs() {
			producer[out] = id
		}
	}
	// origins returns the collections that a collection is made of, each as often
	// as its elements are in it.
	var origins func(c string) []string
	origins = func(c string) []string {
		tr := comps.GetTransforms()[producer[c]]
		if urn := tr.GetSpec().GetUrn(); urn != urnFlatten && !isRedistribute(urn) {
			return []string{c}
		}
		var all []string
		for _, in := range tr.GetInputs() {
			all = append(all, origins(in)...)
		}
		return all
	}
	var trace func(from []Edge) []string
	trace = func(from []Edge) []string {
		var all []string
		for _, e := range from {
			s := plan.Stages[e.Stage]
			switch {
			case s.Kind == Forward && s.Input.Grouping == nil, s.Kind == SDK && len(s.Transforms) == 0:
				all = append(all, trace(s.Input.From)...)
			default:
				all = append(all, s.Outputs[e.Output].Collection)
			}
		}
		return all
	}
	same := func(what string, from []Edge, collection string) {
		got, want := trace(from), origins(collection)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s reads %v, want %v", what, got, want)
		}
	}
	for _, s := range plan.Stages {
		inside := make(map[string]bool)
		boundary := ""
		if s.Kind == SDK {
			for _, c := range s.Descriptor.GetTransforms()[s.Input.Source].GetOutputs() {
				boundary = c
			}
		}
		for _, id := range s.Transforms {
			tr := comps.GetTransforms()[id]
			if s.Kind == SDK {
				main := tr.GetInputs()["i0"]
				if main != boundary && !inside[producer[main]] {
					t.Errorf("stage %s: %s reads %s, which is neither made inside nor read by the stage", s.ID, id, main)
				}
			}
			inside[id] = true
		}
		if s.Input == nil {
			continue
		}
		read := boundary
		if g := s.Input.Grouping; g != nil {
			read = comps.GetTransforms()[g.Transform].GetInputs()["i0"]
		} else if s.Kind == Forward {
			read = comps.GetTransforms()[s.Transforms[0]].GetInputs()["i0"]
		}
		if s.Kind != SDK || len(s.Transforms) > 0 {
			same("stage "+s.ID, s.Input.From, read)
		}
		for _, side := range s.SideInputs {
			same(fmt.Sprintf("side input %s.%s", side.Transform, side.Local), side.From, side.Collection)
		}
	}
	want := make(map[string]bool)
	for id, tr := range comps.GetTransforms() {
		for local := range tr.GetInputs() {
			if urn := tr.GetSpec().GetUrn(); local != "i0" && (urn == urnParDo || urn == urnProcessSized) {
				want[id+"."+local] = true
			}
		}
	}
	for _, s := range plan.Stages {
		for _, side := range s.SideInputs {
			delete(want, side.Transform+"."+side.Local)
		}
	}
	for missing := range want {
		t.Errorf("no stage reads side input %s", missing)
	}
}

// TestStable: equal pipelines give equal plans, whatever the order of maps.
func TestStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPipeline(t).p
		first := dump(t, p)
		for range 5 {
			if again := dump(t, shuffled(p)); again != first {
				t.Fatalf("plans differ:\n%s\n%s", first, again)
			}
		}
	})
}

// shuffled returns the pipeline with its maps built anew, in another order.
func shuffled(p *pipepb.Pipeline) *pipepb.Pipeline {
	p = proto.Clone(p).(*pipepb.Pipeline)
	c := p.Components
	c.Transforms = rebuilt(c.Transforms)
	c.Pcollections = rebuilt(c.Pcollections)
	c.Coders = rebuilt(c.Coders)
	c.WindowingStrategies = rebuilt(c.WindowingStrategies)
	c.Environments = rebuilt(c.Environments)
	for _, t := range c.Transforms {
		t.Inputs, t.Outputs = rebuilt(t.Inputs), rebuilt(t.Outputs)
	}
	return p
}

func rebuilt[V any](m map[string]V) map[string]V {
	keys := slices.Collect(maps.Keys(m))
	slices.Reverse(keys)
	n := make(map[string]V)
	for _, k := range keys {
		n[k] = m[k]
	}
	return n
}

type fataler interface{ Fatal(...any) }

// dump renders all of a plan.
func dump(t fataler, p *pipepb.Pipeline) string {
	plan, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	out := plan.String()
	marshal := func(m proto.Message) {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		out += fmt.Sprintf("%q\n", b)
	}
	for _, s := range plan.Stages {
		if s.Kind == SDK {
			marshal(s.Descriptor)
		}
	}
	for _, id := range sortedKeys(plan.Coders) {
		out += id
		marshal(plan.Coders[id])
	}
	marshal(plan.Pipeline)
	return out
}

func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := newBuilder()
			p.env("go")
			p.Add("i", urnImpulse, "", nil, nil, []string{"c0"})
			for i := range n {
				c := fmt.Sprintf("c%d", i)
				kv, out := fmt.Sprintf("kv%d:kv<mine,varint>", i), fmt.Sprintf("g%d:kv<mine,iterable<varint>>", i)
				p.parDo("p"+c, parDo{env: "go", sides: []string{"c0"}}, c, kv)
				p.Add("g"+c, urnGroup, "", nil, []string{fmt.Sprintf("kv%d", i)}, []string{out})
				p.parDo("q"+c, parDo{env: "go"}, fmt.Sprintf("g%d", i), fmt.Sprintf("c%d", i+1))
			}
			b.ResetTimer()
			for range b.N {
				if _, err := Compile(p.p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
