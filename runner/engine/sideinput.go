package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
)

// sideInput holds one side input of one stage. Elements come as blocks; when the
// input is complete they are indexed once, by the first lookup of each kind, and
// every bundle reads the same pages.
type sideInput struct {
	scan *coders.Windowed

	blocks []core.Block // fixed once sealed is closed
	sealed chan struct{}

	iterable sideIndex // window -> elements
	multimap sideIndex // window, key -> values
}

// sideIndex maps a window, or a window and key, to pages of encoded elements.
type sideIndex struct {
	once  sync.Once
	err   error
	pages map[string][][]byte
	// keys has, for a multimap, the pages of each window's distinct keys.
	keys map[string][][]byte
}

// pageBytes is about the size of an answer to one state request.
const pageBytes = 1 << 20

func newSideInput(plan *graph.Plan, s *graph.Stage, in *graph.SideInput) (*sideInput, error) {
	scan, err := coders.CompileWindowed(plan.Coders, in.Coder)
	if err != nil {
		return nil, fmt.Errorf("stage %s: side input %s of %s: %w", s.Name, in.Local, in.Transform, err)
	}
	return &sideInput{scan: scan, sealed: make(chan struct{})}, nil
}

// add takes a block in; the driver calls it, before seal.
func (s *sideInput) add(b core.Block) { s.blocks = append(s.blocks, b) }

func (s *sideInput) seal() { close(s.sealed) }

// wait blocks until the side input is complete. A stage's bundles start only
// then, so this is a safeguard, not a place where work waits.
func (s *sideInput) wait(ctx context.Context) error {
	select {
	case <-s.sealed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var errNotKV = errors.New("side input is not a collection of KVs, so it can't be looked up by key")

// each walks the elements of all windows. whole is the element without its header.
func (s *sideInput) each(fn func(window, whole []byte, e *coders.Element)) error {
	var e coders.Element
	for _, b := range s.blocks {
		data, err := payloadBytes(b.Payload)
		if err != nil {
			return err
		}
		for off := 0; off < len(data); {
			n, err := s.scan.Next(data[off:], &e)
			if err != nil {
				return err
			}
			windows := e.Windows
			for range e.NumWindows {
				wn, err := s.scan.NextWindow(windows)
				if err != nil {
					return err
				}
				fn(windows[:wn], data[off+n-len(e.Key)-len(e.Value):off+n], &e)
				windows = windows[wn:]
			}
			off += n
		}
	}
	return nil
}

// lookup returns a page of the window's elements.
func (s *sideInput) lookup(ctx context.Context, window, token []byte) (data, next []byte, err error) {
	if err := s.wait(ctx); err != nil {
		return nil, nil, err
	}
	s.iterable.once.Do(func() {
		p := newPager()
		s.iterable.err = s.each(func(w, whole []byte, _ *coders.Element) { p.add(w, whole) })
		s.iterable.pages = p.done()
	})
	if s.iterable.err != nil {
		return nil, nil, s.iterable.err
	}
	return pageOf(s.iterable.pages[string(window)], token)
}

func (s *sideInput) buildMultimap() {
	values, keys := newPager(), newPager()
	seen := make(map[string]bool)
	var id []byte
	err := s.each(func(w, _ []byte, e *coders.Element) {
		if e.Key == nil {
			s.multimap.err = errNotKV
			return
		}
		id = windowKey(id[:0], w, e.Key)
		values.add(id, e.Value)
		if !seen[string(id)] {
			seen[string(id)] = true
			keys.add(w, e.Key)
		}
	})
	if err != nil {
		s.multimap.err = err
	}
	s.multimap.pages, s.multimap.keys = values.done(), keys.done()
}

// lookupKey returns a page of a key's values in the window.
func (s *sideInput) lookupKey(ctx context.Context, window, key, token []byte) (data, next []byte, err error) {
	if err := s.wait(ctx); err != nil {
		return nil, nil, err
	}
	s.multimap.once.Do(s.buildMultimap)
	if s.multimap.err != nil {
		return nil, nil, s.multimap.err
	}
	return pageOf(s.multimap.pages[string(windowKey(nil, window, key))], token)
}

// lookupKeys returns a page of the window's distinct keys.
func (s *sideInput) lookupKeys(ctx context.Context, window, token []byte) (data, next []byte, err error) {
	if err := s.wait(ctx); err != nil {
		return nil, nil, err
	}
	s.multimap.once.Do(s.buildMultimap)
	if s.multimap.err != nil {
		return nil, nil, s.multimap.err
	}
	return pageOf(s.multimap.keys[string(window)], token)
}

// windowKey joins a window and a key so that no two pairs give the same bytes.
func windowKey(dst, window, key []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(window)))
	dst = append(dst, window...)
	return append(dst, key...)
}

// pager gathers elements into pages by id. A page ends with a whole element, so a
// reader may decode page by page.
type pager struct{ pages map[string]*[][]byte }

func newPager() *pager { return &pager{pages: make(map[string]*[][]byte)} }

func (p *pager) add(id, element []byte) {
	pages := p.pages[string(id)]
	if pages == nil {
		pages = &[][]byte{nil}
		p.pages[string(id)] = pages
	}
	last := &(*pages)[len(*pages)-1]
	if len(*last) > 0 && len(*last)+len(element) > pageBytes {
		*pages = append(*pages, nil)
		last = &(*pages)[len(*pages)-1]
	}
	*last = append(*last, element...)
}

func (p *pager) done() map[string][][]byte {
	out := make(map[string][][]byte, len(p.pages))
	for id, pages := range p.pages {
		out[id] = *pages
	}
	return out
}

// pageOf returns the page that token names; a token is a page's number.
func pageOf(pages [][]byte, token []byte) (data, next []byte, err error) {
	i := uint64(0)
	if len(token) > 0 {
		var n int
		if i, n = binary.Uvarint(token); n != len(token) || i >= uint64(len(pages)) {
			return nil, nil, fmt.Errorf("continuation token %x is not one we gave", token)
		}
	}
	if len(pages) == 0 {
		return nil, nil, nil
	}
	if i+1 < uint64(len(pages)) {
		next = binary.AppendUvarint(nil, i+1)
	}
	return pages[i], next, nil
}
