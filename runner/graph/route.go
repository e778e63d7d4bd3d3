package graph

import (
	"fmt"
	"slices"
)

// maxEdges bounds the connections of a plan. Flattens of flattens multiply: forty
// of them, each of the one before with itself, would ask for a trillion edges.
const maxEdges = 1 << 20

// route connects the stages. GroupByKeys, Flattens and redistributions are gone
// afterwards, or have become Forward stages.
func (c *compiler) route() error {
	// Recoders and Forward stages are added behind these while we go, connected.
	for _, d := range slices.Clone(c.drafts) {
		if d.kind != SDK {
			continue
		}
		if err := c.connect(d); err != nil {
			return err
		}
	}
	for _, d := range c.drafts {
		slices.SortFunc(d.outputs, func(a, b *draftOutput) int { return c.compareOutputs(d, a, b) })
		for i, o := range d.outputs {
			o.index = i
		}
	}
	return nil
}

// connect finds what feeds an SDK stage.
func (c *compiler) connect(d *draft) error {
	root := d.leaves[0]
	d.collection = root.inputs[0].collection
	d.inCoder = c.queueCoder(d.collection)
	d.sourceCoder = d.inCoder
	read := d.collection
	switch p := c.producer[d.collection]; {
	case p.kind == groupLeaf && !c.needsForward(p):
		d.group = p
		read = p.inputs[0].collection
		d.inCoder = c.queueCoder(read)
	case p.kind == redistributeLeaf:
		// Being read by another stage is all that it asks for.
		read = p.inputs[0].collection
	}
	var err error
	if d.in, err = c.feed(read, d.inCoder, root); err != nil {
		return err
	}
	c.addTargets(d.in, draftTarget{d, -1})
	for _, l := range d.leaves {
		for _, s := range l.sides {
			side := &draftSide{leaf: l, port: s, coder: c.queueCoder(s.collection)}
			if side.from, err = c.feed(s.collection, side.coder, l); err != nil {
				return err
			}
			c.addTargets(side.from, draftTarget{d, len(d.sides)})
			d.sides = append(d.sides, side)
		}
	}
	return nil
}

// needsForward says whether a GroupByKey gets a Forward stage: its consumers are
// not just the root of one SDK stage.
func (c *compiler) needsForward(group *leaf) bool {
	readers := c.readers[group.outputs[0].collection]
	if len(readers) != 1 || readers[0].kind != sdkLeaf {
		return true
	}
	// Groups that are to be sorted by time are made first.
	return readers[0].inputs[0].collection != group.outputs[0].collection || readers[0].timeSorted()
}

func (c *compiler) addTargets(from []*draftOutput, t draftTarget) {
	for _, o := range from {
		o.to = append(o.to, t)
	}
}

// feed returns the outputs that together are a collection, written in a coder. One
// that is there twice is to be read twice. reader is who wants it.
func (c *compiler) feed(collection, coder string, reader *leaf) ([]*draftOutput, error) {
	p := c.producer[collection]
	// Every edge of the plan comes through here, so this is the place to count.
	if c.edges++; c.edges > maxEdges {
		return nil, p.broken("flattens multiply its output: the pipeline has more than %d connections", maxEdges)
	}
	switch p.kind {
	case sdkLeaf:
		return []*draftOutput{c.output(c.stageOf[p], p, collection, coder)}, nil
	case impulseLeaf:
		// The engine writes it: the empty byte string, whatever the pipeline says.
		own := c.coders.windowed(c.coders.make(urnBytes), c.windowCoder(collection))
		return c.recoded(c.output(c.stageOf[p], p, collection, own), coder, reader)
	case testStreamLeaf:
		own := c.coders.windowed(c.testElementCoder(p.test.GetCoderId()), c.windowCoder(collection))
		return c.recoded(c.output(c.stageOf[p], p, collection, own), coder, reader)
	case flattenLeaf:
		var all []*draftOutput
		for _, in := range p.inputs {
			outputs, err := c.feed(in.collection, coder, reader)
			if err != nil {
				return nil, err
			}
			all = append(all, outputs...)
		}
		return all, nil
	default:
		d, err := c.forward(p)
		if err != nil {
			return nil, err
		}
		return c.recoded(c.output(d, p, collection, d.sourceCoder), coder, reader)
	}
}

// output returns the output of a stage that writes a collection in a coder.
func (c *compiler) output(d *draft, l *leaf, collection, coder string) *draftOutput {
	for _, o := range d.outputs {
		if o.collection == collection && c.coders.same(o.coder, coder) {
			return o
		}
	}
	o := &draftOutput{stage: d, leaf: l, collection: collection, coder: coder}
	d.outputs = append(d.outputs, o)
	return o
}

