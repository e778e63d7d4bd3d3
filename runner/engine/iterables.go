package engine

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/graph"
)

// A large group is rendered without its values, as a state-backed iterable: length
// -1, then, in place of a chunk's count, -1 and a token, which the worker hands to
// State.Get to have the values page by page (beam_runner_api.proto, StandardCoders,
// STATE_BACKED_ITERABLE). So a group need not be in memory, and not in one message.
//
// Tokens belong to one attempt at a bundle: another one renders the claim anew.

// urnStateBackedIterable in a stage's coder says that its worker reads such iterables.
// The Go SDK reads them below a plain iterable coder too (exec.DataSource).
const (
	urnStateBackedIterable = "beam:coder:state_backed_iterable:v1"
	goSDKPrefix            = "beam:version:sdk_base:go:"
)

func readsStateBacked(plan *graph.Plan, s *graph.Stage) bool {
	if s.Kind != graph.SDK {
		return false
	}
	env := plan.Pipeline.GetComponents().GetEnvironments()[s.Environment]
	if slices.ContainsFunc(env.GetCapabilities(), func(c string) bool { return strings.HasPrefix(c, goSDKPrefix) }) {
		return true
	}
	// windowed value -> KV -> iterable
	c := plan.Coders[s.Input.Grouping.OutputCoder]
	for _, part := range []int{0, 1} {
		ids := c.GetComponentCoderIds()
		if part >= len(ids) {
			return false
		}
		c = plan.Coders[ids[part]]
	}
	return c.GetSpec().GetUrn() == urnStateBackedIterable
}

// pages are values that are read page by page.
type pages interface {
	// page returns the page that cursor names, nil for the first, and the next one's
	// cursor, nil at the end. A page ends with a whole value.
	page(cursor []byte) (data, next []byte, err error)
}

// iterables are the large groups of one attempt at a bundle. Safe for concurrent use.
type iterables struct {
	// bundle is in the tokens: a worker that remembers values by token must not take
	// one bundle's for another's.
	bundle string

	listMu sync.Mutex
	list   []pages
}

// add returns a token for p.
func (t *iterables) add(p pages) []byte {
	t.listMu.Lock()
	defer t.listMu.Unlock()
	t.list = append(t.list, p)
	return strconv.AppendInt([]byte(t.bundle+"/"), int64(len(t.list)-1), 10)
}

// page answers a state request with the Runner key.
func (t *iterables) page(token, cursor []byte) (data, next []byte, err error) {
	var p pages
	if n, ok := strings.CutPrefix(string(token), t.bundle+"/"); ok {
		i, err := strconv.Atoi(n)
		t.listMu.Lock()
		if err == nil && i >= 0 && i < len(t.list) {
			p = t.list[i]
		}
		t.listMu.Unlock()
	}
	if p == nil {
		return nil, nil, fmt.Errorf("iterable %q is none of this bundle's", token)
	}
	return p.page(cursor)
}

// appendToken appends a state-backed iterable behind its key.
func appendToken(dst, token []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, ^uint32(0))
	dst = coders.AppendVarint(dst, -1)
	dst = coders.AppendVarint(dst, int64(len(token)))
	return append(dst, token...)
}

// hotGroup is a block's payload: one group whose values are on disk.
type hotGroup struct {
	header      []byte // the windowed value up to the key's end
	count       int64
	bytes       int64
	pages       []*spilled
	stateBacked bool
}

// overhead is what memQueue counts of it.
func (h *hotGroup) overhead() int64 {
	return int64(len(h.header)) + 64*int64(len(h.pages)) + blockOverhead
}

func (h *hotGroup) free() {
	for _, p := range h.pages {
		p.free()
	}
}

func (h *hotGroup) page(cursor []byte) (data, next []byte, err error) {
	i, n := uint64(0), 0
	if len(cursor) > 0 {
		if i, n = binary.Uvarint(cursor); n != len(cursor) || i >= uint64(len(h.pages)) {
			return nil, nil, badCursor(cursor)
		}
	}
	if i+1 < uint64(len(h.pages)) {
		next = binary.AppendUvarint(nil, i+1)
	}
	data, err = h.pages[i].read()
	return data, next, err
}

func badCursor(c []byte) error { return fmt.Errorf("continuation token %x is not one we gave", c) }

// render returns the group's bytes: with all values, if the reader or who asks
// (tokens is nil) can't do without.
func (h *hotGroup) render(tokens *iterables) ([]byte, error) {
	if tokens != nil && h.stateBacked {
		return appendToken(slices.Clone(h.header), tokens.add(h)), nil
	}
	buf := append(make([]byte, 0, int64(len(h.header))+4+h.bytes), h.header...)
	buf, err := appendCount(buf, h.count)
	if err != nil {
		return nil, err
	}
	for _, p := range h.pages {
		data, err := p.read()
		if err != nil {
			return nil, err
		}
		buf = append(buf, data...)
	}
	return buf, nil
}

// memGroup is a group in memory as pages.
type memGroup struct {
	of    *grouped
	group int32
}

func (m memGroup) page(cursor []byte) (data, next []byte, err error) {
	v := m.of.groups[m.group].first
	if len(cursor) > 0 {
		i, n := binary.Uvarint(cursor)
		if n != len(cursor) || i >= uint64(len(m.of.values)) {
			return nil, nil, badCursor(cursor)
		}
		v = int32(i)
	}
	if v == noValue {
		return nil, nil, nil
	}
	if r := &m.of.values[v]; r.next == noValue {
		b := m.of.blocks[r.block][r.off : r.off+r.n : r.off+r.n]
		return b, nil, nil
	}
	size := int64(0)
	end := v
	for ; end != noValue; end = m.of.values[end].next {
		n := int64(m.of.values[end].n)
		if size > 0 && size+n > pageBytes {
			break
		}
		size += n
	}
	data = make([]byte, 0, size)
	for ; v != end; v = m.of.values[v].next {
		r := &m.of.values[v]
		data = append(data, m.of.blocks[r.block][r.off:r.off+r.n]...)
	}
	if end != noValue {
		next = binary.AppendUvarint(nil, uint64(end))
	}
	return data, next, nil
}

// render writes the chunk's groups as windowed KV<K, Iterable<V>>. An iterable has its
// length in front, or is a token if it is large and the reader takes those.
func (c *groupChunk) render(tokens *iterables) []byte {
	hot := func(g *group) bool { return g.bytes > pageBytes && c.of.stateBacked && tokens != nil }
	size := 0
	for i := c.from; i < c.to; i++ {
		if g := &c.of.groups[i]; !hot(g) {
			size += g.size()
		}
	}
	buf := make([]byte, 0, size+groupOverhead)
	for i := c.from; i < c.to; i++ {
		g := &c.of.groups[i]
		buf = coders.AppendHeader(buf, g.out, g.window, 1, ontimePane)
		buf = append(buf, g.key...)
		if hot(g) {
			buf = appendToken(buf, tokens.add(memGroup{of: c.of, group: int32(i)}))
			continue
		}
		buf = binary.BigEndian.AppendUint32(buf, uint32(g.count))
		for v := g.first; v != noValue; v = c.of.values[v].next {
			r := &c.of.values[v]
			buf = append(buf, c.of.blocks[r.block][r.off:r.off+r.n]...)
		}
	}
	return buf
}
