package graph

import (
	"slices"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"google.golang.org/protobuf/proto"
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
			checkDescriptor(t, plan, s)
		}
		if s.Splittable != (s.Truncate != nil) {
			t.Errorf("stage %s: splittable %t, truncation %v", s.ID, s.Splittable, s.Truncate)
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

func checkDescriptor(t reporter, plan *Plan, s *Stage) {
	t.Helper()
	d := s.Descriptor
	if d.GetId() != s.ID {
		t.Errorf("stage %s: descriptor %s", s.ID, d.GetId())
	}
	checkComplete(t, s, d)
	if s.Truncate != nil {
		checkTruncation(t, plan, s)
	}
	checkBoundary(t, s, s.Input.Source, "i0", coderText(plan.Coders, s.sourceCoder(), 0))
	for _, in := range s.SideInputs {
		checkBoundary(t, s, in.Transform, in.Local, coderText(plan.Coders, in.Coder, 0))
	}
	for _, timer := range s.Timers {
		spec := payloadOf(t, d, timer.Transform).GetTimerFamilySpecs()[timer.Family]
		got := coderText(d.GetCoders(), spec.GetTimerFamilyCoderId(), 0)
		if want := coderText(plan.Coders, timer.Coder, 0); got != want {
			t.Errorf("stage %s: timers %s are %s to the worker and %s to the engine", s.ID, timer.Family, got, want)
		}
	}
	for _, id := range s.Transforms {
		for name, spec := range payloadOf(t, d, id).GetStateSpecs() {
			if list := spec.GetOrderedListSpec(); list != nil {
				if _, err := coders.Compile(d.GetCoders(), list.GetElementCoderId()); err != nil {
					t.Errorf("stage %s: list %s: %v", s.ID, name, err)
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

// checkComplete checks that a descriptor has all that its parts name.
func checkComplete(t reporter, s *Stage, d *fnpb.ProcessBundleDescriptor) {
	t.Helper()
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
}

// checkTruncation: what a truncation reads and writes is what the stage reads.
func checkTruncation(t reporter, plan *Plan, s *Stage) {
	t.Helper()
	d := s.Truncate.Descriptor
	checkComplete(t, s, d)
	if len(d.GetTransforms()) != 3 || d.GetId() == s.ID {
		t.Errorf("stage %s: truncation %s has %d transforms, want 3", s.ID, d.GetId(), len(d.GetTransforms()))
	}
	want := coderText(plan.Coders, s.Input.Coder, 0)
	for _, id := range []string{s.Truncate.Source, s.Truncate.Sink} {
		port := &fnpb.RemoteGrpcPort{}
		if err := proto.Unmarshal(d.GetTransforms()[id].GetSpec().GetPayload(), port); err != nil {
			t.Errorf("stage %s: %s: %v", s.ID, id, err)
		}
		if got := coderText(d.GetCoders(), port.GetCoderId(), 0); got != want {
			t.Errorf("stage %s: %s has %s, the stage reads %s", s.ID, id, got, want)
		}
	}
}

// payloadOf returns a ParDo's payload, an empty one for other transforms.
func payloadOf(t reporter, d *fnpb.ProcessBundleDescriptor, transform string) *pipepb.ParDoPayload {
	t.Helper()
	p := &pipepb.ParDoPayload{}
	if spec := d.GetTransforms()[transform].GetSpec(); executable[spec.GetUrn()] == parDoPayload {
		if err := proto.Unmarshal(spec.GetPayload(), p); err != nil {
			t.Errorf("%s: %v", transform, err)
		}
	}
	return p
}

// sourceCoder is what the stage's source reads.
func (s *Stage) sourceCoder() string {
	if s.Input.Grouping != nil {
		return s.Input.Grouping.OutputCoder
	}
	return s.Input.Coder
}

// checkBoundary: SDKs take the coders of state keys, side inputs and residuals from
// the collection and its strategy, so those must say what is written. local is an
// output of the source, or a side input of a transform.
func checkBoundary(t reporter, s *Stage, transform, local, want string) {
	t.Helper()
	d := s.Descriptor
	ports := d.GetTransforms()[transform].GetInputs()
	if transform == s.Input.Source {
		ports = d.GetTransforms()[transform].GetOutputs()
	}
	col := d.GetPcollections()[ports[local]]
	window := d.GetWindowingStrategies()[col.GetWindowingStrategyId()].GetWindowCoderId()
	got := "windowed<" + coderText(d.GetCoders(), col.GetCoderId(), 1) + "," + coderText(d.GetCoders(), window, 1) + ">"
	if got != want {
		t.Errorf("stage %s: %s is %s in the descriptor, what is written is %s", s.ID, ports[local], got, want)
	}
}
