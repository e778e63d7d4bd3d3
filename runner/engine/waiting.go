package engine

import (
	"context"
	"fmt"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
)

// sideWaits looks through the input of a bundle whose stage waits for side inputs by
// window. It returns nil if all of it can run.
type sideWaits struct {
	stage *stageRun
	run   *core.RunBundle
	// windows are the main windows met so far.
	windows map[string]*mainWindow
	late    int64
}

// mainWindow is a window of the main input.
type mainWindow struct {
	id  string
	max int64
	// over says that it has expired; waits is what its elements wait for.
	over  bool
	waits []core.SideWait
}

// waits cuts a bundle's input into what can run and what must wait, and says how many
// elements were dropped since their windows have expired. Without the latter two
// parts it returns nil.
func (r *stageRun) waits(ctx context.Context, a *core.RunBundle) (ev *core.BundleWaits, late int64, err error) {
	w := &sideWaits{stage: r, run: a, windows: make(map[string]*mainWindow)}
	if err := w.collect(); err != nil {
		return nil, 0, err
	}
	busy, err := w.judge(ctx)
	if err != nil || !busy {
		return nil, 0, err
	}
	ev = &core.BundleWaits{Bundle: a.Bundle}
	for i := range a.Blocks {
		if err := w.cut(ev, &a.Blocks[i]); err != nil {
			return nil, 0, err
		}
	}
	if len(ev.Waiting) == 0 && w.late == 0 {
		return nil, 0, nil
	}
	return ev, w.late, nil
}

// eachWindow walks the windows of an element of a block.
func (w *sideWaits) eachWindow(e *coders.Element, fn func(window []byte)) error {
	scan := w.stage.elements()
	windows := e.Windows
	for range e.NumWindows {
		n, err := scan.NextWindow(windows)
		if err != nil {
			return fmt.Errorf("%w: window: %w", errCoder, err)
		}
		fn(windows[:n])
		windows = windows[n:]
	}
	return nil
}

func (w *sideWaits) note(window []byte) {
	if w.windows[string(window)] == nil {
		id := string(window)
		w.windows[id] = &mainWindow{id: id}
	}
}

// groupWindows returns the windows of a payload that is groups.
func (w *sideWaits) groupWindows(p any) (windows [][]byte, groups bool, err error) {
	switch p := p.(type) {
	case *groupChunk:
		for i := p.from; i < p.to; i++ {
			windows = append(windows, p.of.groups[i].window)
		}
		return windows, true, nil
	case *hotGroup:
		// Behind the timestamp and the count of windows, which is 1.
		rest := p.header[min(12, len(p.header)):]
		n, err := w.stage.elements().NextWindow(rest)
		if err != nil {
			return nil, true, fmt.Errorf("%w: window: %w", errCoder, err)
		}
		return [][]byte{rest[:n]}, true, nil
	}
	return nil, false, nil
}

// collect finds the windows of all the input.
func (w *sideWaits) collect() error {
	var e coders.Element
	for i := range w.run.Blocks {
		windows, groups, err := w.groupWindows(w.run.Blocks[i].Payload)
		if err != nil {
			return err
		}
		for _, g := range windows {
			w.note(g)
		}
		if groups {
			continue
		}
		data, err := payloadBytes(w.run.Blocks[i].Payload)
		if err != nil {
			return err
		}
		for len(data) > 0 {
			n, err := w.stage.elements().Next(data, &e)
			if err != nil {
				return fmt.Errorf("%w: %w", errCoder, err)
			}
			if err := w.eachWindow(&e, w.note); err != nil {
				return err
			}
			data = data[n:]
		}
	}
	return nil
}

// judge finds what the windows wait for. busy says that one of them waits or is over.
func (w *sideWaits) judge(ctx context.Context) (busy bool, err error) {
	var all []*mainWindow
	var mains []string
	var ends []int64
	for id, m := range w.windows {
		if m.max, err = w.stage.elements().WindowMax([]byte(id)); err != nil {
			return false, fmt.Errorf("%w: window: %w", errCoder, err)
		}
		all, mains, ends = append(all, m), append(mains, id), append(ends, m.max)
	}
	for j, side := range w.stage.sideList {
		if side.windows == nil {
			continue
		}
		of, err := side.windows.of(ctx, mains, ends)
		if err != nil {
			return false, fmt.Errorf("%s: %w", side.name, err)
		}
		for i, m := range all {
			if m.max < core.MaxTime-side.windows.plan.AllowedLateness && m.max+side.windows.plan.AllowedLateness < w.run.Event {
				m.over, busy = true, true
				continue
			}
			if w.run.Sides[j] > of[i].max {
				continue
			}
			if side.windows.plan.Triggered {
				ok, err := side.has(ctx, of[i].window)
				if err != nil {
					return false, err
				}
				if ok {
					continue
				}
			}
			m.waits = append(m.waits, core.SideWait{SideInput: j, Until: of[i].max, Any: side.windows.plan.Triggered})
			busy = true
		}
	}
	return busy, nil
}

