package monitoring

import (
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// defaultTrieBound is the SDKs' own (Python: BoundedTrieData), for a trie that
// states none.
const defaultTrieBound = 100

// boundedTrie is a BoundedTrie: a set of paths, kept small by cutting off below
// the fullest branches.
type boundedTrie struct {
	// bound is the smallest that a merged trie stated.
	bound int
	root  *trieNode // nil while the set is empty
}

// trieNode is a prefix of paths. Without children it is a path's end, or, if
// truncated, stands for all paths that begin with it.
type trieNode struct {
	truncated bool
	children  map[string]*trieNode
	// leaves is the number of paths that the node stands for, itself counted as
	// one if it has no children.
	leaves int
}

func (t *boundedTrie) merge(p []byte) error {
	var msg pipepb.BoundedTrie
	if err := proto.Unmarshal(p, &msg); err != nil {
		return err
	}
	bound := int(msg.GetBound())
	if bound <= 0 {
		bound = defaultTrieBound
	}
	if t.bound == 0 || bound < t.bound {
		t.bound = bound
	}
	if msg.GetRoot() != nil {
		t.mergeNode(nodeOf(msg.GetRoot()))
	}
	if path := msg.GetSingleton(); len(path) > 0 {
		t.mergeNode(nodeOfPath(path))
	}
	for t.root != nil && t.root.leaves > t.bound {
		t.root.trim()
	}
	return nil
}

func (t *boundedTrie) mergeNode(n *trieNode) {
	if t.root == nil {
		t.root = n
		return
	}
	t.root.merge(n)
}

func (t *boundedTrie) payload() []byte {
	msg := &pipepb.BoundedTrie{Bound: int32(t.bound)}
	if t.root != nil {
		msg.Root = t.root.proto()
	}
	return mustMarshal(msg)
}

func nodeOf(msg *pipepb.BoundedTrieNode) *trieNode {
	n := &trieNode{truncated: msg.GetTruncated()}
	if !n.truncated && len(msg.GetChildren()) > 0 {
		n.children = make(map[string]*trieNode, len(msg.GetChildren()))
		for name, child := range msg.GetChildren() {
			n.children[name] = nodeOf(child)
		}
	}
	n.count()
	return n
}

func nodeOfPath(path []string) *trieNode {
	n := &trieNode{leaves: 1}
	for _, name := range slices.Backward(path) {
		n = &trieNode{leaves: 1, children: map[string]*trieNode{name: n}}
	}
	return n
}

func (n *trieNode) count() {
	n.leaves = 0
	for _, child := range n.children {
		n.leaves += child.leaves
	}
	n.leaves = max(n.leaves, 1)
}

// merge adds o's paths and takes o's nodes over.
func (n *trieNode) merge(o *trieNode) {
	switch {
	case n.truncated:
		return
	case o.truncated:
		n.truncated, n.children = true, nil
	case n.children == nil:
		n.children = o.children
	default:
		for name, child := range o.children {
			if own, ok := n.children[name]; ok {
				own.merge(child)
			} else {
				n.children[name] = child
			}
		}
	}
	n.count()
}

// trim cuts the fullest branch off where all below it are single paths. Of equally
// full ones it takes the first by name, so that the result doesn't hang on map order.
func (n *trieNode) trim() {
	var fullest *trieNode
	var first string
	for name, child := range n.children {
		if fullest == nil || child.leaves > fullest.leaves || child.leaves == fullest.leaves && name < first {
			fullest, first = child, name
		}
	}
	if fullest == nil || fullest.leaves == 1 {
		n.truncated, n.children = true, nil
	} else {
		fullest.trim()
	}
	n.count()
}

func (n *trieNode) proto() *pipepb.BoundedTrieNode {
	msg := &pipepb.BoundedTrieNode{Truncated: n.truncated}
	if len(n.children) > 0 {
		msg.Children = make(map[string]*pipepb.BoundedTrieNode, len(n.children))
		for name, child := range n.children {
			msg.Children[name] = child.proto()
		}
	}
	return msg
}
