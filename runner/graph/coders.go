package graph

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
)

// maxCoderHeight bounds how deep a pipeline's coders nest. Compiling adds a few
// levels (a restriction's pairs, an iterable, a length prefix, the windowed value),
// and package coders refuses more than 64.
const maxCoderHeight = 48

// coderSet holds the pipeline's coders and those that compiling adds.
//
// The runner never decodes values but must find where they end. So a coder whose
// elements cross between SDK and runner is rewritten: what the runner can't skip
// gets a length prefix, inside composites too, because a KV's key must stay
// visible. The rewritten coder is called the wire coder. Workers are told of it
// in the descriptors and write the prefixes themselves.
//
// Two coder ids may name the same format (SDKs don't promise to share ids), so
// formats are compared by shape: a number that equal formats have in common.
type coderSet struct {
	byID map[string]*pipepb.Coder
	// shapes has the shape of each checked id, heights its nesting.
	shapes  map[string]int
	heights map[string]int
	// numbers maps a coder's text (URN, payload, component shapes) to its shape.
	numbers map[string]int
	// first is the id to use for a shape when any will do.
	first map[int]string
	wires map[string]string
}

func newCoderSet(byID map[string]*pipepb.Coder) *coderSet {
	c := &coderSet{
		byID:    make(map[string]*pipepb.Coder, len(byID)),
		shapes:  make(map[string]int),
		heights: make(map[string]int),
		numbers: make(map[string]int),
		first:   make(map[int]string),
		wires:   make(map[string]string),
	}
	maps.Copy(c.byID, byID)
	// Sorted, so that the shapes' numbers and first ids don't depend on the map's
	// order. A broken coder matters only where it is used, and is found there.
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		if c.check(id) == nil {
			if _, ok := c.first[c.shapes[id]]; !ok {
				c.first[c.shapes[id]] = id
			}
		}
	}
	return c
}

// arity is the number of components of the composite coders we look into.
var arity = map[string]int{
	urnKV:                                 2,
	urnTimer:                              2,
	urnWindowedValue:                      2,
	"beam:coder:param_windowed_value:v1":  2,
	urnIterable:                           1,
	"beam:coder:state_backed_iterable:v1": 1,
	urnNullable:                           1,
	urnLengthPrefix:                       1,
	"beam:coder:sharded_key:v1":           1,
	urnCustomWindow:                       1,
}

// check says what is wrong with a coder: it or a component is missing, it contains
// itself, it nests too deep.
func (c *coderSet) check(id string) error {
	return c.checkAt(id, 0, make(map[string]bool))
}

func (c *coderSet) checkAt(id string, depth int, open map[string]bool) error {
	if _, ok := c.shapes[id]; ok {
		return nil
	}
	p := c.byID[id]
	switch {
	case p == nil:
		return fmt.Errorf("coder %q is not defined", id)
	case open[id]:
		return fmt.Errorf("coder %q contains itself", id)
	case depth >= maxCoderHeight:
		return fmt.Errorf("coder %q nests deeper than %d", id, maxCoderHeight)
	case p.GetSpec().GetUrn() == "":
		return fmt.Errorf("coder %q has no URN", id)
	}
	urn := p.GetSpec().GetUrn()
	if want, ok := arity[urn]; ok && len(p.GetComponentCoderIds()) != want {
		return fmt.Errorf("coder %q (%s) has %d components, want %d", id, urn, len(p.GetComponentCoderIds()), want)
	}
	open[id] = true
	defer delete(open, id)
	height := 1
	for i, part := range p.GetComponentCoderIds() {
		if err := c.checkAt(part, depth+1, open); err != nil {
			return fmt.Errorf("component %d of coder %q: %w", i, id, err)
		}
		height = max(height, c.heights[part]+1)
	}
	// The depth of the descent is not enough: a component checked before is not
	// descended into again.
	if height > maxCoderHeight {
		return fmt.Errorf("coder %q nests deeper than %d", id, maxCoderHeight)
	}
	c.heights[id] = height
	c.shapes[id] = c.number(p)
	return nil
}