// forward returns the Forward stage of a GroupByKey or redistribution, for readers
// other than the root of an SDK stage.
func (c *compiler) forward(l *leaf) (*draft, error) {
	if d := c.forwards[l]; d != nil {
		return d, nil
	}
	d := c.newDraft(Forward, "", l.pos, l)
	c.forwards[l] = d
	d.collection = l.outputs[0].collection
	d.sourceCoder = c.queueCoder(d.collection)
	d.inCoder = d.sourceCoder
	if l.kind == groupLeaf {
		d.group = l
		d.inCoder = c.queueCoder(l.inputs[0].collection)
	}
	var err error
	if d.in, err = c.feed(l.inputs[0].collection, d.inCoder, l); err != nil {
		return nil, err
	}
	c.addTargets(d.in, draftTarget{d, -1})
	return d, nil
}

type recoderKey struct {
	from  *draftOutput
	shape int
	env   string
}

// recoded returns what carries the elements of an output in another coder: the
// output itself if the formats are the same, else a worker stage with nothing in
// it but a source and a sink. The engine moves bytes and can't write values anew.
func (c *compiler) recoded(o *draftOutput, coder string, reader *leaf) ([]*draftOutput, error) {
	if c.coders.same(o.coder, coder) {
		return []*draftOutput{o}, nil
	}
	env := c.nearestEnvironment(reader)
	if env == "" {
		return nil, reader.broken("it reads collection %q in another coder and there is no environment to change it", o.collection)
	}
	key := recoderKey{o, c.coders.shapes[coder], env}
	d := c.recoders[key]
	if d == nil {
		d = c.newDraft(SDK, env, reader.pos)
		c.recoders[key] = d
		d.collection = o.collection
		d.inCoder, d.sourceCoder = o.coder, o.coder
		d.in = []*draftOutput{o}
		c.addTargets(d.in, draftTarget{d, -1})
	}
	return []*draftOutput{c.output(d, reader, o.collection, coder)}, nil
}

// nearestEnvironment returns the environment of a leaf or of the first SDK leaf
// that reads from it.
func (c *compiler) nearestEnvironment(l *leaf) string {
	seen := map[*leaf]bool{l: true}
	for todo := []*leaf{l}; len(todo) > 0; todo = todo[1:] {
		if todo[0].env != "" {
			return todo[0].env
		}
		for _, out := range todo[0].outputs {
			for _, r := range c.readers[out.collection] {
				if !seen[r] {
					seen[r] = true
					todo = append(todo, r)
				}
			}
		}
	}
	return c.environment("")
}

// compareOutputs orders a stage's outputs by their transforms' order, then by the
// transform's own order of outputs, then by coder.
func (c *compiler) compareOutputs(d *draft, a, b *draftOutput) int {
	if a.leaf != b.leaf {
		return a.leaf.pos - b.leaf.pos
	}
	if a.collection != b.collection {
		ia := slices.IndexFunc(a.leaf.outputs, func(p port) bool { return p.collection == a.collection })
		ib := slices.IndexFunc(a.leaf.outputs, func(p port) bool { return p.collection == b.collection })
		return ia - ib
	}
	return c.coders.shapes[a.coder] - c.coders.shapes[b.coder]
}

// number sorts the stages topologically and gives them their indexes. Among those
// that could come next it takes the one whose first leaf comes first.
func (c *compiler) number() error {
	ready := newQueue(func(a, b *draft) int {
		if a.pos != b.pos {
			return a.pos - b.pos
		}
		return a.seq - b.seq
	})
	waiting := make(map[*draft]int)
	for _, d := range c.drafts {
		waiting[d] = len(d.in)
		for _, s := range d.sides {
			waiting[d] += len(s.from)
		}
		if waiting[d] == 0 {
			ready.push(d)
		}
	}
	sorted := make([]*draft, 0, len(c.drafts))
	for ready.Len() > 0 {
		d := ready.pop()
		d.index = len(sorted)
		sorted = append(sorted, d)
		for _, o := range d.outputs {
			for _, t := range o.to {
				if waiting[t.stage]--; waiting[t.stage] == 0 {
					ready.push(t.stage)
				}
			}
		}
	}
	if len(sorted) < len(c.drafts) {
		return fmt.Errorf("BUG: fusion made a cycle of %d stages", len(c.drafts)-len(sorted))
	}
	c.drafts = sorted
	for _, d := range c.drafts {
		for _, o := range d.outputs {
			slices.SortFunc(o.to, func(a, b draftTarget) int {
				if a.stage != b.stage {
					return a.stage.index - b.stage.index
				}
				return a.side - b.side
			})
		}
	}
	return nil
}
