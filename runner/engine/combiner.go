package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/graph"
)

// combiner has the SDK merge accumulators that wait for their window's pane, so that a
// window keeps a few of them however long it is open, and however much comes. The answer
// is part of a grouping.
type combiner struct {
	plan *graph.Question
	out  *coders.Windowed
	ask  asker
}

// combineAt is how many accumulators of a key and window are merged into one. Each is
// read and written again when it is merged: with few, windows that stay small pay for
// what they don't need; with many, state is that much larger.
const combineAt = 8

func compileCombiner(plan *graph.Plan, s *graph.Stage) (*combiner, error) {
	q := s.Input.Grouping.Combining
	if q == nil {
		return nil, nil
	}
	out, err := coders.CompileWindowed(plan.Coders, q.OutputCoder)
	if err != nil {
		return nil, fmt.Errorf("stage %s: combining: %w", s.Name, err)
	}
	return &combiner{plan: q, out: out}, nil
}

// combine merges what waits of the run's windows where enough of it has piled up, all in
// one bundle.
func (r *triggerRun) combine() error {
	var in []byte
	var asked []*openWindow
	for _, w := range r.order {
		if w.count == 0 || w.waiting+w.count < combineAt || !w.st.Used() {
			continue
		}
		count, values, err := r.buffered(w)
		if err != nil {
			return err
		}
		in = coders.AppendHeader(in, coders.MinTimestamp, nil, 1, nil)
		in = append(in, w.key...)
		in = binary.BigEndian.AppendUint32(in, uint32(count))
		in = append(in, values...)
		asked = append(asked, w)
	}
	if len(asked) == 0 {
		return nil
	}
	data, err := r.combiner.ask(r.ctx, r.combiner.plan, in, int64(len(asked)))
	if err != nil {
		return fmt.Errorf("combining what waits: %w", err)
	}
	var e coders.Element
	answers := 0
	for ; len(data) > 0; answers++ {
		n, err := r.combiner.out.Next(data, &e)
		if err != nil {
			return fmt.Errorf("combining what waits: the SDK's answer: %w", err)
		}
		data = data[n:]
		if answers >= len(asked) || !bytes.Equal(e.Key, asked[answers].key) {
			return fmt.Errorf("combining what waits: the SDK answers a question that was not asked (key %x)", e.Key)
		}
		w := asked[answers]
		w.appended, w.count = slices.Clone(e.Value), 1
	}
	if answers != len(asked) {
		return fmt.Errorf("combining what waits: the SDK gave %d answers to %d questions", answers, len(asked))
	}
	return nil
}
