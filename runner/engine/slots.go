package engine

import (
	"fmt"

	"github.com/summerbeam/summerbeam/runner/graph"
	"github.com/summerbeam/summerbeam/statebackend"
)

// Slots are the numbers under which a job's state, timers, groupings and side inputs are
// stored. A plan's stages and transforms are numbered anew when the pipeline changes; a
// slot is given once, to what the user knows by name, and kept as long as that is there. So
// a pipeline of another shape takes a job over without a record being moved.
//
// Keys are the owners' names, see the functions below.
type Slots map[string]int

// maxSlots is what two bytes of a key can tell apart.
const maxSlots = 1 << 16

// What a plan stores has these owners.
func stateOwner(transform string) string    { return "state " + transform }
func groupOwner(transform string) string    { return "group " + transform }
func sortOwner(transform string) string     { return "sort " + transform }
func sideOwner(transform, in string) string { return "side " + in + " of " + transform }

// stageSlots are those of one stage.
type stageSlots struct {
	state, held int
	sides       []int
}

// owners calls f for each owner in a stage, with where its slot is to be put.
func (s *stageSlots) owners(name func(transform string) string, st *graph.Stage, f func(owner string, slot *int)) {
	if st.Stateful && len(st.Transforms) > 0 {
		// State stands at the root alone.
		f(stateOwner(name(st.Transforms[0])), &s.state)
	}
	if st.Input != nil && st.Input.Grouping != nil {
		f(groupOwner(name(st.Input.Grouping.Transform)), &s.held)
	}
	if st.Input != nil && st.Input.Sorting != nil && len(st.Transforms) > 0 {
		f(sortOwner(name(st.Transforms[0])), &s.held)
	}
	s.sides = make([]int, len(st.SideInputs))
	for i, in := range st.SideInputs {
		f(sideOwner(name(in.Transform), in.Local), &s.sides[i])
	}
}

// newSlots gives each owner of a plan the slot that it has in old, or the lowest that is
// free. Slots of owners that are gone are free.
func newSlots(plan *graph.Plan, old Slots) (Slots, error) {
	slots := make(Slots)
	taken := make(map[int]bool)
	var fresh []string
	for _, st := range plan.Stages {
		var s stageSlots
		s.owners(plan.UniqueName, st, func(owner string, _ *int) {
			if n, ok := old[owner]; ok {
				slots[owner], taken[n] = n, true
			} else {
				fresh = append(fresh, owner)
			}
		})
	}
	next := 0
	for _, owner := range fresh {
		for taken[next] {
			next++
		}
		if next >= maxSlots {
			return nil, fmt.Errorf("the pipeline has more than %d states, groupings and side inputs", maxSlots)
		}
		slots[owner], taken[next] = next, true
	}
	return slots, nil
}

// takeSlots lets the stages store by these slots. Nothing has run yet.
func (j *Job) takeSlots(slots Slots) error {
	for _, r := range j.stages {
		var missing string
		r.slots.owners(j.plan.UniqueName, r.plan, func(owner string, slot *int) {
			n, ok := slots[owner]
			if !ok {
				missing = owner
			}
			*slot = n
		})
		if missing != "" {
			return fmt.Errorf("stage %s: %w: the job has stored nothing as %q", r.plan.ID, statebackend.ErrCorrupt, missing)
		}
		if r.held != nil {
			r.held.slot = r.slots.held
		}
	}
	j.slots = slots
	return nil
}
