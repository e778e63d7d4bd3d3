package graph

import (
	"fmt"
	"slices"
	"strings"
)

// order connects leaves by their collections and sorts them topologically. Among
// the leaves that could come next the first of the hierarchy's order is taken: a
// pipeline written down in order keeps its order, and the result depends on no map.
func (c *compiler) order() error {
	c.asConstructed()
	for i, l := range c.leaves {
		l.pos = i
		for _, out := range l.outputs {
			if other := c.producer[out.collection]; other != nil {
				return l.broken("collection %q is an output of %q too", out.collection, other.name)
			}
			c.producer[out.collection] = l
		}
	}
	waiting := make(map[*leaf]int)
	ready := newQueue(func(a, b *leaf) int { return a.pos - b.pos })
	for _, l := range c.leaves {
		for _, in := range append(l.allInputs(), l.unread...) {
			if c.producer[in.collection] == nil {
				return l.broken("its input %q, collection %q, is no transform's output", in.local, in.collection)
			}
		}
		for _, in := range l.allInputs() {
			c.readers[in.collection] = append(c.readers[in.collection], l)
			waiting[l]++
		}
		if waiting[l] == 0 {
			ready.push(l)
		}
	}
	sorted := make([]*leaf, 0, len(c.leaves))
	for ready.Len() > 0 {
		l := ready.pop()
		sorted = append(sorted, l)
		for _, out := range l.outputs {
			for _, r := range c.readers[out.collection] {
				if waiting[r]--; waiting[r] == 0 {
					ready.push(r)
				}
			}
		}
	}
	if len(sorted) < len(c.leaves) {
		return cycleError(c.leaves, waiting)
	}
	for i, l := range sorted {
		l.pos = i
	}
	c.leaves = sorted
	return nil
}

// asConstructed puts the leaves of a Go pipeline into the order in which its program
// made them. The Go SDK writes them down in the order of its maps, so that the same
// program would get other stages each time, and a job could not be gone on with. But it
// numbers them: e1, e2.
func (c *compiler) asConstructed() {
	number := func(l *leaf) int {
		n := 0
		for i := 1; i < len(l.id) && l.id[0] == 'e' && '0' <= l.id[i] && l.id[i] <= '9'; i++ {
			n = n*10 + int(l.id[i]-'0')
		}
		return n
	}
	if slices.ContainsFunc(c.leaves, func(l *leaf) bool { return number(l) == 0 }) {
		return
	}
	slices.SortStableFunc(c.leaves, func(a, b *leaf) int { return number(a) - number(b) })
}

// cycleError names some of the transforms that wait for each other.
func cycleError(leaves []*leaf, waiting map[*leaf]int) error {
	const most = 10
	var names []string
	for _, l := range leaves {
		if waiting[l] == 0 {
			continue
		}
		if len(names) == most {
			names = append(names, "...")
			break
		}
		names = append(names, fmt.Sprintf("%q", l.name))
	}
	return fmt.Errorf("malformed pipeline: there is a cycle in or above the transforms %s", strings.Join(names, ", "))
}

// allInputs returns main inputs and side inputs.
func (l *leaf) allInputs() []port {
	return append(l.inputs[:len(l.inputs):len(l.inputs)], l.sides...)
}
