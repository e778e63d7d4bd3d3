package engine

import (
	"fmt"
	"slices"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/triggers"
)

// keyWindows are a key's active windows under a merging WindowFn: those that have
// state. They are kept in a cell of their own, since an element's window says
// nothing about the windows it merges with.
type keyWindows struct {
	key    []byte
	active []coders.IntervalWindow
}

const cellWindows = "windows"

func (r *triggerRun) windowsCell(key []byte) string {
	return string(cellKey(nil, keyGroup(keyHash(key)), r.slot, nil, key, cellWindows))
}

// windowsOf brings a key's active windows into memory.
func (r *triggerRun) windowsOf(key []byte) (*keyWindows, error) {
	if kw := r.keys[string(key)]; kw != nil {
		return kw, nil
	}
	b, err := r.read.value(r.windowsCell(key))
	if err != nil {
		return nil, err
	}
	kw := &keyWindows{key: slices.Clone(key)}
	for len(b) > 0 {
		w, n, err := coders.ReadIntervalWindow(b)
		if err != nil {
			return nil, fmt.Errorf("grouping: active windows of a key: %w", err)
		}
		kw.active = append(kw.active, w)
		b = b[n:]
	}
	r.keys[string(key)] = kw
	r.keyOrder = append(r.keyOrder, kw)
	return kw, nil
}

// mergingElement gives an element to the window that its own merges into.
//
// An element is late by its own window, before that merges: as LateDataDroppingDoFnRunner
// in the Java SDK's runner library has it, which drops ahead of ReduceFnRunner. So whether
// an element is late doesn't depend on which others have come before it.
func (r *triggerRun) mergingElement(e *coders.Element, window []byte) error {
	own, _, err := coders.ReadIntervalWindow(window)
	if err != nil {
		return err
	}
	if r.strategy.Late(triggers.Window{Max: own.Max()}, r.now) {
		r.late++
		return nil
	}
	kw, err := r.windowsOf(e.Key)
	if err != nil {
		return err
	}
	// Windows whose trigger has finished take no part: they only remember that.
	var open []coders.IntervalWindow
	for _, iv := range kw.active {
		w, err := r.open(e.Key, coders.AppendIntervalWindow(nil, iv))
		if err != nil {
			return err
		}
		if !w.st.Closed() {
			open = append(open, iv)
		}
	}
	merged, into := triggers.MergeIntervals(append(open, own))
	target := merged[into[len(open)]]
	t, err := r.open(e.Key, coders.AppendIntervalWindow(nil, target))
	if err != nil {
		return err
	}
	var from []*openWindow
	for i, iv := range open {
		if into[i] == into[len(open)] && iv != target {
			w, err := r.open(e.Key, coders.AppendIntervalWindow(nil, iv))
			if err != nil {
				return err
			}
			from = append(from, w)
		}
	}
	if len(from) > 0 {
		if err := r.merge(t, from); err != nil {
			return err
		}
	}
	kw.active = slices.DeleteFunc(kw.active, func(iv coders.IntervalWindow) bool {
		i := slices.Index(open, iv)
		return i >= 0 && into[i] == into[len(open)]
	})
	if !slices.Contains(kw.active, target) {
		kw.active = append(kw.active, target)
	}
	return r.add(t, e.Timestamp, e.Value)
}

// merge moves the windows from, values and all, into t.
func (r *triggerRun) merge(t *openWindow, from []*openWindow) error {
	if _, _, err := r.buffered(t); err != nil {
		return err
	}
	states := make([]*triggers.State, 0, len(from))
	for _, w := range from {
		count, values, err := r.buffered(w)
		if err != nil {
			return err
		}
		t.appended = append(t.appended, values...)
		t.count += count
		w.drop()
		states = append(states, &w.st)
	}
	r.strategy.Merge(&t.st, states, t.w, r.now)
	return nil
}

// closeWindows stages what has become of the touched keys' active windows.
func (r *triggerRun) closeWindows() {
	for _, kw := range r.keyOrder {
		var active []byte
		for _, iv := range kw.active {
			window := coders.AppendIntervalWindow(nil, iv)
			if w := r.windows[string(windowKey(nil, window, kw.key))]; w == nil || w.st.Used() {
				active = append(active, window...)
			}
		}
		r.staged.setValue(r.windowsCell(kw.key), value{data: active})
	}
}
