package fnapi

import (
	"context"
	"fmt"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// running returns a bundle that the worker works on: it has been told to, and has not
// answered. Where the input travels along, telling it may take as long as reading that.
func (w *worker) running(id string) *run {
	if r := w.run(id); r != nil && r.begun.Load() && !r.hasAnswer() {
		return r
	}
	return nil
}

// Split asks a running bundle to give up part of its input. See engine.Worker.
func (w *worker) Split(ctx context.Context, bundle string, fraction float64, elements int64) (*fnpb.ProcessBundleSplitResponse, error) {
	r := w.running(bundle)
	if r == nil {
		return nil, nil
	}
	resp, err := w.ask(ctx, &fnpb.InstructionRequest{Request: &fnpb.InstructionRequest_ProcessBundleSplit{
		ProcessBundleSplit: &fnpb.ProcessBundleSplitRequest{
			InstructionId: bundle,
			DesiredSplits: map[string]*fnpb.ProcessBundleSplitRequest_DesiredSplit{
				r.source: {FractionOfRemainder: fraction, EstimatedInputElements: elements},
			},
		},
	}})
	if err != nil {
		return nil, fmt.Errorf("stage %q: splitting bundle %s: %w", r.stage, bundle, err)
	}
	split := resp.GetProcessBundleSplit()
	if len(split.GetChannelSplits()) == 0 && len(split.GetPrimaryRoots()) == 0 && len(split.GetResidualRoots()) == 0 {
		return nil, nil
	}
	// A Go bundle that is through with its input but not yet over says that it was
	// split behind its end (docs/upstream.md): nothing was.
	if c := split.GetChannelSplits(); len(c) == 1 && len(split.GetPrimaryRoots())+len(split.GetResidualRoots()) == 0 &&
		c[0].GetTransformId() == r.source && c[0].GetFirstResidualElement() >= elements && c[0].GetFirstResidualElement() == c[0].GetLastPrimaryElement()+1 {
		return nil, nil
	}
	if err := checkSplit(r.source, elements, split); err != nil {
		return nil, fmt.Errorf("stage %q: splitting bundle %s: worker %s: %w", r.stage, bundle, w.id, err)
	}
	return split, nil
}

// checkSplit sees that a split accounts for every element of the source exactly
// once: in the primary, in the residual, or, one at most, as roots between them.
func checkSplit(source string, elements int64, split *fnpb.ProcessBundleSplitResponse) error {
	if n := len(split.GetChannelSplits()); n != 1 {
		return fmt.Errorf("the split cuts %d inputs, the bundle has one", n)
	}
	c := split.GetChannelSplits()[0]
	last, first := c.GetLastPrimaryElement(), c.GetFirstResidualElement()
	roots := len(split.GetPrimaryRoots()) + len(split.GetResidualRoots())
	between := first - last - 1
	switch {
	case c.GetTransformId() != source:
		return fmt.Errorf("the split cuts the input of %q, the source is %q", c.GetTransformId(), source)
	case last < -1 || between < 0 || between > 1 || first > elements:
		return fmt.Errorf("the split of %d elements ends the primary with element %d and starts the residual with %d", elements, last, first)
	case between == 1 && roots == 0:
		return fmt.Errorf("the split leaves element %d out", last+1)
	case between == 0 && roots > 0:
		return fmt.Errorf("the split has %d roots, but cuts no element", roots)
	}
	return nil
}

// Progress returns a running bundle's metrics so far. See engine.Worker.
func (w *worker) Progress(ctx context.Context, bundle string) ([]*pipepb.MonitoringInfo, error) {
	r := w.running(bundle)
	if r == nil {
		return nil, nil
	}
	resp, err := w.ask(ctx, &fnpb.InstructionRequest{Request: &fnpb.InstructionRequest_ProcessBundleProgress{
		ProcessBundleProgress: &fnpb.ProcessBundleProgressRequest{InstructionId: bundle},
	}})
	if err != nil {
		return nil, fmt.Errorf("stage %q: progress of bundle %s: %w", r.stage, bundle, err)
	}
	p := resp.GetProcessBundleProgress()
	infos, err := w.resolve(ctx, p.GetMonitoringInfos(), p.GetMonitoringData())
	if err != nil {
		return nil, fmt.Errorf("stage %q: progress of bundle %s: %w", r.stage, bundle, err)
	}
	return infos, nil
}
