package engine

import (
	"fmt"
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
	"google.golang.org/protobuf/proto"
)

// stageRun is a stage made ready to run: scanners compiled, side inputs and state
// in place. Its fields don't change; what they point at does.
type stageRun struct {
	plan  *graph.Stage
	index int
	// slots are where what it keeps is stored.
	slots stageSlots
	// input scans the queued elements; nil for an impulse.
	input   *coders.Windowed
	routes  *routes
	grouper *grouper // nil if the input is not grouped
	grouped *coders.Windowed

	sides    map[sideID]*sideInput
	sideList []*sideInput

	// shards has the user state of each shard; nil for a stage without.
	shards []*shardState
	states map[sideID]declaredState
	// values are the ids of the states that are kept as values.
	values   []string
	families []TimerFamily

	// timers has the timers of each shard, and scanners for what the families'
	// streams hold; both nil for a stage without timers.
	timers     []*shardTimers
	timerScans map[TimerFamily]*timerFamily

	// trigger groups the input, sorter sorts it; each nil for a stage without. held is
	// what either keeps in state, or nil.
	trigger *trigger
	sorter  *sorter
	held    *held
	// lifting is nil for a stage that doesn't precombine.
	lifting *lifting
	// caches says that its SDK remembers state under cache tokens.
	caches bool
}

// elements scans what bundles read: groups, if the input is grouped.
func (r *stageRun) elements() *coders.Windowed {
	if r.grouped != nil {
		return r.grouped
	}
	return r.input
}

// allShards are all the shards' states: the user's and what the input side holds.
func (r *stageRun) allShards() []*shardState {
	if r.held == nil {
		return r.shards
	}
	return append(slices.Clone(r.shards), r.held.state...)
}

func newStageRun(plan *graph.Plan, s *graph.Stage, cfg core.Config, lim limits, keep *keeper) (*stageRun, error) {
	mem := keep.mem
	r := &stageRun{plan: s, index: s.Index, sides: make(map[sideID]*sideInput), states: make(map[sideID]declaredState)}
	r.caches = cachesState(plan, s)
	shards := cfg.ShardsOf(s)
	if s.Unlifted != nil {
		r.lifting = &lifting{}
	}
	var err error
	if r.routes, err = compileRoutes(plan, s, cfg); err != nil {
		return nil, err
	}
	if s.Input != nil {
		if r.input, err = coders.CompileWindowed(plan.Coders, s.Input.Coder); err != nil {
			return nil, fmt.Errorf("stage %s: input: %w", s.Name, err)
		}
		if s.Input.Grouping != nil {
			if r.grouper, err = compileGrouper(plan, s, lim); err != nil {
				return nil, err
			}
			if id := s.Input.Grouping.OutputCoder; id != "" {
				if r.grouped, err = coders.CompileWindowed(plan.Coders, id); err != nil {
					return nil, fmt.Errorf("stage %s: grouped input: %w", s.Name, err)
				}
			}
			if s.Input.Grouping.Triggered {
				if r.trigger, err = compileTrigger(plan, s, r.grouper, shards, mem); err != nil {
					return nil, err
				}
				r.held = r.trigger.held
			}
		}
	}
	if s.Input != nil && s.Input.Sorting != nil {
		r.sorter = newSorter(s, r.input, shards, lim, mem)
		r.held = r.sorter.held
	}
	for _, in := range s.SideInputs {
		side, err := newSideInput(plan, s, in, keep)
		if err != nil {
			return nil, err
		}
		r.sides[sideID{in.Transform, in.Local}] = side
		r.sideList = append(r.sideList, side)
	}
	for _, t := range s.Timers {
		f := TimerFamily{Transform: t.Transform, Family: t.Family}
		scan, err := coders.CompileTimer(plan.Coders, t.Coder)
		if err != nil {
			return nil, fmt.Errorf("stage %s: timer family %s: %w", s.Name, t.Family, err)
		}
		r.families = append(r.families, f)
		if r.timerScans == nil {
			r.timerScans = make(map[TimerFamily]*timerFamily)
			for range shards {
				r.timers = append(r.timers, newShardTimers(mem))
			}
		}
		r.timerScans[f] = &timerFamily{scan: scan, domain: timerDomain(t.Domain)}
	}
	if r.expires() {
		if r.timers == nil {
			for range shards {
				r.timers = append(r.timers, newShardTimers(mem))
			}
		}
		for _, t := range r.timers {
			var holds *holdSet
			if s.Expiry.Family != "" {
				holds = &t.holds
			}
			t.expiring = newExpiries(holds, mem)
		}
	}
	if s.Stateful {
		for range shards {
			r.shards = append(r.shards, newShardState(mem, cleanShare(mem, shards)))
		}
		if err := r.declareStates(plan); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *stageRun) declareStates(plan *graph.Plan) error {
	for _, id := range r.plan.Transforms {
		t := r.plan.Descriptor.GetTransforms()[id]
		if t.GetSpec().GetUrn() != urnParDo && t.GetSpec().GetUrn() != urnProcessSized {
			continue
		}
		var p pipepb.ParDoPayload
		if err := proto.Unmarshal(t.GetSpec().GetPayload(), &p); err != nil {
			return fmt.Errorf("transform %s: ParDo payload: %w", t.GetUniqueName(), err)
		}
		for name, spec := range p.GetStateSpecs() {
			state, coder := declaredState{}, ""
			switch spec.GetSpec().(type) {
			case *pipepb.StateSpec_ReadModifyWriteSpec, *pipepb.StateSpec_CombiningSpec:
				state.whole, state.number = true, len(r.values)
				r.values = append(r.values, name)
			case *pipepb.StateSpec_OrderedListSpec:
				state.list, coder = true, spec.GetOrderedListSpec().GetElementCoderId()
			case *pipepb.StateSpec_MapSpec:
				coder = spec.GetMapSpec().GetValueCoderId()
			case *pipepb.StateSpec_MultimapSpec:
				coder = spec.GetMultimapSpec().GetValueCoderId()
			}
			if coder != "" {
				var err error
				if state.value, err = coders.Compile(plan.Coders, coder); err != nil {
					return fmt.Errorf("transform %s: state %s: %w", t.GetUniqueName(), name, err)
				}
			}
			r.states[sideID{id, name}] = state
		}
	}
	return nil
}

const (
	urnParDo        = "beam:transform:pardo:v1"
	urnProcessSized = "beam:transform:sdf_process_sized_element_and_restrictions:v1"
)

func (r *stageRun) splitList(transform, id string, data []byte) ([]listEntry, error) {
	s := r.states[sideID{transform, id}]
	if !s.list {
		return nil, fmt.Errorf("state %q of transform %s is not an ordered list", id, transform)
	}
	return splitList(s.value, data)
}

// declaredState is what of a state's declaration the runner makes use of.
type declaredState struct {
	// value scans the values of an ordered list or a map; nil for other kinds.
	value *coders.Scanner
	list  bool
	// whole says that it is kept as a value, see appendValue.
	whole bool
	// number is a value's place among the stage's.
	number int
}
