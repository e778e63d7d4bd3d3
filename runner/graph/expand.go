package graph

import (
	"fmt"
	"maps"
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// maxNesting bounds how deep composites nest, and the recursion over them.
const maxNesting = 1000

// expand walks the hierarchy of transforms in the order it is written down and
// collects the leaves. Composites vanish, but for those the runner replaces: they
// become a leaf (Reshuffle) or other leaves (a lifted combine).
func (c *compiler) expand() error {
	roots := c.pipeline.GetRootTransformIds()
	if len(roots) == 0 {
		roots = c.findRoots()
	}
	if len(roots) == 0 {
		return fmt.Errorf("malformed pipeline: it has no transforms")
	}
	w := &walk{compiler: c, parents: make(map[string]string)}
	for _, id := range roots {
		if err := w.visit(id, "", ""); err != nil {
			return err
		}
	}
	return nil
}

// findRoots returns the transforms that no composite contains.
func (c *compiler) findRoots() []string {
	children := make(map[string]bool)
	for _, t := range c.comps.GetTransforms() {
		for _, id := range t.GetSubtransforms() {
			children[id] = true
		}
	}
	var roots []string
	for _, id := range slices.Sorted(maps.Keys(c.comps.GetTransforms())) {
		if !children[id] {
			roots = append(roots, id)
		}
	}
	return roots
}

type walk struct {
	*compiler
	// parents has every transform visited and the composite it was visited from. A
	// second visit means that two composites share a transform or that one contains
	// itself.
	parents map[string]string
	depth   int
}

func (w *walk) visit(id, parent, env string) error {
	t := w.comps.GetTransforms()[id]
	if t == nil {
		if parent == "" {
			return fmt.Errorf("malformed pipeline: root transform %q is not defined", id)
		}
		return broken(parent, w.comps.Transforms[parent].GetUniqueName(), "its part %q is not defined", id)
	}
	if _, seen := w.parents[id]; seen {
		return broken(id, t.GetUniqueName(), "it is part of itself or of two composites")
	}
	w.parents[id] = parent
	if w.depth++; w.depth > maxNesting {
		return broken(id, t.GetUniqueName(), "composites nest deeper than %d", maxNesting)
	}
	defer func() { w.depth-- }()

	if t.GetEnvironmentId() != "" {
		env = t.GetEnvironmentId()
	}
	if done, err := w.replace(id, t, env); done || err != nil {
		return err
	}
	if len(t.GetSubtransforms()) == 0 || isPrimitive(t.GetSpec().GetUrn()) {
		if isNothing(t) {
			return nil
		}
		return w.addLeaf(id, t, env)
	}
	for _, sub := range t.GetSubtransforms() {
		if err := w.visit(sub, id, env); err != nil {
			return err
		}
	}
	return nil
}

// replace handles composites that the runner has its own way for.
func (w *walk) replace(id string, t *pipepb.PTransform, env string) (done bool, err error) {
	urn := t.GetSpec().GetUrn()
	oneToOne := len(t.GetInputs()) == 1 && len(t.GetOutputs()) == 1
	switch {
	case isRedistribute(urn) && (oneToOne || len(t.GetSubtransforms()) == 0):
		return true, w.addLeaf(id, t, env)
	case urn == urnCombinePerKey && oneToOne:
		return w.liftCombine(id, t, w.environment(env))
	}
	return false, nil
}

// isPrimitive says that the runner or a worker runs the transform as it is, even
// if an SDK wrote down what it could be made of.
func isPrimitive(urn string) bool {
	switch urn {
	case urnImpulse, urnGroup, urnFlatten, urnTestStream:
		return true
	}
	return executable[urn] != unknownPayload
}

// isNothing says that a transform without parts does nothing: SDKs write down
// composites that return their input, or that somebody left empty.
func isNothing(t *pipepb.PTransform) bool {
	urn := t.GetSpec().GetUrn()
	if isPrimitive(urn) || isRedistribute(urn) {
		return false
	}
	if len(t.GetOutputs()) == 0 {
		return urn == "" || urn == urnGeneric
	}
	inputs := make(map[string]bool)
	for _, in := range t.GetInputs() {
		inputs[in] = true
	}
	for _, out := range t.GetOutputs() {
		if !inputs[out] {
			return false
		}
	}
	return true
}

func (w *walk) addLeaf(id string, t *pipepb.PTransform, env string) error {
	l, err := newLeaf(id, t, w.environment(env), w.comps.GetEnvironments())
	if err != nil {
		return err
	}
	if l.urn == urnParDo && l.parDo.GetRestrictionCoderId() != "" {
		return w.expandSplittable(l)
	}
	w.leaves = append(w.leaves, l)
	return nil
}

// environment returns the environment of a transform that has env from its own
// entry or from an enclosing composite. Where nothing is said and the pipeline has
// one environment only, it can be no other.
func (c *compiler) environment(env string) string {
	if env == "" && len(c.comps.GetEnvironments()) == 1 {
		for only := range c.comps.GetEnvironments() {
			return only
		}
	}
	return env
}