// number returns the shape of a coder whose components are checked.
func (c *coderSet) number(p *pipepb.Coder) int {
	var b strings.Builder
	urn := p.GetSpec().GetUrn()
	fmt.Fprintf(&b, "%d:%s%d:%s", len(urn), urn, len(p.GetSpec().GetPayload()), p.GetSpec().GetPayload())
	for _, part := range p.GetComponentCoderIds() {
		b.WriteByte(',')
		b.WriteString(strconv.Itoa(c.shapes[part]))
	}
	n, ok := c.numbers[b.String()]
	if !ok {
		n = len(c.numbers)
		c.numbers[b.String()] = n
	}
	return n
}

// same says whether two checked coders are one format.
func (c *coderSet) same(a, b string) bool { return c.shapes[a] == c.shapes[b] }

// make returns a coder of checked components: an existing one of that format, or
// a new one.
func (c *coderSet) make(urn string, parts ...string) string {
	p := &pipepb.Coder{Spec: &pipepb.FunctionSpec{Urn: urn}, ComponentCoderIds: parts}
	n := c.number(p)
	if id, ok := c.first[n]; ok {
		return id
	}
	id := strings.TrimSuffix(strings.TrimPrefix(urn, "beam:coder:"), ":v1")
	if len(parts) > 0 {
		id += "(" + strings.Join(parts, ",") + ")"
	}
	id = c.addAs(id, p)
	c.first[n] = id
	return id
}

func (c *coderSet) addAs(id string, p *pipepb.Coder) string {
	for c.byID[id] != nil {
		id += "'"
	}
	c.byID[id] = p
	c.shapes[id] = c.number(p)
	c.heights[id] = 1
	for _, part := range p.GetComponentCoderIds() {
		c.heights[id] = max(c.heights[id], c.heights[part]+1)
	}
	return id
}

func (c *coderSet) kv(k, v string) string    { return c.make(urnKV, k, v) }
func (c *coderSet) iterable(e string) string { return c.make(urnIterable, e) }
func (c *coderSet) windowed(elem, window string) string {
	return c.make(urnWindowedValue, elem, window)
}

// isKV says whether elements of the checked coder are visible as key and value.
func (c *coderSet) isKV(id string) bool { return c.byID[id].GetSpec().GetUrn() == urnKV }

// parts returns the components of a KV or windowed-value coder.
func (c *coderSet) parts(id string) (first, second string) {
	p := c.byID[id].GetComponentCoderIds()
	return p[0], p[1]
}

// wire returns the wire coder of a checked coder.
func (c *coderSet) wire(id string) string {
	if w, ok := c.wires[id]; ok {
		return w
	}
	w := c.makeWire(id)
	c.wires[id] = w
	return w
}

// wireWindow returns the wire coder of windows. Of windows that are an SDK's own the
// runner must know the maximum timestamp, so these have it in front.
func (c *coderSet) wireWindow(id string) string {
	switch c.byID[id].GetSpec().GetUrn() {
	case urnGlobalWindow, urnIntervalWindow, urnCustomWindow:
		return c.wire(id)
	}
	return c.make(urnCustomWindow, c.wire(id))
}

func (c *coderSet) makeWire(id string) string {
	p := c.byID[id]
	urn := p.GetSpec().GetUrn()
	switch {
	case urn == urnLengthPrefix:
		return id
	case !coders.Known(urn):
		return c.make(urnLengthPrefix, id)
	}
	parts := make([]string, len(p.GetComponentCoderIds()))
	changed := false
	for i, part := range p.GetComponentCoderIds() {
		parts[i] = c.wire(part)
		changed = changed || parts[i] != part
	}
	if !changed {
		return id
	}
	// A known composite keeps its payload, which make has none of.
	np := &pipepb.Coder{Spec: p.GetSpec(), ComponentCoderIds: parts}
	n := c.number(np)
	if w, ok := c.first[n]; ok {
		return w
	}
	w := c.addAs("wire("+id+")", np)
	c.first[n] = w
	return w
}

// reach adds the ids and all that their coders are made of to dst.
func (c *coderSet) reach(dst map[string]*pipepb.Coder, ids ...string) {
	for _, id := range ids {
		p := c.byID[id]
		if p == nil || dst[id] != nil {
			continue
		}
		dst[id] = p
		c.reach(dst, p.GetComponentCoderIds()...)
	}
}
