package graph

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// stage makes the final form of a numbered draft.
func (c *compiler) stage(d *draft) (*Stage, error) {
	s := &Stage{
		Index:       d.index,
		ID:          fmt.Sprintf("s%02d", d.index),
		Name:        stageName(d),
		Kind:        d.kind,
		Environment: d.env,
	}
	for _, l := range d.leaves {
		s.Transforms = append(s.Transforms, l.id)
		if l.kind != sdkLeaf {
			continue
		}
		s.Stateful = s.Stateful || l.stateful()
		if l.urn == urnParDo || l.urn == urnProcessSized {
			s.Finalizes = s.Finalizes || l.parDo.GetRequestsFinalization()
		}
		for _, family := range l.timerFamilies() {
			spec := l.parDo.GetTimerFamilySpecs()[family]
			s.Timers = append(s.Timers, &Timer{
				Transform: l.id,
				Family:    family,
				Domain:    spec.GetTimeDomain(),
				Coder:     c.timerCoder(l),
			})
		}
	}
	if s.Stateful {
		var err error
		if s.Expiry, err = c.expiry(d.leaves[0]); err != nil {
			return nil, err
		}
	}
	if d.kind == SDK && len(d.leaves) > 0 {
		s.Splittable = d.leaves[0].urn == urnProcessSized
		s.StableInput = d.leaves[0].stableInput()
		s.Unbounded = s.Splittable && c.unbounded(d.leaves[0])
	}
	if d.kind == SDK || d.kind == Forward {
		s.Input = &Input{
			From:  edges(d.in),
			Coder: d.inCoder,
			Keyed: d.group != nil || s.Stateful,
		}
		if d.kind == SDK && len(d.leaves) > 0 && d.leaves[0].timeSorted() {
			s.Input.Sorting = &Sorting{AllowedLateness: max(0, c.strategy(d.collection).GetAllowedLateness())}
		}
		if d.group != nil {
			grouped := d.group.inputs[0].collection
			s.Input.Grouping = &Grouping{
				Transform:   d.group.id,
				Strategy:    c.strategy(grouped),
				WindowCoder: c.windowCoder(grouped),
				OutputCoder: d.sourceCoder,
				Triggered:   c.triggered(grouped),

				QuietClosing: c.fromPython(d.group),
			}
			var err error
			if s.Input.Grouping.Merging, err = c.merging(d, s.ID); err != nil {
				return nil, err
			}
			if s.Input.Grouping.Combining, err = c.combining(d, s.ID); err != nil {
				return nil, err
			}
		}
	}
	for _, o := range d.outputs {
		out := &Output{Collection: o.collection, Coder: o.coder}
		for _, t := range o.to {
			out.To = append(out.To, Target{Stage: t.stage.index, SideInput: t.side})
		}
		s.Outputs = append(s.Outputs, out)
	}
	for i, side := range d.sides {
		windows, err := c.sideWindows(side, s, strconv.Itoa(i))
		if err != nil {
			return nil, err
		}
		s.SideInputs = append(s.SideInputs, &SideInput{
			Windows:    windows,
			Transform:  side.leaf.id,
			Local:      side.local,
			Collection: side.collection,
			Pattern:    side.leaf.parDo.GetSideInputs()[side.local].GetAccessPattern().GetUrn(),
			Coder:      side.coder,
			From:       edges(side.from),
		})
	}
	switch d.kind {
	case SDK:
		if err := c.describe(d, s); err != nil {
			return s, err
		}
		describeUnlifted(d, s)
		if !s.Splittable {
			return s, nil
		}
		return s, c.describeTruncation(d, s)
	case TestStream:
		script, err := c.testScript(d)
		if err != nil {
			return nil, err
		}
		if url := d.leaves[0].test.GetEndpoint().GetUrl(); url != "" {
			s.TestService, s.TestScript = url, script
			return s, nil
		}
		s.TestEvents, err = c.testEvents(script)
		return s, err
	}
	return s, nil
}

// expiry says when the state of a stage's root goes: state stands at the root alone.
func (c *compiler) expiry(l *leaf) (*Expiry, error) {
	collection := l.inputs[0].collection
	e := &Expiry{AllowedLateness: max(0, c.strategy(collection).GetAllowedLateness())}
	if family := l.parDo.GetOnWindowExpirationTimerFamilySpec(); family != "" {
		if l.parDo.GetTimerFamilySpecs()[family] == nil {
			return nil, l.broken("its timer family %q for expired windows is not defined", family)
		}
		e.Transform, e.Family = l.id, family
	}
	if e.Family == "" && c.coders.byID[c.windowCoder(collection)].GetSpec().GetUrn() == urnGlobalWindow {
		return nil, nil
	}
	return e, nil
}

