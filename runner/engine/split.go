package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
)

// errSplit is a worker's fault: it answered a split with something that is none.
// The bundle can't be trusted any more: what it will leave out is not known.
var errSplit = errors.New("the worker's answer to a split makes no sense")

// splitTimeout bounds how long a bundle's end waits for the answer to a split.
const splitTimeout = 10 * time.Second

// askSplit asks a bundle's worker for a split and sends the answer to the core. The
// loop calls it.
//
// The bundle may end while the answer is on its way. Were its end to reach the core
// first, the core would forget the claim, and the residual with it. So the answer
// is sent with the bundle's splitMu held, and the bundle's end takes it too.
func (j *Job) askSplit(ctx context.Context, a core.AskSplit) {
	r := j.running[a.Bundle]
	go func() {
		r.splitMu.Lock()
		defer r.splitMu.Unlock()
		ev := core.SplitAnswered{Bundle: a.Bundle, Refused: true}
		err := guard(func() error {
			w := r.worker()
			if r.over || w == nil {
				return nil
			}
			ctx, cancel := context.WithTimeout(ctx, splitTimeout)
			defer cancel()
			resp, err := w.Split(ctx, r.id, a.Fraction, a.Elements)
			if err != nil || resp == nil || len(resp.GetChannelSplits()) == 0 {
				return err
			}
			primary, residual, err := r.stage.cutClaim(r.blocks, r.roots, resp)
			if err != nil || residual == nil {
				return err
			}
			ev.Roots, ev.Idle = len(resp.GetResidualRoots()), untouched(r.blocks, resp)
			j.keep.replace(r.blocks, primary, residual)
			r.blocks, r.roots = primary, len(resp.GetPrimaryRoots())
			ev.Refused, ev.Primary, ev.Residual = false, primary, residual
			return nil
		})
		if err != nil {
			// The worker may have split all the same, and then the bundle leaves
			// out what nobody else will do.
			r.cancel(err)
			j.info.Log.Debug("a bundle was not split", "bundle", r.id, "stage", r.stage.plan.Name, "error", err)
		}
		j.send(ev)
	}()
}

// untouched says that the element which was split went into the residual whole, as
// it was: the bundle had done nothing of it. It may miss some, such as those whose
// watermark state tells the time.
func untouched(blocks []core.Block, resp *fnpb.ProcessBundleSplitResponse) bool {
	at := resp.GetChannelSplits()[0].GetLastPrimaryElement() + 1
	if len(resp.GetResidualRoots()) != 1 || at < 0 || at >= int64(len(blocks)) {
		return false
	}
	for i := range blocks[:at+1] {
		if blocks[i].Count != 1 {
			return false
		}
	}
	data, err := payloadBytes(blocks[at].Payload)
	return err == nil && bytes.Equal(data, resp.GetResidualRoots()[0].GetApplication().GetElement())
}

// cutClaim divides a claim as a split's response says: elements up to
// last_primary_element and the primary roots stay, elements from
// first_residual_element on and the residual roots go. (An element that was split
// itself lies between the two.) A nil residual says that nothing was split off: the
// Go SDK answers so when it is asked again after it has done its whole primary.
//
// The last blocks of the claim may be the primary roots of an earlier split. They
// stand for one element, the last that the worker has, and a split of that element
// puts others in their place.
func (r *stageRun) cutClaim(blocks []core.Block, earlier int, resp *fnpb.ProcessBundleSplitResponse) (primary, residual []core.Block, err error) {
	claim := blocks
	blocks = blocks[:len(blocks)-earlier]
	if n := len(resp.GetChannelSplits()); n != 1 {
		return nil, nil, fmt.Errorf("%w: %d channel splits for one channel", errSplit, n)
	}
	var total int64
	for i := range blocks {
		total += blocks[i].Count
	}
	ch := resp.GetChannelSplits()[0]
	keep, from := ch.GetLastPrimaryElement()+1, ch.GetFirstResidualElement()
	roots := len(resp.GetPrimaryRoots()) + len(resp.GetResidualRoots())
	if roots == 0 && from == keep && keep >= total {
		return claim, nil, nil
	}
	if keep < 0 || from < keep || from-keep > 1 || keep > total {
		return nil, nil, fmt.Errorf("%w: primary up to %d, residual from %d, of %d elements", errSplit, keep-1, from, total)
	}
	if from-keep == 1 && (len(resp.GetPrimaryRoots()) == 0 || len(resp.GetResidualRoots()) == 0) {
		return nil, nil, fmt.Errorf("%w: element %d is in neither part", errSplit, keep)
	}
	if primary, _, err = r.cutBlocks(blocks, keep); err != nil {
		return nil, nil, err
	}
	for _, root := range resp.GetPrimaryRoots() {
		b, err := r.rootBlock(root)
		if err != nil {
			return nil, nil, err
		}
		primary = append(primary, b)
	}
	for _, root := range resp.GetResidualRoots() {
		b, err := r.rootBlock(root.GetApplication())
		if err != nil {
			return nil, nil, err
		}
		residual = append(residual, b)
	}
	_, rest, err := r.cutBlocks(blocks, min(from, total))
	return primary, append(residual, rest...), err
}

