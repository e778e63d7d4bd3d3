package engine

import (
	"fmt"
	"math"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
)

// Drain asks the job to read no more and to end with what it has: restrictions are
// truncated, windows close, timers fire. Run then returns nil as for a job that is
// done. It returns at once, may be called at any time and more than once.
func (j *Job) Drain() { j.drainOnce.Do(func() { close(j.drained) }) }

// truncated gathers what a truncation writes. A bundle has one output, so calls of
// take come in order.
type truncated struct {
	sink string
	data []byte
}

func (t *truncated) take(sink string, data []byte) error {
	if sink != t.sink {
		return fmt.Errorf("output for %q, which is no sink of the bundle's descriptor", sink)
	}
	t.data = append(t.data, data...)
	return nil
}

// residuals makes a block of each element that a truncation has written. It holds the
// watermark where its input did: what is truncated is no later than it was.
func (t *truncated) residuals(r *stageRun, from []core.Block) ([]core.Residual, error) {
	hold := int64(math.MaxInt64)
	for i := range from {
		hold = min(hold, from[i].Hold)
	}
	var out []core.Residual
	var e coders.Element
	for data := t.data; len(data) > 0; {
		n, err := r.input.Next(data, &e)
		if err != nil {
			return nil, fmt.Errorf("truncated restriction: %w: %w", errCoder, err)
		}
		out = append(out, core.Residual{Block: core.Block{
			Count: 1, Bytes: int64(n), Hold: max(hold, e.Timestamp), Payload: data[:n:n],
		}})
		data = data[n:]
	}
	return out, nil
}
