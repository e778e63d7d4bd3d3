package graph

import (
	"fmt"
	"maps"
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// A limit is something that pipelines may ask for and this runner can't do. To
// enable it, delete its line: compiling itself treats all of Beam's model.
type limit struct {
	// find returns the texts of the reasons why a leaf is not supported.
	find func(*compiler, *leaf) []string
}

var limits = []limit{
	{unknownTransform},
	{customMerging},
	{parDoLimit(unknownState)},
	{parDoLimit(splittableState)},
	{parDoLimit(unknownSideInput)},
}

// requirements are the URNs of Pipeline.requirements that we know. Knowing is not
// supporting: the limits above speak for the transforms that make use of them.
var requirements = []string{
	"beam:requirement:pardo:splittable_dofn:v1",
	"beam:requirement:pardo:stateful:v1",
	"beam:requirement:pardo:finalization:v1",
	"beam:requirement:pardo:stable_input:v1",
	"beam:requirement:pardo:time_sorted_input:v1",
	"beam:requirement:pardo:on_window_expiration:v1",
}

// checkSupport collects all that is not supported.
func (c *compiler) checkSupport() error {
	e := &UnsupportedError{}
	for _, urn := range slices.Sorted(slices.Values(c.pipeline.GetRequirements())) {
		if !slices.Contains(requirements, urn) {
			e.Reasons = append(e.Reasons, Reason{Text: fmt.Sprintf("the requirement %q", urn)})
		}
	}
	for _, l := range c.leaves {
		for _, limit := range limits {
			for _, text := range limit.find(c, l) {
				e.Reasons = append(e.Reasons, Reason{Transform: l.name, Text: text})
			}
		}
	}
	if len(e.Reasons) > 0 {
		return e
	}
	return nil
}

// parDoLimit looks at ParDos. Of a splittable one's parts the last speaks for all.
func parDoLimit(find func(*pipepb.ParDoPayload) []string) func(*compiler, *leaf) []string {
	return func(_ *compiler, l *leaf) []string {
		if l.urn != urnParDo && l.urn != urnProcessSized {
			return nil
		}
		return find(l.parDo)
	}
}

func unknownTransform(_ *compiler, l *leaf) []string {
	switch {
	case l.kind != unknownLeaf:
		return nil
	case l.urn == urnCombinePerKey:
		return []string{"a combine per key that can't be lifted and comes without its parts"}
	case l.urn == "":
		return []string{"a transform with neither a URN nor parts"}
	}
	return []string{fmt.Sprintf("the transform URN %q, which has no parts: neither this runner nor the environment's worker runs it", l.urn)}
}

func customMerging(c *compiler, l *leaf) []string {
	if l.kind != groupLeaf {
		return nil
	}
	s := c.strategy(l.inputs[0].collection)
	if !mergesInSDK(s) || c.groupEnvironment(s, l) != "" {
		return nil
	}
	return []string{fmt.Sprintf("the merging WindowFn %q, without an environment that could merge", s.GetWindowFn().GetUrn())}
}

func unknownState(p *pipepb.ParDoPayload) []string {
	var texts []string
	for _, name := range sortedKeys(p.GetStateSpecs()) {
		if p.GetStateSpecs()[name].GetSpec() == nil {
			texts = append(texts, fmt.Sprintf("the kind of state %q", name))
		}
	}
	return texts
}

// splittableState: what a worker reads is KV<KV<element, restriction>, size>. SDKs
// don't agree on what the key of that is, and Java refuses such a DoFn.
func splittableState(p *pipepb.ParDoPayload) []string {
	if p.GetRestrictionCoderId() == "" || len(p.GetStateSpecs())+len(p.GetTimerFamilySpecs()) == 0 {
		return nil
	}
	return []string{"state or timers in a splittable DoFn"}
}

func unknownSideInput(p *pipepb.ParDoPayload) []string {
	var texts []string
	for _, local := range sortedKeys(p.GetSideInputs()) {
		urn := p.GetSideInputs()[local].GetAccessPattern().GetUrn()
		if urn != urnIterableSide && urn != urnMultimapSide {
			texts = append(texts, fmt.Sprintf("the access pattern %q of side input %q", urn, local))
		}
	}
	return texts
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
