package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/triggers"
)

// trigger groups a stage's input where panes fire before the input is complete. A
// key and window has a value in state (windowcell.go): what the strategy remembers, and
// what waits for its pane. What a run changes is staged, and applied by the core together
// with the panes that come out.
type trigger struct {
	strategy *triggers.Strategy
	grouper  *grouper
	// What is held has a timer for when a key's strategy wants to be asked again.
	*held
	// merger merges windows that only the SDK can merge; nil if there are none.
	merger *windowMerger
	// combiner merges accumulators that wait; nil if what is grouped are none.
	combiner *combiner
}

func compileTrigger(plan *graph.Plan, s *graph.Stage, g *grouper, shards int, mem *memory) (*trigger, error) {
	st, err := triggers.Compile(s.Input.Grouping.Strategy)
	if err != nil {
		return nil, fmt.Errorf("stage %s: grouping %s: %w", s.Name, s.Input.Grouping.Transform, err)
	}
	if s.Input.Grouping.QuietClosing {
		st = st.QuietClosing()
	}
	t := &trigger{strategy: st, grouper: g, held: newHeld(shards, mem)}
	if t.merger, err = compileMerger(plan, s); err != nil {
		return nil, err
	}
	if t.combiner, err = compileCombiner(plan, s); err != nil {
		return nil, err
	}
	for _, s := range t.state {
		if s.listed = !t.strategy.Merging() && t.merger == nil; s.listed {
			s.begin(0)
		}
	}
	return t, nil
}

// triggerRun is one run over one shard: it has the shard to itself.
type triggerRun struct {
	*trigger
	ctx    context.Context // of the run; for asking the SDK alone
	read   reader
	staged *layer
	timers *shardTimers
	now    triggers.Now
	due    []*timer

	// windows touched by this run, by id (window and key), in order of first touch.
	windows map[string]*openWindow
	order   []*openWindow
	id      []byte // scratch
	// shared are the timers that windows touched share or will share, by id.
	shared      map[string]*sharedTimer
	sharedOrder []*sharedTimer
	// keys are the active windows of the keys touched, if windows merge.
	keys     map[string]*keyWindows
	keyOrder []*keyWindows
	// sdkKeys are these for windows that the SDK merges.
	sdkKeys  map[string]*sdkWindows
	sdkOrder []*sdkWindows
	panes    *paneList
	late     int64
}

// openWindow is a key and window in memory for the time of a run.
type openWindow struct {
	id          string
	key, window []byte
	// cell is where its value is.
	cell string
	w    triggers.Window
	st   triggers.State
	// stored says that it had state. timers are those that it has.
	stored bool
	timers windowTimers
	// Values that wait: those in the buffer's cell below, unread, and those here.
	waiting  uint64
	count    uint64
	appended []byte
	// clear says that the buffer's cell has values that are to be dropped.
	clear bool
}

func (t *trigger) start(ctx context.Context, a core.GroupShard, store func() (statebackend.Reader, error)) *triggerRun {
	r := &triggerRun{
		trigger: t, ctx: ctx, staged: newLayer(0), timers: t.timers[a.Shard],
		now: triggers.Now{
			Watermark: a.Event, Output: a.Output, Processing: a.Processing,
			Synchronized: math.MinInt64,
		},
		windows: make(map[string]*openWindow),
		shared:  make(map[string]*sharedTimer),
		keys:    make(map[string]*keyWindows),
		sdkKeys: make(map[string]*sdkWindows),
		panes:   &paneList{},
	}
	r.now.Synchronized = r.now.Processing
	r.read = t.state[a.Shard].reader(store)
	r.due = r.timers.take(a.Event, a.Processing, math.MaxInt)
	return r
}

// run takes the shard's new elements and due timers and returns the panes that fire.
func (r *triggerRun) run(blocks []core.Block) ([]core.Block, error) {
	if r.merger != nil {
		if err := r.mergeAhead(blocks); err != nil {
			return nil, err
		}
	}
	if err := r.each(blocks, r.element); err != nil {
		return nil, err
	}
	if err := r.fetchDue(); err != nil {
		return nil, err
	}
	for _, t := range r.due {
		if isShared(t.id) {
			if err := r.openShared(t); err != nil {
				return nil, err
			}
			continue
		}
		key, window, err := splitWindowKey([]byte(t.id))
		if err != nil {
			return nil, err
		}
		w, err := r.open(key, window)
		if err != nil {
			return nil, err
		}
		if !w.stored {
			return nil, fmt.Errorf("grouping: a timer of a window without state: %w", statebackend.ErrCorrupt)
		}
		w.timers.due(t)
		switch {
		case r.merger != nil:
			_, err = r.sdkWindowsOf(key)
		case r.strategy.Merging():
			_, err = r.windowsOf(key)
		}
		if err != nil {
			return nil, err
		}
	}
	// Windows fire in order of their ends: what depends on a window behind another
	// sees them in that order.
	sort.SliceStable(r.order, func(i, j int) bool { return r.order[i].w.Max < r.order[j].w.Max })
	for _, w := range r.order {
		if err := r.decide(w); err != nil {
			return nil, err
		}
	}
	if r.combiner != nil {
		if err := r.combine(); err != nil {
			return nil, err
		}
	}
	for _, w := range r.order {
		r.planTimers(w)
		r.close(w)
	}
	r.closeWindows()
	r.closeSDKWindows()
	if err := r.findTimers(); err != nil {
		return nil, err
	}
	return r.panes.blocks(r.grouper.lim), nil
}