// cut puts a block's elements where they belong: elements that follow one another
// and wait for the same stay together. One of whose windows some are over is written anew,
// without them: what side inputs had for them may be gone.
func (w *sideWaits) cut(ev *core.BundleWaits, b *core.Block) error {
	windows, groups, err := w.groupWindows(b.Payload)
	if err != nil {
		return err
	}
	if groups {
		// Groups share their memory; all of a block waits for what one of them does.
		fate := &fate{}
		for _, g := range windows {
			fate.add(w.windows[string(g)])
		}
		fate.over = false
		fate.put(ev, *b)
		return nil
	}
	data, err := payloadBytes(b.Payload)
	if err != nil {
		return err
	}
	var e coders.Element
	var open *fate
	from, off := 0, 0
	part := core.Block{}
	flush := func() {
		switch {
		case open == nil:
		case open.over:
		case from == 0 && off == len(data):
			open.put(ev, *b) // as it was
		default:
			part.Bytes, part.Payload = int64(off-from), data[from:off:off]
			open.put(ev, part)
		}
		from, part = off, core.Block{Hold: core.MaxTime}
	}
	for off < len(data) {
		n, err := w.stage.elements().Next(data[off:], &e)
		if err != nil {
			return fmt.Errorf("%w: %w", errCoder, err)
		}
		next := &fate{over: true}
		left, windows := 0, []byte(nil)
		if err := w.eachWindow(&e, func(id []byte) {
			m := w.windows[string(id)]
			if next.add(m); !m.over {
				left++
				windows = append(windows, id...)
			}
		}); err != nil {
			return err
		}
		w.late += int64(e.NumWindows - left)
		if 0 < left && left < e.NumWindows {
			flush()
			data := coders.AppendHeader(nil, e.Timestamp, windows, left, e.Pane)
			data = append(append(data, e.Key...), e.Value...)
			one := core.Block{Count: 1, Bytes: int64(len(data)), Hold: max(b.Hold, e.Timestamp), Payload: data}
			if w.stage.plan.Splittable {
				one.Hold = b.Hold
			}
			next.put(ev, one)
			off += n
			open, from = nil, off
			continue
		}
		if open == nil || !open.same(next) {
			flush()
			open = next
		}
		// The block's hold may be earlier than its elements: a restriction's estimate.
		part.Count++
		part.Hold = min(part.Hold, max(b.Hold, e.Timestamp))
		if w.stage.plan.Splittable {
			part.Hold = b.Hold
		}
		off += n
	}
	flush()
	return nil
}

// fate is what becomes of an element.
type fate struct {
	over  bool // of all its windows
	waits []core.SideWait
}

func (f *fate) add(m *mainWindow) {
	if m.over {
		return
	}
	f.over = false
	for _, n := range m.waits {
		known := false
		for i := range f.waits {
			if f.waits[i].SideInput == n.SideInput {
				known = true
				f.waits[i].Until = max(f.waits[i].Until, n.Until)
			}
		}
		if !known {
			f.waits = append(f.waits, n)
		}
	}
}

// recut puts new blocks on the books, and returns those that they were made of.
func (k *keeper) recut(claim []core.Block, ev *core.BundleWaits) []core.Block {
	same := make(map[any]bool)
	place := func(b *core.Block) {
		if _, fresh := b.Payload.([]byte); fresh {
			k.hold(b)
		} else {
			same[identity(b.Payload)] = true
		}
	}
	for i := range ev.Ready {
		place(&ev.Ready[i])
	}
	for i := range ev.Waiting {
		place(&ev.Waiting[i].Block)
	}
	var gone []core.Block
	for _, b := range claim {
		if !same[identity(b.Payload)] {
			gone = append(gone, b)
		}
	}
	return gone
}

// identity tells payloads apart: two of bytes are the same if they share them.
func identity(p any) any {
	if data, ok := p.(inMemory); ok && len(data) > 0 {
		return &data[0]
	}
	return p
}

func (f *fate) same(g *fate) bool {
	if f.over != g.over || len(f.waits) != len(g.waits) {
		return false
	}
	for i := range f.waits {
		if f.waits[i] != g.waits[i] {
			return false
		}
	}
	return true
}

func (f *fate) put(ev *core.BundleWaits, b core.Block) {
	if len(f.waits) == 0 {
		ev.Ready = append(ev.Ready, b)
		return
	}
	ev.Waiting = append(ev.Waiting, core.Waiting{Block: b, For: f.waits})
}