// cutBlocks divides blocks before element n.
func (r *stageRun) cutBlocks(blocks []core.Block, n int64) (before, after []core.Block, err error) {
	for i, b := range blocks {
		switch {
		case n >= b.Count:
			before = append(before, b)
			n -= b.Count
		case n <= 0:
			return before, append(after, blocks[i:]...), nil
		default:
			head, tail, err := r.cutBlock(b, n)
			if err != nil {
				return nil, nil, err
			}
			return append(before, head), append([]core.Block{tail}, blocks[i+1:]...), nil
		}
	}
	return before, after, nil
}

// cutBlock divides one block before its element n, 0 < n < b.Count.
func (r *stageRun) cutBlock(b core.Block, n int64) (head, tail core.Block, err error) {
	if c, ok := b.Payload.(*groupChunk); ok {
		at := c.from + int(n)
		return c.of.block(c.from, at), c.of.block(at, c.to), nil
	}
	data, err := payloadBytes(b.Payload)
	if err != nil {
		return head, tail, err
	}
	holds := [2]int64{math.MaxInt64, math.MaxInt64}
	off, at := 0, 0
	var e coders.Element
	for i := int64(0); off < len(data); i++ {
		if i == n {
			at = off
		}
		m, err := r.elements().Next(data[off:], &e)
		if err != nil {
			return head, tail, err
		}
		part := 0
		if i >= n {
			part = 1
		}
		holds[part] = min(holds[part], e.Timestamp)
		off += m
	}
	// A residual's hold is its watermark estimate, which its elements don't tell:
	// no part may hold less than the whole did.
	head = core.Block{Count: n, Bytes: int64(at), Hold: max(holds[0], b.Hold)}
	tail = core.Block{Count: b.Count - n, Bytes: int64(len(data) - at), Hold: max(holds[1], b.Hold)}
	head.Payload, tail.Payload = cutPayload(b.Payload, data, at)
	return head, tail, nil
}

// rootBlock makes a block of an application of the stage's root: an element, and
// how far its outputs have come.
func (r *stageRun) rootBlock(app *fnpb.BundleApplication) (core.Block, error) {
	data := app.GetElement()
	var e coders.Element
	n, err := r.input.Next(data, &e)
	if err != nil {
		return core.Block{}, fmt.Errorf("element for %s: %w: %w", app.GetTransformId(), errCoder, err)
	}
	if n != len(data) {
		return core.Block{}, fmt.Errorf("element for %s: %w: %d bytes too many", app.GetTransformId(), errCoder, len(data)-n)
	}
	hold, first := e.Timestamp, true
	for _, wm := range app.GetOutputWatermarks() {
		// Several outputs: the slowest holds the stage's watermark.
		if ms := wm.AsTime().UnixMilli(); first || ms < hold {
			hold, first = ms, false
		}
	}
	return core.Block{Count: 1, Bytes: int64(len(data)), Hold: hold, Payload: data}, nil
}
