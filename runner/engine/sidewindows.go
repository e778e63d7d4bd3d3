package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
)

// sideWindows are the windows of a side input that never ends: which of them a window
// of the main input wants, and which of them nobody wants any more.
//
// A window goes when no element that may still come can want it. How far main windows
// look back only the SDK's mapping knows; what is seen of it so far stands for
// it: a window is kept as long as one more main window, as far behind as the farthest,
// could look it up. Elements of main windows that are over, lateness included, are
// dropped.
type sideWindows struct {
	plan *graph.SideWindows
	// main and side windows' coders; out is the answers'.
	side *coders.WindowCoder
	out  *coders.Windowed
	ask  asker
	// latest is the plan's.
	latest bool

	mapMu sync.Mutex
	// mapped are the side input's windows of main ones.
	mapped map[string]sideWindow
	// ends are the windows that have something in them, and their ends (ms).
	ends map[string]int64
	// lookback is the greatest distance so far from a main window's end back to its
	// side window's, gone the end of the last window that was dropped (ms).
	lookback, gone int64
	swept          int64
}

// sideWindow is a window and its last moment (ms).
type sideWindow struct {
	window string
	max    int64
}

func newSideWindows(plan *graph.Plan, w *graph.SideWindows) (*sideWindows, error) {
	s := &sideWindows{
		plan: w, latest: w.Latest, mapped: make(map[string]sideWindow), ends: make(map[string]int64),
		gone: core.MinTime, swept: core.MinTime,
	}
	var err error
	if s.side, err = coders.CompileWindow(plan.Coders, w.WindowCoder); err != nil {
		return nil, fmt.Errorf("window: %w", err)
	}
	if w.Mapping == nil {
		return s, nil
	}
	if s.out, err = coders.CompileWindowed(plan.Coders, w.Mapping.OutputCoder); err != nil {
		return nil, fmt.Errorf("mapping windows: %w", err)
	}
	return s, nil
}

// of returns the side input's windows of main windows; ends are the last moments of those.
func (s *sideWindows) of(ctx context.Context, mains []string, ends []int64) ([]sideWindow, error) {
	out := make([]sideWindow, len(mains))
	if s.plan.Mapping == nil {
		for i := range out {
			out[i].max = coders.GlobalWindowMaxTimestamp
		}
		return out, nil
	}
	var unknown []int
	s.mapMu.Lock()
	for i, w := range mains {
		var ok bool
		if out[i], ok = s.mapped[w]; !ok {
			unknown = append(unknown, i)
		}
	}
	s.mapMu.Unlock()
	if len(unknown) == 0 {
		return out, nil
	}
	var in []byte
	for n, i := range unknown {
		nonce := binary.AppendUvarint(nil, uint64(n))
		in = coders.AppendHeader(in, coders.MinTimestamp, nil, 1, []byte{coders.PaneNoFiring})
		in = append(append(coders.AppendLength(in, len(nonce)), nonce...), mains[i]...)
	}
	data, err := s.ask(ctx, s.plan.Mapping, in, int64(len(unknown)))
	if err != nil {
		return nil, fmt.Errorf("mapping windows: %w", err)
	}
	answers, err := s.read(data, len(unknown))
	if err != nil {
		return nil, fmt.Errorf("mapping windows: the SDK's answer: %w", err)
	}
	s.mapMu.Lock()
	defer s.mapMu.Unlock()
	for n, i := range unknown {
		out[i] = answers[n]
		s.mapped[mains[i]] = answers[n]
		s.lookback = max(s.lookback, ends[i]-answers[n].max)
	}
	return out, nil
}

// read takes the answers to n questions apart.
func (s *sideWindows) read(data []byte, n int) ([]sideWindow, error) {
	out := make([]sideWindow, n)
	seen := make([]bool, n)
	answers := 0
	var e coders.Element
	for len(data) > 0 {
		k, err := s.out.Next(data, &e)
		if err != nil {
			return nil, err
		}
		data = data[k:]
		_, skip, err := coders.ReadVarint(e.Key) // the nonce's length
		if err != nil {
			return nil, err
		}
		i, k := binary.Uvarint(e.Key[skip:])
		if k <= 0 || i >= uint64(n) || seen[i] {
			return nil, fmt.Errorf("to a question that was not asked (%x)", e.Key)
		}
		seen[i] = true
		end, err := s.side.Max(e.Value)
		if err != nil {
			return nil, err
		}
		out[i] = sideWindow{string(e.Value), end}
		answers++
	}
	if answers != n {
		return nil, fmt.Errorf("%d answers to %d questions", answers, n)
	}
	return out, nil
}

// opened notes that something has come into a window.
func (s *sideWindows) opened(window []byte) error {
	end, err := s.side.Max(window)
	if err != nil {
		return err
	}
	s.mapMu.Lock()
	defer s.mapMu.Unlock()
	s.ends[string(window)] = end
	return nil
}

// checkLive returns an error for a window that was dropped too early.
func (s *sideWindows) checkLive(in *sideInput, window []byte) error {
	s.mapMu.Lock()
	defer s.mapMu.Unlock()
	if _, ok := s.ends[string(window)]; ok || s.gone == core.MinTime {
		return nil
	}
	end, err := s.side.Max(window)
	if err == nil && end <= s.gone {
		err = fmt.Errorf("its window %x is dropped already: the window mapping looks back farther than it did before", window)
	}
	return err
}

// sweepEvery is how far (ms) time goes on before windows are looked through again.
const sweepEvery = 1000

// sweep drops the windows that nobody wants any more at an event time of the main
// input.
func (s *sideInput) sweep(event int64) {
	w := s.windows
	w.mapMu.Lock()
	if w.plan.Mapping == nil || event < w.swept+sweepEvery {
		w.mapMu.Unlock()
		return
	}
	w.swept = event
	limit := event - w.plan.AllowedLateness - w.lookback
	var over []string
	for window, end := range w.ends {
		if end < limit {
			over = append(over, window)
			delete(w.ends, window)
			w.gone = max(w.gone, end)
		}
	}
	for window, to := range w.mapped {
		if to.max < limit {
			delete(w.mapped, window)
		}
	}
	w.mapMu.Unlock()
	if len(over) == 0 {
		return
	}
	s.indexMu.Lock()
	defer s.indexMu.Unlock()
	x, _ := s.index.(*memIndex)
	if x == nil {
		return
	}
	before := x.bytes
	for _, window := range over {
		x.forget(window)
	}
	s.keep.count(memSides, x.bytes-before)
}
