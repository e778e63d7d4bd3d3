package memstore

import (
	"bytes"

	"github.com/cespare/xxhash/v2"
)

// node is a treap that is never changed: every change makes new nodes along one
// path and shares the rest. So a snapshot, and what would survive a crash at any
// past moment, is just a root. A node's priority is its key's hash, so the same
// content has the same shape whatever the history: nothing here is random.
type node struct {
	key, val    []byte
	pri         uint64
	left, right *node
}

func (n *node) with(left, right *node) *node {
	if left == n.left && right == n.right {
		return n
	}
	return &node{key: n.key, val: n.val, pri: n.pri, left: left, right: right}
}

// split parts n into keys below key and keys at or above it.
func split(n *node, key []byte) (below, rest *node) {
	if n == nil {
		return nil, nil
	}
	if bytes.Compare(n.key, key) < 0 {
		below, rest = split(n.right, key)
		return n.with(n.left, below), rest
	}
	below, rest = split(n.left, key)
	return below, n.with(rest, n.right)
}

// merge joins two treaps, all keys of a being below those of b.
func merge(a, b *node) *node {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.pri >= b.pri:
		return a.with(a.left, merge(a.right, b))
	}
	return b.with(merge(a, b.left), b.right)
}

// next is the smallest key above key.
func next(key []byte) []byte { return append(bytes.Clone(key), 0) }

// put keeps key and val; the caller must not change them later.
func put(n *node, key, val []byte) *node {
	below, rest := split(n, key)
	_, above := split(rest, next(key))
	return merge(merge(below, &node{key: key, val: val, pri: xxhash.Sum64(key)}), above)
}

func removeRange(n *node, lo, hi []byte) *node {
	below, rest := split(n, lo)
	_, above := split(rest, hi)
	return merge(below, above)
}

func find(n *node, key []byte) (val []byte, found bool) {
	for n != nil {
		switch c := bytes.Compare(key, n.key); {
		case c == 0:
			return n.val, true
		case c < 0:
			n = n.left
		default:
			n = n.right
		}
	}
	return nil, false
}

// walk calls fn for keys in [lo, hi), a nil hi being no bound, until it returns false.
func walk(n *node, lo, hi []byte, fn func(key, val []byte) bool) bool {
	if n == nil {
		return true
	}
	aboveLo := bytes.Compare(n.key, lo) >= 0
	belowHi := hi == nil || bytes.Compare(n.key, hi) < 0
	if aboveLo && !walk(n.left, lo, hi, fn) {
		return false
	}
	if aboveLo && belowHi && !fn(n.key, n.val) {
		return false
	}
	return !belowHi || walk(n.right, lo, hi, fn)
}
