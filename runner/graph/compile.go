package graph

import (
	"errors"
	"fmt"
	"maps"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// Compile checks a pipeline and turns it into stages. It doesn't change p.
//
// A pipeline that is not well formed gives an error that names the transform; one
// that is sound but asks for what the runner can't do gives an *UnsupportedError
// with all reasons. Equal pipelines give equal plans.
//
// The steps, each in a file of its own:
//
//	expand    composites to leaves; combines lifted, splittable DoFns taken apart
//	order     leaves in topological order, collections checked
//	support   what can't be run is named
//	fuse      leaves of one environment join their producers' stages
//	route     stages are connected: groupings, flattens and redistributions dissolve
//	number    stages are put in order and get their indexes
//	describe  what workers are told
func Compile(p *pipepb.Pipeline) (*Plan, error) {
	if p.GetComponents() == nil {
		return nil, errors.New("malformed pipeline: it has no components")
	}
	p = proto.Clone(p).(*pipepb.Pipeline)
	fillMaps(p.GetComponents())
	c := &compiler{
		pipeline: p,
		comps:    p.GetComponents(),
		coders:   newCoderSet(p.GetComponents().GetCoders()),
		producer: make(map[string]*leaf),
		readers:  make(map[string][]*leaf),
		stageOf:  make(map[*leaf]*draft),
		forwards: make(map[*leaf]*draft),
		recoders: make(map[recoderKey]*draft),
	}
	steps := []func() error{
		c.expand, c.order, c.checkCollections, c.checkLeaves, c.checkSupport,
		c.fuse, c.route, c.number,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return c.plan()
}

// compiler is what the steps hand on to each other.
type compiler struct {
	pipeline *pipepb.Pipeline
	comps    *pipepb.Components
	coders   *coderSet
	// leaves are in the order of the hierarchy at first, then topological.
	leaves []*leaf
	// producer is the leaf that writes a collection; readers has one entry for
	// each input, side or main, that reads it.
	producer map[string]*leaf
	readers  map[string][]*leaf

	drafts []*draft
	// stageOf has the stage of each SDK and Impulse leaf.
	stageOf  map[*leaf]*draft
	forwards map[*leaf]*draft
	recoders map[recoderKey]*draft
	edges    int
}

// fillMaps makes nil maps writable: expanding adds to them.
func fillMaps(c *pipepb.Components) {
	if c.Transforms == nil {
		c.Transforms = make(map[string]*pipepb.PTransform)
	}
	if c.Pcollections == nil {
		c.Pcollections = make(map[string]*pipepb.PCollection)
	}
}

// plan makes the result of the numbered drafts.
func (c *compiler) plan() (*Plan, error) {
	plan := &Plan{Pipeline: c.pipeline, Coders: c.coders.byID}
	plan.nameTransforms()
	for _, d := range c.drafts {
		s, err := c.stage(d)
		if err != nil {
			return nil, err
		}
		plan.Stages = append(plan.Stages, s)
	}
	// The stages' descriptors share the collections, and inside of its stage a
	// collection keeps its coder.
	crossing := make(map[string]*pipepb.PCollection)
	for _, d := range c.drafts {
		for _, o := range d.outputs {
			col := proto.Clone(c.comps.Pcollections[o.collection]).(*pipepb.PCollection)
			col.CoderId = c.elementCoder(o.collection)
			crossing[o.collection] = col
		}
	}
	maps.Copy(c.comps.Pcollections, crossing)
	c.comps.Coders = maps.Clone(c.coders.byID)
	for id, coder := range c.comps.Coders {
		if coder == nil {
			delete(c.comps.Coders, id)
		}
	}
	return plan, nil
}

// elementCoder returns the coder that a collection's elements are read with where
// they cross from the runner to a worker.
func (c *compiler) elementCoder(collection string) string {
	p := c.producer[collection]
	switch {
	case p.kind == groupLeaf:
		// The runner writes grouped values, by copying the bytes that came in. So
		// key and values have the coders of the input, whatever the output says.
		k, v := c.coders.parts(c.elementCoder(p.inputs[0].collection))
		return c.coders.kv(k, c.coders.iterable(v))
	case p.kind == testStreamLeaf && c.asTestStream(p, collection):
		return c.testElementCoder(p.test.GetCoderId())
	default:
		return c.coders.wire(c.comps.Pcollections[collection].GetCoderId())
	}
}

// windowCoder returns the wire coder of a collection's windows.
func (c *compiler) windowCoder(collection string) string {
	return c.coders.wireWindow(c.strategy(collection).GetWindowCoderId())
}

func (c *compiler) strategy(collection string) *pipepb.WindowingStrategy {
	return c.comps.WindowingStrategies[c.comps.Pcollections[collection].GetWindowingStrategyId()]
}

// queueCoder is the windowed-value coder of a collection's elements between stages.
func (c *compiler) queueCoder(collection string) string {
	return c.coders.windowed(c.elementCoder(collection), c.windowCoder(collection))
}

// freshTransform returns an id for a transform that the pipeline doesn't have.
func (c *compiler) freshTransform(id string) string {
	for {
		if _, ok := c.comps.Transforms[id]; !ok {
			return id
		}
		id += "_"
	}
}

func (c *compiler) freshCollection(id string) string {
	for {
		if _, ok := c.comps.Pcollections[id]; !ok {
			return id
		}
		id += "_"
	}
}

// addCollection adds a collection that is like another but for its coder.
func (c *compiler) addCollection(id, like, coder string) string {
	id = c.freshCollection(id)
	from := c.comps.Pcollections[like]
	c.comps.Pcollections[id] = &pipepb.PCollection{
		UniqueName:          fmt.Sprintf("%s (%s)", from.GetUniqueName(), id),
		CoderId:             coder,
		IsBounded:           from.GetIsBounded(),
		WindowingStrategyId: from.GetWindowingStrategyId(),
	}
	return id
}
