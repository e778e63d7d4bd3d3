package engine

import (
	"fmt"
	"slices"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/triggers"
)

// sdkWindows are a key's windows under a WindowFn that only its SDK can merge by. The
// SDK is asked once in a run, for all keys with windows that were not there before,
// and before any element is taken: elements then go to the windows that theirs are
// part of, one by one, as with others.
type sdkWindows struct {
	key []byte
	// active are the windows that have state, fresh those that this run has brought;
	// both encoded.
	active, fresh []string
	// target is what fresh windows have become, and active ones that have merged.
	target map[string]string
}

// sdkWindowsOf brings a key's active windows into memory.
func (r *triggerRun) sdkWindowsOf(key []byte) (*sdkWindows, error) {
	if kw := r.sdkKeys[string(key)]; kw != nil {
		return kw, nil
	}
	b, err := r.read.value(r.windowsCell(key))
	if err != nil {
		return nil, err
	}
	kw := &sdkWindows{key: slices.Clone(key)}
	for len(b) > 0 {
		n, err := r.merger.window.Next(b)
		if err != nil {
			return nil, fmt.Errorf("grouping: active windows of a key: %w", err)
		}
		kw.active = append(kw.active, string(b[:n]))
		b = b[n:]
	}
	r.sdkKeys[string(key)] = kw
	r.sdkOrder = append(r.sdkOrder, kw)
	return kw, nil
}

// mergeAhead merges the windows of all elements of a run into those of their keys.
func (r *triggerRun) mergeAhead(blocks []core.Block) error {
	err := r.each(blocks, func(e *coders.Element, window []byte) error {
		if late, err := r.lateWindow(window); late || err != nil {
			return err
		}
		kw, err := r.sdkWindowsOf(e.Key)
		if err != nil || slices.Contains(kw.fresh, string(window)) {
			return err
		}
		if slices.Contains(kw.active, string(window)) {
			w, err := r.open(e.Key, window)
			if err != nil || !w.st.Closed() {
				return err
			}
		}
		kw.fresh = append(kw.fresh, string(window))
		return nil
	})
	if err != nil {
		return err
	}
	var asked []*sdkWindows
	var sets, open [][]string
	for _, kw := range r.sdkOrder {
		if len(kw.fresh) == 0 {
			continue
		}
		// Windows whose trigger has finished take no part: they only remember that.
		var o []string
		for _, a := range kw.active {
			w, err := r.open(kw.key, []byte(a))
			if err != nil {
				return err
			}
			if !w.st.Closed() {
				o = append(o, a)
			}
		}
		asked, open = append(asked, kw), append(open, o)
		sets = append(sets, slices.Concat(o, kw.fresh))
	}
	if len(asked) == 0 {
		return nil
	}
	merged, err := r.merger.merge(r.ctx, sets)
	if err != nil {
		return err
	}
	for i, kw := range asked {
		if err := r.applyMerge(kw, open[i], merged[i]); err != nil {
			return err
		}
	}
	return nil
}

// applyMerge moves a key's windows into those that the SDK has made of them.
func (r *triggerRun) applyMerge(kw *sdkWindows, open []string, into map[string]string) error {
	kw.target = make(map[string]string, len(kw.fresh))
	var targets []string
	for _, f := range kw.fresh {
		t, ok := into[f]
		if !ok {
			t = f
		}
		if kw.target[f] = t; !slices.Contains(targets, t) {
			targets = append(targets, t)
		}
	}
	// A merge that brings no element is one too: windows may touch by what is between.
	for _, a := range open {
		t, ok := into[a]
		if !ok || t == a {
			continue
		}
		if kw.target[a] = t; !slices.Contains(targets, t) {
			targets = append(targets, t)
		}
	}
	for _, t := range targets {
		w, err := r.open(kw.key, []byte(t))
		if err != nil {
			return err
		}
		var from []*openWindow
		for _, a := range open {
			if a == t || into[a] != t {
				continue
			}
			o, err := r.open(kw.key, []byte(a))
			if err != nil {
				return err
			}
			from = append(from, o)
			kw.active = slices.DeleteFunc(kw.active, func(s string) bool { return s == a })
		}
		if len(from) > 0 {
			if err := r.merge(w, from); err != nil {
				return err
			}
		}
		if !slices.Contains(kw.active, t) {
			kw.active = append(kw.active, t)
		}
	}
	return nil
}

// lateWindow says that elements of a window are late: see mergingElement.
func (r *triggerRun) lateWindow(window []byte) (bool, error) {
	end, err := r.merger.window.Max(window)
	return r.strategy.Late(triggers.Window{Max: end}, r.now), err
}

// sdkElement gives an element to the window that mergeAhead has found for its own.
func (r *triggerRun) sdkElement(e *coders.Element, window []byte) error {
	late, err := r.lateWindow(window)
	if err != nil {
		return err
	}
	if late {
		r.late++
		return nil
	}
	kw, err := r.sdkWindowsOf(e.Key)
	if err != nil {
		return err
	}
	target, moved := kw.target[string(window)]
	if !moved {
		target = string(window)
	}
	w, err := r.open(e.Key, []byte(target))
	if err != nil {
		return err
	}
	return r.add(w, e.Timestamp, e.Value)
}

// closeSDKWindows stages what has become of the touched keys' active windows.
func (r *triggerRun) closeSDKWindows() {
	for _, kw := range r.sdkOrder {
		var active []byte
		for _, a := range kw.active {
			if w := r.windows[string(windowKey(nil, []byte(a), kw.key))]; w == nil || w.st.Used() {
				active = append(active, a...)
			}
		}
		r.staged.setValue(r.windowsCell(kw.key), value{data: active})
	}
}