// triggered says whether panes of the grouped collection fire before it is complete.
func (c *compiler) triggered(collection string) bool {
	strategy := c.strategy(collection)
	return c.comps.Pcollections[collection].GetIsBounded() == pipepb.IsBounded_UNBOUNDED ||
		!isDefaultTrigger(strategy.GetTrigger()) ||
		// What only the SDK can merge is merged as it comes, by the one way to do so.
		mergesInSDK(strategy)
}

func edges(outputs []*draftOutput) []Edge {
	var list []Edge
	for _, o := range outputs {
		list = append(list, Edge{Stage: o.stage.index, Output: o.index})
	}
	return list
}

// timerFamilies returns the families of the leaf that runs them, sorted.
func (l *leaf) timerFamilies() []string {
	if !l.stateful() {
		return nil
	}
	return sortedKeys(l.parDo.GetTimerFamilySpecs())
}

// timerCoder returns the coder of a leaf's timers. Keys and windows in timers are
// written as they are in elements, or the two could not be told to belong together.
func (c *compiler) timerCoder(l *leaf) string {
	main := l.inputs[0].collection
	key, _ := c.coders.parts(c.elementCoder(main))
	return c.coders.make(urnTimer, key, c.windowCoder(main))
}

func newDescriptor(id string) *fnpb.ProcessBundleDescriptor {
	return &fnpb.ProcessBundleDescriptor{
		Id:                  id,
		Transforms:          make(map[string]*pipepb.PTransform),
		Pcollections:        make(map[string]*pipepb.PCollection),
		WindowingStrategies: make(map[string]*pipepb.WindowingStrategy),
		Coders:              make(map[string]*pipepb.Coder),
		Environments:        make(map[string]*pipepb.Environment),
	}
}

// describe fills in the descriptor, and the names of sources and sinks.
func (c *compiler) describe(d *draft, s *Stage) error {
	b := newDescriptor(s.ID)
	s.Descriptor = b
	// What stays inside the stage keeps its coder; what comes in has the wire coder,
	// because SDKs take the coders of side inputs, of state keys and of residuals
	// from the collection.
	for _, l := range d.leaves {
		t, err := c.describeTransform(l, s)
		if err != nil {
			return err
		}
		b.Transforms[l.id] = t
		for _, out := range l.outputs {
			b.Pcollections[out.collection] = c.comps.Pcollections[out.collection]
		}
		c.reachPayload(b, l)
	}
	for _, l := range d.leaves {
		for _, side := range l.unread {
			// If its producer is in this stage, the worker knows it already.
			if b.Pcollections[side.collection] == nil {
				c.describeInput(b, side.collection, c.queueCoder(side.collection))
			}
		}
	}
	c.describeInput(b, d.collection, d.sourceCoder)
	for _, side := range d.sides {
		c.describeInput(b, side.collection, side.coder)
	}

	s.Input.Source = c.freshTransform(s.ID + "_source")
	source, err := portTransform(s.Input.Source, urnSource, d.sourceCoder)
	if err != nil {
		return err
	}
	source.Outputs = map[string]string{"i0": d.collection}
	b.Transforms[s.Input.Source] = source
	c.coders.reach(b.Coders, d.sourceCoder)
	for i, o := range s.Outputs {
		o.Sink = c.freshTransform(fmt.Sprintf("%s_sink%d", s.ID, i))
		sink, err := portTransform(o.Sink, urnSink, o.Coder)
		if err != nil {
			return err
		}
		sink.Inputs = map[string]string{"i0": o.Collection}
		b.Transforms[o.Sink] = sink
		c.coders.reach(b.Coders, o.Coder)
	}
	c.finish(b, d.env)
	return nil
}

// describeInput adds a collection that comes from outside in a windowed-value coder.
func (c *compiler) describeInput(b *fnpb.ProcessBundleDescriptor, id, windowed string) {
	col := c.comps.Pcollections[id]
	if wire, _ := c.coders.parts(windowed); !c.coders.same(wire, col.GetCoderId()) {
		col = proto.Clone(col).(*pipepb.PCollection)
		col.CoderId = wire
	}
	b.Pcollections[id] = col
}

