package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
)

// sideInput holds one side input of one stage. Elements come as blocks, which are
// indexed by the lookup that follows; every bundle reads the same pages. A side input
// that is too large for memory is indexed on disk.
//
// One that may never end (windows is not nil) is looked up while more comes in. What is in a
// window only grows, and a page that another follows never changes, so an iteration sees
// the window as it was when it came to the last page.
type sideInput struct {
	name    string // for errors
	stage   int
	keep    *keeper
	scan    *coders.Windowed
	byKey   bool // a multimap
	windows *sideWindows

	sealed chan struct{} // of one that ends
	// building has something in it while an index is made. It is no lock, so that nobody's
	// bundle waits for it beyond its own end.
	building chan struct{}

	indexMu sync.RWMutex
	pending []core.Block // not indexed yet
	index   sideIndex
	err     error // of indexing: it would come again
}

// sideIndex serves lookups. A nil token asks for the first page.
type sideIndex interface {
	// values are a window's elements, or those of a key of it.
	values(window, key, token []byte) (data, next []byte, err error)
	// keys are a window's keys, each once.
	keys(window, token []byte) (data, next []byte, err error)
}

// pageBytes is about the size of an answer to one state request.
const pageBytes = 1 << 20

func newSideInput(plan *graph.Plan, s *graph.Stage, in *graph.SideInput, keep *keeper) (*sideInput, error) {
	side := &sideInput{
		name:  fmt.Sprintf("stage %s: side input %s of %s", s.Name, in.Local, in.Transform),
		stage: s.Index, keep: keep,
		byKey:  in.Pattern == urnMultimapSide,
		sealed: make(chan struct{}), building: make(chan struct{}, 1),
	}
	var err error
	if side.scan, err = coders.CompileWindowed(plan.Coders, in.Coder); err != nil {
		return nil, fmt.Errorf("%s: %w", side.name, err)
	}
	if side.byKey && !side.scan.Keyed() {
		return nil, fmt.Errorf("%s: %w", side.name, errNotKV)
	}
	if in.Windows != nil {
		if side.windows, err = newSideWindows(plan, in.Windows); err != nil {
			return nil, fmt.Errorf("%s: %w", side.name, err)
		}
		close(side.sealed) // nobody waits for all of it
	}
	return side, nil
}

const urnMultimapSide = "beam:side_input:multimap:v1"

// add takes a block in. The loop calls it.
func (s *sideInput) add(b core.Block) {
	s.indexMu.Lock()
	defer s.indexMu.Unlock()
	s.pending = append(s.pending, b)
}

// seal says that all blocks of a side input that ends are in. The loop calls it.
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

var (
	errNotKV    = errors.New("it is not a collection of KVs, so it can't be looked up by key")
	errNotByKey = errors.New("its access pattern is not that of a multimap, yet it is looked up by key")
)

// ready indexes what has come since the last lookup.
func (s *sideInput) ready(ctx context.Context) error {
	if done, err := s.isReady(); done || err != nil {
		return err
	}
	select {
	case s.building <- struct{}{}:
		defer func() { <-s.building }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if done, err := s.isReady(); done || err != nil {
		return err
	}
	err := s.build()
	if err != nil {
		err = fmt.Errorf("%s: %w", s.name, err)
		s.indexMu.Lock()
		defer s.indexMu.Unlock()
		s.err = err
	}
	return err
}

func (s *sideInput) isReady() (bool, error) {
	s.indexMu.RLock()
	defer s.indexMu.RUnlock()
	return len(s.pending) == 0 && s.index != nil, s.err
}

// build puts pending blocks into the index. The caller has building.
func (s *sideInput) build() error {
	s.indexMu.RLock()
	whole := s.windows == nil && s.index == nil && s.keep != nil && s.keep.large(s.pending)
	s.indexMu.RUnlock()
	if !whole {
		return s.addToMemory()
	}
	// Without the lock, since it may wait for room on the disk. Nothing comes any more.
	disk, err := buildDiskIndex(s, s.pending)
	if err != nil {
		return err
	}
	s.indexMu.Lock()
	defer s.indexMu.Unlock()
	s.index = disk
	s.indexed()
	return nil
}

// addToMemory puts pending blocks into an index in memory.
func (s *sideInput) addToMemory() error {
	s.indexMu.Lock()
	defer s.indexMu.Unlock()
	mem, _ := s.index.(*memIndex)
	if mem == nil {
		mem = newMemIndex()
		s.index = mem
	}
	before := mem.bytes
	err := mem.add(s, s.pending)
	s.keep.count(memSides, mem.bytes-before)
	if err == nil {
		s.indexed()
	}
	return err
}

func (s *sideInput) indexed() {
	s.keep.drop(s.pending)
	s.pending = nil
}

// large says that blocks take more than a quarter of the budget.
func (k *keeper) large(blocks []core.Block) bool {
	var n int64
	for i := range blocks {
		n += blocks[i].Bytes
	}
	return n > k.mem.share(4, 0, 1<<62)
}

// lookup returns a page of the window's elements.
func (s *sideInput) lookup(ctx context.Context, window, token []byte) (data, next []byte, err error) {
	return s.look(ctx, window, func() (data, next []byte, err error) { return s.index.values(window, nil, token) })
}

// lookupKey returns a page of a key's values in the window.
func (s *sideInput) lookupKey(ctx context.Context, window, key, token []byte) (data, next []byte, err error) {
	if !s.byKey {
		return nil, nil, fmt.Errorf("%s: %w", s.name, errNotByKey)
	}
	return s.look(ctx, window, func() (data, next []byte, err error) { return s.index.values(window, key, token) })
}

// lookupKeys returns a page of the window's distinct keys.
func (s *sideInput) lookupKeys(ctx context.Context, window, token []byte) (data, next []byte, err error) {
	if !s.byKey {
		return nil, nil, fmt.Errorf("%s: %w", s.name, errNotByKey)
	}
	return s.look(ctx, window, func() (data, next []byte, err error) { return s.index.keys(window, token) })
}

func (s *sideInput) look(ctx context.Context, window []byte, in func() (data, next []byte, err error)) (data, next []byte, err error) {
	if err := s.wait(ctx); err != nil {
		return nil, nil, err
	}
	if err := s.ready(ctx); err != nil {
		return nil, nil, err
	}
	s.indexMu.RLock()
	defer s.indexMu.RUnlock()
	if s.windows != nil {
		if err := s.windows.checkLive(s, window); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	data, next, err = in()
	if err != nil {
		err = fmt.Errorf("%s: %w", s.name, err)
	}
	return data, next, err
}

// has says that something is in the window.
func (s *sideInput) has(ctx context.Context, window string) (bool, error) {
	if err := s.ready(ctx); err != nil {
		return false, err
	}
	s.indexMu.RLock()
	defer s.indexMu.RUnlock()
	return s.index.(*memIndex).windows[window] != nil, nil
}

// each walks the elements of blocks, window by window. whole is the element without
// its header.
func (s *sideInput) each(blocks []core.Block, fn func(window, whole []byte, e *coders.Element) error) error {
	var e coders.Element
	for _, b := range blocks {
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
				if err := fn(windows[:wn], data[off+n-len(e.Key)-len(e.Value):off+n], &e); err != nil {
					return err
				}
				windows = windows[wn:]
			}
			off += n
		}
	}
	return nil
}
