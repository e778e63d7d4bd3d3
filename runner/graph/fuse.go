package graph

import "slices"

// draft is a stage in the making. Connections are pointers until the stages'
// order, and with it their indexes, is known.
type draft struct {
	kind Kind
	env  string
	// leaves of an SDK or Impulse stage, in topological order; the GroupByKey or
	// redistribution that a Forward stage stands for.
	leaves []*leaf
	// pos and seq order stages that don't depend on each other.
	pos, seq int

	// collection is the one that the stage's root reads.
	collection string
	// group is the GroupByKey at the input side, or nil.
	group *leaf
	// inCoder is the coder of the queued elements, sourceCoder what the root reads.
	// They differ if there is a group.
	inCoder, sourceCoder string
	in                   []*draftOutput
	sides                []*draftSide
	outputs              []*draftOutput

	index int
}

// draftOutput is one collection written in one coder.
type draftOutput struct {
	stage      *draft
	leaf       *leaf
	collection string
	coder      string
	to         []draftTarget
	index      int
}

type draftTarget struct {
	stage *draft
	side  int
}

type draftSide struct {
	leaf *leaf
	port
	coder string
	from  []*draftOutput
}

func (c *compiler) newDraft(kind Kind, env string, pos int, leaves ...*leaf) *draft {
	d := &draft{kind: kind, env: env, pos: pos, seq: len(c.drafts), leaves: leaves}
	c.drafts = append(c.drafts, d)
	return d
}

// fuse puts each SDK leaf into the stage of its producer where it may, and starts a
// stage with it elsewhere.
//
// Leaves come in topological order, so all that a leaf depends on has its stage. A
// new stage depends on others and none depends on it; a leaf that joins a stage
// adds to what the stage waits for. The one way to a cycle is therefore a side
// input, and each join checks that it makes none.
//
// Leaves that read the same collection from outside share a stage (sibling fusion)
// where nothing is lost by it, so that the collection is queued and decoded once; see
// sibling for where.
func (c *compiler) fuse() error {
	for _, l := range c.leaves {
		switch l.kind {
		case impulseLeaf:
			c.stageOf[l] = c.newDraft(Impulse, "", l.pos, l)
		case testStreamLeaf:
			c.stageOf[l] = c.newDraft(TestStream, "", l.pos, l)
		case sdkLeaf:
			d := c.joinable(l)
			if d == nil {
				d = c.sibling(l)
			}
			if d == nil {
				d = c.newDraft(SDK, l.env, l.pos)
			}
			d.leaves = append(d.leaves, l)
			c.stageOf[l] = d
		}
	}
	return nil
}

// joinable returns the stage that a leaf may join, or nil.
func (c *compiler) joinable(l *leaf) *draft {
	producer := c.producer[l.inputs[0].collection]
	d := c.stageOf[producer]
	if l.startsStage() || c.anyByWindow(l) || producer.kind != sdkLeaf || d.env != l.env || c.waitsFor(l.sides, d) {
		return nil
	}
	return d
}

// sibling returns the stage, begun by another reader of the leaf's input, that the
// leaf may share; or nil.
//
// Readers of a grouped collection are kept apart: the Go SDK takes the iterable's type
// from one of a source's consumers for all. So are state, which needs its keys routed
// to it, and the processing of restrictions, which SDKs split only with one consumer
// below the source. And so is whatever has side inputs: a stage waits for all of
// them, and a reader should not wait for those of another.
func (c *compiler) sibling(l *leaf) *draft {
	if !c.shares(l) || len(l.sides) > 0 {
		return nil
	}
	in := l.inputs[0].collection
	for _, d := range c.drafts {
		if d.kind != SDK || d.env != l.env {
			continue
		}
		root := d.leaves[0]
		if root.inputs[0].collection == in && c.shares(root) && !slices.ContainsFunc(d.leaves, hasSides) {
			return d
		}
	}
	return nil
}

// shares says of the root of a stage that others may stand beside it.
func (c *compiler) shares(root *leaf) bool {
	in := root.inputs[0].collection
	return root.kind == sdkLeaf && !root.startsStage() && c.producer[in].kind != groupLeaf && !c.grouped(in)
}

// grouped says that elements are KVs with an iterable: a grouped collection that went
// through a redistribution, say.
func (c *compiler) grouped(collection string) bool {
	id := c.elementCoder(collection)
	if !c.coders.isKV(id) {
		return false
	}
	_, value := c.coders.parts(id)
	return c.coders.byID[value].GetSpec().GetUrn() == urnIterable
}

func hasSides(l *leaf) bool { return len(l.sides) > 0 }

// waitsFor says whether any of the collections depends on any leaf of the stage.
func (c *compiler) waitsFor(collections []port, target *draft) bool {
	seenStages := make(map[*draft]bool)
	seen := make(map[string]bool)
	for todo := slices.Clone(collections); len(todo) > 0; {
		p := todo[len(todo)-1]
		todo = todo[: len(todo)-1 : len(todo)-1]
		if seen[p.collection] {
			continue
		}
		seen[p.collection] = true
		l := c.producer[p.collection]
		d := c.stageOf[l]
		switch {
		case d == target:
			return true
		case d == nil:
			todo = append(todo, l.allInputs()...)
		case !seenStages[d]:
			// A stage waits for the inputs of all its leaves, whichever leaf made p.
			seenStages[d] = true
			for _, fused := range d.leaves {
				todo = append(todo, fused.allInputs()...)
			}
		}
	}
	return false
}