// finish adds the strategies of all collections, coders and environments.
func (c *compiler) finish(b *fnpb.ProcessBundleDescriptor, env string) {
	addEnvironment := func(id string) {
		if e := c.comps.Environments[id]; e != nil {
			b.Environments[id] = e
		}
	}
	addEnvironment(env)
	for _, col := range b.Pcollections {
		c.coders.reach(b.Coders, col.GetCoderId())
		id := col.GetWindowingStrategyId()
		if b.WindowingStrategies[id] != nil {
			continue
		}
		strategy := c.comps.WindowingStrategies[id]
		// Windows are in state keys, so their coder must be what elements have too.
		if wire := c.coders.wireWindow(strategy.GetWindowCoderId()); wire != strategy.GetWindowCoderId() {
			strategy = proto.Clone(strategy).(*pipepb.WindowingStrategy)
			strategy.WindowCoderId = wire
		}
		b.WindowingStrategies[id] = strategy
		c.coders.reach(b.Coders, strategy.GetWindowCoderId())
		addEnvironment(strategy.GetEnvironmentId())
	}
}

// reachPayload adds the coders that a transform's payload names.
func (c *compiler) reachPayload(b *fnpb.ProcessBundleDescriptor, l *leaf) {
	switch l.payload {
	case unknownPayload:
		// A transform that only its environment knows: its payload may name any.
		for _, id := range sortedKeys(c.comps.Coders) {
			if c.coders.check(id) == nil {
				c.coders.reach(b.Coders, id)
			}
		}
	case combinePayload:
		c.coders.reach(b.Coders, l.accumulator)
	case parDoPayload:
		c.coders.reach(b.Coders, l.parDo.GetRestrictionCoderId())
		for _, spec := range l.parDo.GetStateSpecs() {
			c.coders.reach(b.Coders, stateCoders(spec)...)
		}
		for _, spec := range l.parDo.GetTimerFamilySpecs() {
			c.coders.reach(b.Coders, spec.GetTimerFamilyCoderId())
		}
	}
}

func (c *compiler) describeTransform(l *leaf, s *Stage) (*pipepb.PTransform, error) {
	t := proto.Clone(l.proto).(*pipepb.PTransform)
	t.Subtransforms = nil
	t.EnvironmentId = s.Environment
	if !c.rewriteParDo(l) {
		return t, nil
	}
	payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(l.parDo)
	if err != nil {
		return nil, l.broken("payload: %w", err)
	}
	t.Spec.Payload = payload
	return t, nil
}

// rewriteParDo gives timers, the elements of ordered lists and the values of maps their
// wire coders: of these the runner reads what is inside. Other state is bytes to it. It
// says whether anything changed; mostly nothing does, and the payload stays as the SDK
// wrote it.
func (c *compiler) rewriteParDo(l *leaf) (changed bool) {
	if !l.stateful() {
		return false
	}
	set := func(id *string, wire string) {
		if !c.coders.same(*id, wire) {
			*id, changed = wire, true
		}
	}
	for _, spec := range l.parDo.GetStateSpecs() {
		if list := spec.GetOrderedListSpec(); list != nil {
			set(&list.ElementCoderId, c.coders.wire(list.ElementCoderId))
		}
		// Whoever asks for all entries wants the values of a key counted.
		if m := spec.GetMapSpec(); m != nil {
			set(&m.ValueCoderId, c.coders.wire(m.ValueCoderId))
		}
		if m := spec.GetMultimapSpec(); m != nil {
			set(&m.ValueCoderId, c.coders.wire(m.ValueCoderId))
		}
	}
	for _, spec := range l.parDo.GetTimerFamilySpecs() {
		set(&spec.TimerFamilyCoderId, c.timerCoder(l))
	}
	return changed
}

func portTransform(id, urn, coder string) (*pipepb.PTransform, error) {
	payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(&fnpb.RemoteGrpcPort{CoderId: coder})
	if err != nil {
		return nil, fmt.Errorf("malformed pipeline: coder %q: %w", coder, err)
	}
	return &pipepb.PTransform{UniqueName: id, Spec: &pipepb.FunctionSpec{Urn: urn, Payload: payload}}, nil
}

// stageName shortens the names of the stage's transforms to what people look for:
// the last part of each, and no more than a few.
func stageName(d *draft) string {
	const most = 4
	var parts []string
	for _, l := range d.leaves {
		name := l.name
		if i := strings.LastIndexByte(name, '/'); i >= 0 && i+1 < len(name) {
			name = name[i+1:]
		}
		parts = append(parts, name)
	}
	if len(parts) == 0 {
		return "recode " + d.collection
	}
	if len(parts) > most {
		parts = slices.Concat(parts[:most-1], []string{fmt.Sprintf("(%d more)", len(parts)-most), parts[len(parts)-1]})
	}
	return strings.Join(parts, "+")
}
