package coders

import (
	"fmt"
	"math"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// maxDepth bounds how deep coders nest, and with it the recursion of a scan.
const maxDepth = 64

// compiler makes nodes. A coder named many times gets one node: without that a short
// chain of pairs, each of one coder twice, would grow beyond any memory.
type compiler struct {
	coders map[string]*pipepb.Coder
	// nodes holds finished coders; nil marks one that is being compiled.
	nodes map[string]*node
}

func newCompiler(coders map[string]*pipepb.Coder) *compiler {
	return &compiler{coders: coders, nodes: map[string]*node{}}
}

func (c *compiler) coder(id string, depth int) (*node, error) {
	n, seen := c.nodes[id]
	if n != nil {
		return n, nil
	}
	if seen {
		return nil, fmt.Errorf("coders: coder %q contains itself", id)
	}
	p, ok := c.coders[id]
	if !ok || p == nil {
		return nil, fmt.Errorf("coders: coder %q is named but not defined", id)
	}
	c.nodes[id] = nil
	n, err := c.build(id, p, depth)
	if err != nil {
		delete(c.nodes, id)
		return nil, err
	}
	if n, err = checkHeight(n); err != nil {
		return nil, err
	}
	c.nodes[id] = n
	return n, nil
}

func checkHeight(n *node) (*node, error) {
	if n.height > maxDepth {
		return nil, errDepth()
	}
	return n, nil
}

func errDepth() error { return fmt.Errorf("coders: coders nest deeper than %d", maxDepth) }

func (c *compiler) build(id string, p *pipepb.Coder, depth int) (*node, error) {
	if depth >= maxDepth {
		return nil, errDepth()
	}
	urn := p.GetSpec().GetUrn()
	switch urn {
	case urnBytes, urnString, urnLengthPrefix:
		return prefixed(), nil
	case urnVarint:
		return leaf(opVarint, 1), nil
	case urnBool:
		return leaf(opBool, 1), nil
	case urnDouble:
		return fixed(8), nil
	case urnGlobalWindow:
		return fixed(0), nil
	case urnIntervalWindow:
		return pair(fixed(timestampSize), leaf(opVarint, 1)), nil
	case urnRow:
		s := &pipepb.Schema{}
		if err := proto.Unmarshal(p.GetSpec().GetPayload(), s); err != nil {
			return nil, fmt.Errorf("coders: schema of row coder %q: %w", id, err)
		}
		n, err := compileRow(s, depth)
		if err != nil {
			return nil, fmt.Errorf("coders: row coder %q: %w", id, err)
		}
		return n, nil
	}

	arity := 1
	switch urn {
	case urnKV, urnTimer, urnWindowedValue, urnParamWindowedValue:
		arity = 2
	case urnIterable, urnStateBackedIterable, urnNullable, urnShardedKey, urnCustomWindow:
	default:
		return nil, fmt.Errorf("%w: %q has URN %q", ErrUnsupported, id, urn)
	}
	if got := len(p.GetComponentCoderIds()); got != arity {
		return nil, fmt.Errorf("coders: coder %q (%s) has %d components, want %d", id, urn, got, arity)
	}
	var parts [2]*node
	for i, cid := range p.GetComponentCoderIds() {
		n, err := c.coder(cid, depth+1)
		if err != nil {
			return nil, fmt.Errorf("component %d of coder %q: %w", i, id, err)
		}
		parts[i] = n
	}
	a, b := parts[0], parts[1]
	switch urn {
	case urnKV:
		return pair(a, b), nil
	case urnIterable, urnStateBackedIterable:
		return &node{op: opIterable, height: a.height + 1, fixed: -1, min: 4, a: a}, nil
	case urnNullable:
		return nullable(a), nil
	case urnShardedKey:
		return pair(prefixed(), a), nil
	case urnCustomWindow:
		return pair(fixed(timestampSize), a), nil
	case urnParamWindowedValue:
		// Timestamp, windows and pane are in the coder's payload, not in the elements.
		return a, nil
	case urnTimer:
		// No tag, no windows, and set to be cleared.
		const suffix = 1 + 4 + 1
		return &node{op: opTimer, height: max(a.height, b.height) + 1, fixed: -1, min: satAdd(a.min, suffix), a: a, b: b}, nil
	default: // urnWindowedValue
		const header = timestampSize + 4 + 1
		return &node{op: opWindowed, height: max(a.height, b.height) + 1, fixed: -1, min: satAdd(a.min, header), a: a, b: b}, nil
	}
}

func leaf(o op, min int) *node { return &node{op: o, height: 1, fixed: -1, min: min} }

func prefixed() *node { return leaf(opPrefixed, 1) }

func fixed(size int) *node { return &node{op: opFixed, height: 1, fixed: size, min: size} }

func nullable(a *node) *node {
	return &node{op: opNullable, height: a.height + 1, fixed: -1, min: 1, a: a}
}

func pair(a, b *node) *node {
	n := &node{op: opPair, height: max(a.height, b.height) + 1, fixed: -1, min: satAdd(a.min, b.min), a: a, b: b}
	switch {
	case a.op == opPrefixed && b.op == opPrefixed:
		n.op = opPrefixedPair
	case a.fixed >= 0 && b.fixed >= 0 && n.min < math.MaxInt32:
		n.op, n.fixed = opFixed, n.min
	}
	return n
}

// satAdd adds sizes up to 2 GiB, beyond which they only say "too big to be there":
// pairs of pairs of one coder can double a size 64 times.
func satAdd(a, b int) int {
	if a > math.MaxInt32-b {
		return math.MaxInt32
	}
	return a + b
}
