package graph

import (
	"fmt"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// checkCollections makes sure that all that the later steps look up is there:
// collections, their coders, windowing strategies and window coders. Only what
// leaves use is looked at. What is left over from composites that were replaced
// may be as incomplete as it likes.
func (c *compiler) checkCollections() error {
	for _, l := range c.leaves {
		for _, out := range l.outputs {
			if err := c.checkCollection(out.collection); err != nil {
				return l.broken("output %q, collection %q: %w", out.local, out.collection, err)
			}
		}
	}
	return nil
}

func (c *compiler) checkCollection(id string) error {
	col := c.comps.GetPcollections()[id]
	if col == nil {
		return fmt.Errorf("the collection is not defined")
	}
	if err := c.coders.check(col.GetCoderId()); err != nil {
		return err
	}
	strategy := c.comps.GetWindowingStrategies()[col.GetWindowingStrategyId()]
	if strategy == nil {
		return fmt.Errorf("windowing strategy %q is not defined", col.GetWindowingStrategyId())
	}
	if err := c.coders.check(strategy.GetWindowCoderId()); err != nil {
		return fmt.Errorf("windowing strategy %q: %w", col.GetWindowingStrategyId(), err)
	}
	return nil
}

// checkLeaves makes sure that leaves and the coders around them fit together.
func (c *compiler) checkLeaves() error {
	for _, l := range c.leaves {
		if err := c.checkLeaf(l); err != nil {
			return l.broken("%w", err)
		}
	}
	return nil
}

func (c *compiler) checkLeaf(l *leaf) error {
	switch l.kind {
	case unknownLeaf:
		return nil
	case impulseLeaf:
		window := c.coders.byID[c.windowCoder(l.outputs[0].collection)]
		if urn := window.GetSpec().GetUrn(); urn != urnGlobalWindow {
			return fmt.Errorf("its output has windows of %q, want %q", urn, urnGlobalWindow)
		}
	case testStreamLeaf:
		if err := c.coders.check(l.test.GetCoderId()); err != nil {
			return err
		}
		for _, out := range l.outputs {
			if w := c.coders.byID[c.windowCoder(out.collection)]; w.GetSpec().GetUrn() != urnGlobalWindow {
				return fmt.Errorf("its output has windows of %q, want %q", w.GetSpec().GetUrn(), urnGlobalWindow)
			}
		}
		return nil
	case groupLeaf:
		if err := c.checkGroup(l); err != nil {
			return err
		}
	}
	if l.kind != sdkLeaf {
		return c.checkWindows(l)
	}
	if l.parDo != nil {
		return c.checkParDo(l)
	}
	if l.payload == combinePayload {
		if err := c.coders.check(l.accumulator); err != nil {
			return fmt.Errorf("accumulator: %w", err)
		}
	}
	return nil
}

// checkWindows: what the runner passes on it passes on as it is, windows included.
func (c *compiler) checkWindows(l *leaf) error {
	for _, in := range l.inputs {
		out := l.outputs[0]
		if !c.coders.same(c.windowCoder(in.collection), c.windowCoder(out.collection)) {
			return fmt.Errorf("input %q and output have different window coders", in.local)
		}
	}
	return nil
}

func (c *compiler) checkGroup(l *leaf) error {
	in := c.elementCoder(l.inputs[0].collection)
	if !c.coders.isKV(in) {
		return fmt.Errorf("its input is not of KVs")
	}
	out := c.comps.Pcollections[l.outputs[0].collection].GetCoderId()
	if !c.coders.isKV(out) {
		return fmt.Errorf("its output is not of KVs")
	}
	// Each grouping wraps its values once more, whatever coder the pipeline names.
	if h := c.coders.heights[c.elementCoder(l.outputs[0].collection)]; h > maxCoderHeight+4 {
		return fmt.Errorf("the coder of its output nests deeper than %d", maxCoderHeight)
	}
	return nil
}

func (c *compiler) checkParDo(l *leaf) error {
	main := c.elementCoder(l.inputs[0].collection)
	if l.stateful() && !c.coders.isKV(main) {
		return fmt.Errorf("it has state or timers but its input is not of KVs")
	}
	if l.timeSorted() && !l.stateful() {
		// So SDKs have it, and by what would the elements be sorted?
		return fmt.Errorf("it requires time-sorted input but has neither state nor timers")
	}
	for _, s := range l.sides {
		pattern := l.parDo.GetSideInputs()[s.local].GetAccessPattern().GetUrn()
		if pattern == urnMultimapSide && !c.coders.isKV(c.elementCoder(s.collection)) {
			return fmt.Errorf("side input %q is looked up by key but is not of KVs", s.local)
		}
	}
	if id := l.parDo.GetRestrictionCoderId(); id != "" {
		if err := c.coders.check(id); err != nil {
			return fmt.Errorf("restriction: %w", err)
		}
	}
	for _, name := range sortedKeys(l.parDo.GetStateSpecs()) {
		for _, id := range stateCoders(l.parDo.GetStateSpecs()[name]) {
			if err := c.coders.check(id); err != nil {
				return fmt.Errorf("state %q: %w", name, err)
			}
		}
	}
	for _, family := range sortedKeys(l.parDo.GetTimerFamilySpecs()) {
		id := l.parDo.GetTimerFamilySpecs()[family].GetTimerFamilyCoderId()
		if err := c.coders.check(id); err != nil {
			return fmt.Errorf("timer family %q: %w", family, err)
		}
	}
	return nil
}

// stateCoders returns the coders that a state spec names.
func stateCoders(s *pipepb.StateSpec) []string {
	switch s := s.GetSpec().(type) {
	case *pipepb.StateSpec_ReadModifyWriteSpec:
		return []string{s.ReadModifyWriteSpec.GetCoderId()}
	case *pipepb.StateSpec_BagSpec:
		return []string{s.BagSpec.GetElementCoderId()}
	case *pipepb.StateSpec_CombiningSpec:
		return []string{s.CombiningSpec.GetAccumulatorCoderId()}
	case *pipepb.StateSpec_MapSpec:
		return []string{s.MapSpec.GetKeyCoderId(), s.MapSpec.GetValueCoderId()}
	case *pipepb.StateSpec_MultimapSpec:
		return []string{s.MultimapSpec.GetKeyCoderId(), s.MultimapSpec.GetValueCoderId()}
	case *pipepb.StateSpec_SetSpec:
		return []string{s.SetSpec.GetElementCoderId()}
	case *pipepb.StateSpec_OrderedListSpec:
		return []string{s.OrderedListSpec.GetElementCoderId()}
	}
	return nil
}
