package engine

import (
	"context"
	"errors"
	"fmt"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/summerbeam/summerbeam/runner/graph"
)

// asker asks a worker a question of the plan: elements of the question's coder, and
// what the bundle writes to its sink. Such a bundle is no bundle of the core's: it
// has no effects but its answer.
type asker func(ctx context.Context, q *graph.Question, elements []byte, count int64) ([]byte, error)

// maxQuestionLosses is how many workers may be lost over one question.
const maxQuestionLosses = 3

// ask is an asker. A lost worker is replaced, like one that runs other bundles. It is
// safe for concurrent use.
func (j *Job) ask(ctx context.Context, q *graph.Question, elements []byte, count int64) ([]byte, error) {
	p := j.pools[q.Environment]
	for lost := 0; ; lost++ {
		w, err := p.get(ctx)
		if err != nil {
			return nil, err
		}
		var out []byte
		_, err = w.Run(ctx, &Bundle{
			ID:         fmt.Sprintf("%s-%s-q%d", j.info.ID, q.Descriptor.GetId(), j.asked.Add(1)),
			Stage:      q.Descriptor.GetId(),
			Descriptor: q.Descriptor, Source: q.Source, Elements: count,
			Input: func(yield func([]byte, error) bool) { yield(elements, nil) },
			Output: func(sink string, data []byte) error {
				if sink == q.Sink {
					out = append(out, data...)
				}
				return nil
			},
			TimerOutput: func(_, _ string, _ []byte) error { return errStateless },
			State:       noState{},
		})
		if err == nil {
			return out, nil
		}
		if !errors.Is(err, ErrWorkerLost) {
			return nil, err
		}
		p.lost(w)
		if lost >= maxQuestionLosses {
			return nil, err
		}
	}
}

var errStateless = errors.New("a bundle that answers a question has neither state nor timers")

// noState is the state of a bundle that has none.
type noState struct{}

func (noState) Get(context.Context, *fnpb.StateKey, []byte) (data, next []byte, err error) {
	return nil, nil, errStateless
}
func (noState) Append(context.Context, *fnpb.StateKey, []byte) error { return errStateless }
func (noState) Clear(context.Context, *fnpb.StateKey) error          { return errStateless }
