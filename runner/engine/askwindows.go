package engine

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/graph"
)

// windowMerger asks the SDK what becomes of windows whose WindowFn is its own. The
// answer is part of a grouping.
type windowMerger struct {
	plan   *graph.Question
	window *coders.WindowCoder
	out    *coders.Windowed
	ask    asker
}

func compileMerger(plan *graph.Plan, s *graph.Stage) (*windowMerger, error) {
	g := s.Input.Grouping
	if g.Merging == nil {
		return nil, nil
	}
	m := &windowMerger{plan: g.Merging}
	var err error
	if m.window, err = coders.CompileWindow(plan.Coders, g.WindowCoder); err != nil {
		return nil, fmt.Errorf("stage %s: merging windows: %w", s.Name, err)
	}
	if m.out, err = coders.CompileWindowed(plan.Coders, g.Merging.OutputCoder); err != nil {
		return nil, fmt.Errorf("stage %s: merging windows: %w", s.Name, err)
	}
	return m, nil
}

// merge says for each set of windows what they become: merged[i][w] is the window
// that w of sets[i] is part of from now on, w itself if it is not there.
func (m *windowMerger) merge(ctx context.Context, sets [][]string) (merged []map[string]string, err error) {
	var in []byte
	for i, set := range sets {
		nonce := binary.AppendUvarint(nil, uint64(i))
		in = coders.AppendHeader(in, coders.MinTimestamp, nil, 1, nil)
		in = append(coders.AppendLength(in, len(nonce)), nonce...)
		in = binary.BigEndian.AppendUint32(in, uint32(len(set)))
		for _, w := range set {
			in = append(in, w...)
		}
	}
	data, err := m.ask(ctx, m.plan, in, int64(len(sets)))
	if err != nil {
		return nil, fmt.Errorf("merging windows: %w", err)
	}
	merged = make([]map[string]string, len(sets))
	answers := 0
	var e coders.Element
	for len(data) > 0 {
		n, err := m.out.Next(data, &e)
		if err != nil {
			return nil, fmt.Errorf("merging windows: the SDK's answer: %w", err)
		}
		data = data[n:]
		_, skip, err := coders.ReadVarint(e.Key) // the nonce's length
		if err != nil {
			return nil, fmt.Errorf("merging windows: the SDK's answer: %w", err)
		}
		i, k := binary.Uvarint(e.Key[skip:])
		if k <= 0 || i >= uint64(len(sets)) || merged[i] != nil {
			return nil, fmt.Errorf("merging windows: the SDK answers a question that was not asked (%x)", e.Key)
		}
		if merged[i], err = m.read(e.Value); err != nil {
			return nil, fmt.Errorf("merging windows: the SDK's answer: %w", err)
		}
		answers++
	}
	if answers != len(sets) {
		return nil, fmt.Errorf("merging windows: the SDK gave %d answers to %d questions", answers, len(sets))
	}
	return merged, nil
}

// read takes apart an answer: the windows that stay, then the merged ones, each
// with those that became part of it.
func (m *windowMerger) read(b []byte) (map[string]string, error) {
	into := make(map[string]string)
	b, err := eachItem(b, func(b []byte) (int, error) { return m.window.Next(b) })
	if err != nil {
		return nil, err
	}
	_, err = eachItem(b, func(b []byte) (int, error) {
		n, err := m.window.Next(b)
		if err != nil {
			return 0, err
		}
		target := string(b[:n])
		rest, err := eachItem(b[n:], func(b []byte) (int, error) {
			n, err := m.window.Next(b)
			if err == nil {
				into[string(b[:n])] = target
			}
			return n, err
		})
		return len(b) - len(rest), err
	})
	return into, err
}

// eachItem walks an encoded iterable; item returns the size of the one at the start
// of b. What is behind the iterable is returned. An iterable whose size its writer
// didn't know has -1 for it, and comes in runs up to an empty one.
func eachItem(b []byte, item func(b []byte) (int, error)) (rest []byte, err error) {
	if len(b) < 4 {
		return nil, coders.ErrShort
	}
	count := int64(int32(binary.BigEndian.Uint32(b)))
	b = b[4:]
	runs := count < 0
	for {
		if runs {
			n := 0
			if count, n, err = coders.ReadVarint(b); err != nil {
				return nil, err
			}
			b = b[n:]
		}
		for range count {
			n, err := item(b)
			if err != nil {
				return nil, err
			}
			b = b[n:]
		}
		if !runs || count <= 0 {
			return b, nil
		}
	}
}
