package graph

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// Kept is one thing that a job keeps from bundle to bundle, known by what users know of it:
// a pipeline of another shape that has it too can go on with it.
type Kept struct {
	Kind KeptKind
	// Name is the transform's unique name; of a side input with its local name.
	Name string
	// Detail is a state's or a timer family's id, empty for other kinds.
	Detail string
	// Stage is the index of its stage.
	Stage int
	// Side is the index among the stage's side inputs.
	Side int
	// Shape is how it is written, in words that people can compare.
	Shape string
}

// KeptKind says what is kept.
type KeptKind int

const (
	// KeptQueue is what waits for the root of a stage.
	KeptQueue KeptKind = iota
	// KeptGroups is what a grouping has, grouped or not.
	KeptGroups
	// KeptSorted is what waits to be sorted by time.
	KeptSorted
	KeptState
	KeptTimers
	KeptSide
)

func (k KeptKind) String() string {
	return [...]string{"queue", "grouping", "sorting", "state", "timers", "side input"}[k]
}

func (k *Kept) String() string {
	if k.Detail != "" {
		return fmt.Sprintf("%s %s of %s", k.Kind, k.Detail, k.Name)
	}
	return fmt.Sprintf("%s of %s", k.Kind, k.Name)
}

// Kept lists what a job with this plan keeps, in the order of the stages.
func (p *Plan) Kept() ([]Kept, error) {
	var all []Kept
	for _, s := range p.Stages {
		add := func(kind KeptKind, name, detail, shape string) {
			all = append(all, Kept{Kind: kind, Name: name, Detail: detail, Stage: s.Index, Shape: shape})
		}
		for _, root := range p.Roots(s) {
			add(KeptQueue, root, "", p.queueShape(s))
		}
		if s.Input == nil {
			continue
		}
		if g := s.Input.Grouping; g != nil {
			add(KeptGroups, p.UniqueName(g.Transform), "", p.coderShape(s.Input.Coder)+", "+strategyShape(g.Strategy))
		}
		if len(s.Transforms) == 0 {
			continue
		}
		root := s.Transforms[0]
		if s.Input.Sorting != nil {
			add(KeptSorted, p.UniqueName(root), "", p.coderShape(s.Input.Coder))
		}
		if s.Stateful {
			if err := p.keptState(root, s, add); err != nil {
				return nil, err
			}
		}
		for i, in := range s.SideInputs {
			add(KeptSide, p.UniqueName(in.Transform), in.Local, p.coderShape(in.Coder)+", by "+last(in.Pattern))
			all[len(all)-1].Side = i
		}
	}
	return all, nil
}

// Roots are the unique names of what reads a stage's input: its root and the siblings of
// that. A stage that only moves elements is its own reader.
func (p *Plan) Roots(s *Stage) []string {
	if len(s.Transforms) == 0 {
		if len(s.Outputs) == 0 {
			return nil
		}
		return []string{"recoding of " + p.Pipeline.GetComponents().GetPcollections()[s.Outputs[0].Collection].GetUniqueName()}
	}
	if s.Kind != SDK {
		return []string{p.UniqueName(s.Transforms[0])}
	}
	read := s.Descriptor.GetTransforms()[s.Input.Source].GetOutputs()["i0"]
	var roots []string
	for _, id := range s.Transforms {
		if slices.Contains(slices.Collect(maps.Values(s.Descriptor.GetTransforms()[id].GetInputs())), read) {
			roots = append(roots, p.UniqueName(id))
		}
	}
	return roots
}

// queueShape is how what is ready for bundles is written.
func (p *Plan) queueShape(s *Stage) string {
	switch {
	case s.Input == nil:
		return s.Kind.String()
	case s.Input.Grouping != nil && s.Input.Grouping.OutputCoder != "":
		return p.coderShape(s.Input.Grouping.OutputCoder)
	case s.Input.Keyed:
		return p.coderShape(s.Input.Coder) + ", by key"
	}
	return p.coderShape(s.Input.Coder)
}