// fetchDue reads ahead what is due, if it is much.
func (r *triggerRun) fetchDue() error {
	if len(r.due) < fetchLeast {
		return nil
	}
	keys := make([]string, 0, len(r.due))
	for _, t := range r.due {
		if isShared(t.id) {
			continue
		}
		key, window, err := splitWindowKey([]byte(t.id))
		if err != nil {
			return err
		}
		keys = append(keys, r.cellOf(key, window, cellWindow))
	}
	slices.Sort(keys)
	return r.read.fetch(keys)
}

// each walks the elements, once for each of their windows.
func (r *triggerRun) each(blocks []core.Block, fn func(e *coders.Element, window []byte) error) error {
	var e coders.Element
	g := r.grouper
	for data, err := range render(blocks, nil) {
		if err != nil {
			return err
		}
		for len(data) > 0 {
			n, err := g.scan.Next(data, &e)
			if err != nil {
				return err
			}
			data = data[n:]
			windows := e.Windows
			for range e.NumWindows {
				wn, err := g.scan.NextWindow(windows)
				if err != nil {
					return err
				}
				if err := fn(&e, windows[:wn]); err != nil {
					return err
				}
				windows = windows[wn:]
			}
		}
	}
	return nil
}

// open brings a key and window into memory.
func (r *triggerRun) open(key, window []byte) (*openWindow, error) {
	r.id = windowKey(r.id[:0], window, key)
	if w := r.windows[string(r.id)]; w != nil {
		return w, nil
	}
	maybe := r.timers.windows.may(r.id)
	w, err := r.newWindow(key, window, r.cellOf(key, window, cellWindow))
	if err != nil {
		return nil, err
	}
	if maybe {
		data, err := r.read.value(w.cell)
		if err != nil {
			return nil, err
		}
		if len(data) > 0 {
			if err := r.readWindow(w, data); err != nil {
				return nil, err
			}
		}
	}
	r.touch(w)
	return w, nil
}

// newWindow makes a window whose id is in r.id.
func (r *triggerRun) newWindow(key, window []byte, cell string) (*openWindow, error) {
	end, err := r.grouper.scan.WindowMax(window)
	if err != nil {
		return nil, err
	}
	return &openWindow{id: string(r.id), key: slices.Clone(key), window: slices.Clone(window), cell: cell, w: triggers.Window{Max: end}}, nil
}

// touch has the window be part of the run.
func (r *triggerRun) touch(w *openWindow) {
	if r.windows[w.id] == nil {
		r.windows[w.id] = w
		r.order = append(r.order, w)
	}
}

func (r *triggerRun) element(e *coders.Element, window []byte) error {
	switch {
	case r.merger != nil:
		return r.sdkElement(e, window)
	case r.strategy.Merging():
		return r.mergingElement(e, window)
	}
	w, err := r.open(e.Key, window)
	if err != nil {
		return err
	}
	return r.add(w, e.Timestamp, e.Value)
}

// add gives one value to a window.
func (r *triggerRun) add(w *openWindow, ts int64, value []byte) error {
	if r.strategy.Late(w.w, r.now) || !r.strategy.Element(&w.st, w.w, ts, r.now) {
		r.late++
		return nil
	}
	w.appended = append(w.appended, value...)
	w.count++
	if r.strategy.PerElement() {
		return r.decide(w)
	}
	return nil
}

// decide fires the panes that are due.
func (r *triggerRun) decide(w *openWindow) error {
	for {
		out := r.strategy.Decide(&w.st, w.w, r.now)
		if out.Fire {
			count, values, err := r.buffered(w)
			if err != nil {
				return err
			}
			r.panes.add(w.key, w.window, out, count, values)
		}
		if out.Discard {
			w.drop()
		}
		if out.Expired {
			w.drop()
		}
		if !out.Fire || out.Expired {
			return nil
		}
	}
}

func (r *triggerRun) changes() (*layer, int64) { return r.staged, r.late }

// splitWindowKey takes apart the id of a trigger's timer.
func splitWindowKey(id []byte) (key, window []byte, err error) {
	n, w := binary.Uvarint(id)
	if w <= 0 || n > uint64(len(id)-w) || len(id) == 0 {
		return nil, nil, fmt.Errorf("grouping: timer %x: %w", id, statebackend.ErrCorrupt)
	}
	return id[w+int(n) : len(id)-1], id[w : w+int(n)], nil
}
