package engine

import (
	"encoding/binary"
	"fmt"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
)

// dropExpired takes elements out of windows that have expired: gone says how many elements
// are left with none, late out of how many windows elements were taken. Such come late, so
// a block that holds the watermark where it is or later has none.
func (r *stageRun) dropExpired(blocks []core.Block, now int64) (kept []core.Block, gone, late int64, err error) {
	var e coders.Element
	for _, b := range blocks {
		data, ok := b.Payload, b.Hold < now
		if _, group := data.(*groupChunk); group || !ok {
			kept = append(kept, b)
			continue
		}
		if _, group := data.(*hotGroup); group {
			kept = append(kept, b)
			continue
		}
		all, err := payloadBytes(b.Payload)
		if err != nil {
			return nil, 0, 0, err
		}
		var rest, open []byte
		count, dropped := int64(0), int64(0)
		for len(all) > 0 {
			n, err := r.input.Next(all, &e)
			if err != nil {
				return nil, 0, 0, fmt.Errorf("%w: %w", errCoder, err)
			}
			windows := 0
			open = open[:0]
			err = r.eachWindow(&e, func(window []byte) error {
				_, due, err := r.expiryOf(window)
				if due > now {
					windows++
					open = append(open, window...)
				}
				return err
			})
			if err != nil {
				return nil, 0, 0, err
			}
			switch {
			case windows == e.NumWindows:
				rest = append(rest, all[:n]...)
			case windows > 0:
				rest = coders.AppendHeader(rest, e.Timestamp, open, windows, e.Pane)
				rest = append(append(rest, e.Key...), e.Value...)
			}
			if windows > 0 {
				count++
			}
			dropped += int64(e.NumWindows - windows)
			all = all[n:]
		}
		if dropped == 0 {
			kept = append(kept, b)
			continue
		}
		gone, late = gone+b.Count-count, late+dropped
		if count > 0 {
			kept = append(kept, core.Block{Count: count, Bytes: int64(len(rest)), Hold: b.Hold, Payload: rest})
		}
	}
	return kept, gone, late, nil
}

func (r *stageRun) eachWindow(e *coders.Element, f func(window []byte) error) error {
	windows := e.Windows
	for range e.NumWindows {
		n, err := r.elements().NextWindow(windows)
		if err != nil {
			return fmt.Errorf("%w: window: %w", errCoder, err)
		}
		if err := f(windows[:n]); err != nil {
			return err
		}
		windows = windows[n:]
	}
	return nil
}

// cellOwner returns the window and key of a cell, whose key cellKey has made.
func cellOwner(cell string) (window, key string) {
	window, cell = cutPart(cell[4:])
	key, _ = cutPart(cell)
	return window, key
}

// cutPart takes off what appendPart has put in front. It is ours, and whole.
func cutPart(s string) (part, rest string) {
	var head [binary.MaxVarintLen64]byte
	n, w := binary.Uvarint(head[:copy(head[:], s)])
	return s[w : w+int(n)], s[w+int(n):]
}