// keptState lists the states and timers of a stage's root. Both have the key and the window
// in their keys.
func (p *Plan) keptState(root string, s *Stage, add func(kind KeptKind, name, detail, shape string)) error {
	name := p.UniqueName(root)
	var parDo pipepb.ParDoPayload
	if err := proto.Unmarshal(s.Descriptor.GetTransforms()[root].GetSpec().GetPayload(), &parDo); err != nil {
		return broken(root, name, "its payload is not a ParDoPayload: %w", err)
	}
	keyed := ", in elements " + p.keyShape(s.Input.Coder)
	for _, id := range slices.Sorted(maps.Keys(parDo.GetStateSpecs())) {
		spec := parDo.GetStateSpecs()[id]
		var parts []string
		for _, c := range stateCoders(spec) {
			parts = append(parts, p.coderShape(c))
		}
		kind := strings.TrimPrefix(fmt.Sprintf("%T", spec.GetSpec()), "*pipeline_v1.StateSpec_")
		add(KeptState, name, id, kind+" of "+strings.Join(parts, ", ")+keyed)
	}
	for _, t := range s.Timers {
		add(KeptTimers, name, t.Family, strings.ToLower(t.Domain.String())+keyed)
	}
	return nil
}

// keyShape is a windowed KV's coder without its value.
func (p *Plan) keyShape(windowed string) string {
	parts := p.Coders[windowed].GetComponentCoderIds()
	if len(parts) != 2 {
		return p.coderShape(windowed)
	}
	element := p.Coders[parts[0]].GetComponentCoderIds()
	if len(element) == 0 {
		return p.coderShape(windowed)
	}
	return "with key " + p.coderShape(element[0]) + " and window " + p.coderShape(parts[1])
}

// coderShape renders a coder, payloads included: those that are an SDK's own, as a hash.
func (p *Plan) coderShape(id string) string { return p.nestedShape(id, 0) }

// nestedShape bounds the depth: pairs of one coder twice would double at each level.
func (p *Plan) nestedShape(id string, depth int) string {
	const most = 10
	c := p.Coders[id]
	if c == nil {
		return "?"
	}
	name := last(c.GetSpec().GetUrn())
	if short, ok := shortCoders[name]; ok {
		name = short
	}
	if payload := c.GetSpec().GetPayload(); len(payload) > 0 {
		name += "#" + payloadHash(c.GetSpec().GetUrn(), payload)
	}
	if len(c.GetComponentCoderIds()) == 0 {
		return name
	}
	if depth >= most {
		return name + "<...>"
	}
	var parts []string
	for _, part := range c.GetComponentCoderIds() {
		parts = append(parts, p.nestedShape(part, depth+1))
	}
	return name + "<" + strings.Join(parts, ",") + ">"
}

// payloadHash tells payloads apart. A schema's id is random in some SDKs, and says nothing.
func payloadHash(urn string, payload []byte) string {
	if last(urn) == "row" {
		var schema pipepb.Schema
		if proto.Unmarshal(payload, &schema) == nil {
			schema.Id = ""
			if data, err := (proto.MarshalOptions{Deterministic: true}).Marshal(&schema); err == nil {
				payload = data
			}
		}
	}
	h := fnv.New32a()
	_, _ = h.Write(payload) // it never fails
	return fmt.Sprintf("%08x", h.Sum32())
}

// strategyShape renders what a grouping's stored state depends on.
func strategyShape(s *pipepb.WindowingStrategy) string {
	trigger := strings.Join(strings.Fields(s.GetTrigger().String()), " ")
	return fmt.Sprintf("windows %s, trigger {%s}, %s", last(s.GetWindowFn().GetUrn()), trigger, strings.ToLower(s.GetAccumulationMode().String()))
}

// Match is one line of a comparison of two plans: Old and New are the same thing in both;
// what is only in one has nil in the other.
type Match struct{ Old, New *Kept }

// Differs says that both have it, and can't read what the other has written.
func (m Match) Differs() bool { return m.Old != nil && m.New != nil && m.Old.Shape != m.New.Shape }

// Compare finds what two plans have in common of what they keep. renamed has the new unique
// names of transforms that have others in the old plan. The new plan's come first, in its
// order, then what it lacks.
func Compare(from, to *Plan, renamed map[string]string) ([]Match, error) {
	old, err := from.Kept()
	if err != nil {
		return nil, err
	}
	kept, err := to.Kept()
	if err != nil {
		return nil, err
	}
	type key struct {
		kind         KeptKind
		name, detail string
	}
	known := make(map[key]*Kept)
	for i := range old {
		k := &old[i]
		name := k.Name
		if to, ok := renamed[name]; ok {
			name = to
		}
		known[key{k.Kind, name, k.Detail}] = k
	}
	var all []Match
	for i := range kept {
		k := key{kept[i].Kind, kept[i].Name, kept[i].Detail}
		all = append(all, Match{Old: known[k], New: &kept[i]})
		delete(known, k)
	}
	gone := slices.Collect(maps.Values(known))
	slices.SortFunc(gone, func(a, b *Kept) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Detail, b.Detail))
	})
	for _, k := range gone {
		all = append(all, Match{Old: k})
	}
	return all, nil
}
