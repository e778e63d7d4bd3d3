package graph

import (
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
)

// reporter is what testing.T and rapid.T have in common.
type reporter interface {
	Helper()
	Errorf(string, ...any)
}

// checkPlan checks what holds for every plan.
func checkPlan(t reporter, plan *Plan) {
	t.Helper()
	type edge struct {
		from Edge
		to   Target
	}
	var forward, backward []edge
	ran := make(map[string]int)
	for i, s := range plan.Stages {
		if s.Index != i {
			t.Errorf("stage %s: index %d at place %d", s.ID, s.Index, i)
		}
		read := func(from []Edge, coder string, to Target) {
			for _, e := range from {
				if e.Stage >= i {
					t.Errorf("stage %s reads from the later stage %d", s.ID, e.Stage)
					continue
				}
				o := plan.Stages[e.Stage].Outputs[e.Output]
				if coderText(plan.Coders, o.Coder, 0) != coderText(plan.Coders, coder, 0) {
					t.Errorf("stage %s reads %s of what was written in %s", s.ID,
						coderText(plan.Coders, coder, 0), coderText(plan.Coders, o.Coder, 0))
				}
				backward = append(backward, edge{e, to})
			}
		}
		if (s.Input == nil) != (s.Kind == Impulse || s.Kind == TestStream) {
			t.Errorf("stage %s: kind %s, input %v", s.ID, s.Kind, s.Input)
		}
		if s.Input != nil {
			read(s.Input.From, s.Input.Coder, Target{i, -1})
		}
		for j, in := range s.SideInputs {
			read(in.From, in.Coder, Target{i, j})
		}
		for j, o := range s.Outputs {
			if len(o.To) == 0 {
				t.Errorf("stage %s: nobody reads output %d", s.ID, j)
			}
			for _, to := range o.To {
				forward = append(forward, edge{Edge{i, j}, to})
			}
			if _, err := coders.CompileWindowed(plan.Coders, o.Coder); err != nil {
				t.Errorf("stage %s: output %d: %v", s.ID, j, err)
			}
		}
		for _, id := range s.Transforms {
			ran[id]++
		}
		if s.Kind == SDK {
			checkDescriptor(t, s)
		}
	}
	compare := func(a, b edge) int {
		for _, d := range []int{a.from.Stage - b.from.Stage, a.from.Output - b.from.Output,
			a.to.Stage - b.to.Stage, a.to.SideInput - b.to.SideInput} {
			if d != 0 {
				return d
			}
		}
		return 0
	}
	slices.SortFunc(forward, compare)
	slices.SortFunc(backward, compare)
	if !slices.Equal(forward, backward) {
		t.Errorf("edges differ:\n from producers %v\n from readers   %v", forward, backward)
	}
	for id, n := range ran {
		if n > 1 {
			t.Errorf("transform %s is in %d stages", id, n)
		}
	}
	for id, tr := range plan.Pipeline.GetComponents().GetTransforms() {
		if executable[tr.GetSpec().GetUrn()] != unknownPayload && len(tr.GetSubtransforms()) == 0 &&
			ran[id] == 0 && reachable(plan.Pipeline)[id] {
			t.Errorf("transform %s is in no stage", id)
		}
	}
}

// reachable returns the transforms that the pipeline consists of, less the parts
// of composites that are replaced.
func reachable(p *pipepb.Pipeline) map[string]bool {
	seen := make(map[string]bool)
	todo := slices.Clone(p.GetRootTransformIds())
	for len(todo) > 0 {
		id := todo[0]
		todo = todo[1:]
		seen[id] = true
		t := p.GetComponents().GetTransforms()[id]
		if urn := t.GetSpec().GetUrn(); !isRedistribute(urn) && !isPrimitive(urn) {
			todo = append(todo, t.GetSubtransforms()...)
		}
	}
	return seen
}

func checkDescriptor(t reporter, s *Stage) {
	t.Helper()
	d := s.Descriptor
	if d.GetId() != s.ID {
		t.Errorf("stage %s: descriptor %s", s.ID, d.GetId())
	}
	checkCoder := func(who, id string) {
		if d.GetCoders()[id] == nil {
			t.Errorf("stage %s: %s names coder %q, which the descriptor lacks", s.ID, who, id)
		}
	}
	for id, c := range d.GetCoders() {
		for _, part := range c.GetComponentCoderIds() {
			checkCoder("coder "+id, part)
		}
	}
	for id, c := range d.GetPcollections() {
		checkCoder("collection "+id, c.GetCoderId())
		w := d.GetWindowingStrategies()[c.GetWindowingStrategyId()]
		if w == nil {
			t.Errorf("stage %s: collection %s has no windowing strategy", s.ID, id)
		}
		checkCoder("strategy of "+id, w.GetWindowCoderId())
	}
	for id, tr := range d.GetTransforms() {
		if len(tr.GetSubtransforms()) > 0 {
			t.Errorf("stage %s: %s has subtransforms", s.ID, id)
		}
		for _, ports := range []map[string]string{tr.GetInputs(), tr.GetOutputs()} {
			for local, c := range ports {
				if d.GetPcollections()[c] == nil {
					t.Errorf("stage %s: %s: %s names %q, which the descriptor lacks", s.ID, id, local, c)
				}
			}
		}
	}
	want := len(s.Transforms) + len(s.Outputs) + 1
	if len(d.GetTransforms()) != want {
		t.Errorf("stage %s: %d transforms in the descriptor, want %d", s.ID, len(d.GetTransforms()), want)
	}
	if d.GetTransforms()[s.Input.Source] == nil {
		t.Errorf("stage %s: no source %q", s.ID, s.Input.Source)
	}
	for _, o := range s.Outputs {
		if d.GetTransforms()[o.Sink] == nil {
			t.Errorf("stage %s: no sink %q", s.ID, o.Sink)
		}
	}
}
