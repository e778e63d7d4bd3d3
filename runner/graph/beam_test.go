package graph

import (
	"context"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/exec"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/apache/beam/sdks/v2/go/test/integration/primitives"
	"github.com/apache/beam/sdks/v2/go/test/integration/synthetic"
	"github.com/apache/beam/sdks/v2/go/test/integration/wordcount"
	"github.com/apache/beam/sdks/v2/go/test/regression"
)

// marshal makes the proto of a Go pipeline as the portable runner does.
func marshal(t testing.TB, p *beam.Pipeline) *pipepb.Pipeline {
	t.Helper()
	edges, _, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	env, err := graphx.CreateEnvironment(ctx, graphx.URNEnvExternal, func(context.Context) string { return "localhost:1" })
	if err != nil {
		t.Fatal(err)
	}
	pb, err := graphx.Marshal(edges, &graphx.Options{Environment: env})
	if err != nil {
		t.Fatal(err)
	}
	return pb
}

func build(t testing.TB, f func(s beam.Scope)) *pipepb.Pipeline {
	t.Helper()
	p, s := beam.NewPipelineWithRoot()
	f(s)
	return marshal(t, p)
}

// checkAccepted lets the Go SDK make execution plans of all worker stages.
func checkAccepted(t testing.TB, plan *Plan) {
	t.Helper()
	for _, s := range plan.Stages {
		if s.Kind != SDK {
			continue
		}
		if _, err := exec.UnmarshalPlan(s.Descriptor, nil); err != nil {
			t.Errorf("stage %s (%s): the SDK refuses the descriptor: %v", s.ID, s.Name, err)
		}
		if s.Truncate == nil {
			continue
		}
		if _, err := exec.UnmarshalPlan(s.Truncate.Descriptor, nil); err != nil {
			t.Errorf("stage %s (%s): the SDK refuses the truncation: %v", s.ID, s.Name, err)
		}
	}
}

// TestBeamPipelines compiles the pipelines of Beam's own integration tests.
func TestBeamPipelines(t *testing.T) {
	scoped := map[string]func(beam.Scope){
		"Checkpoints":                primitives.Checkpoints,
		"Drain":                      primitives.Drain,
		"CoGBK":                      primitives.CoGBK,
		"GBKShortRead":               primitives.GBKShortRead,
		"Reshuffle":                  primitives.Reshuffle,
		"ReshuffleKV":                primitives.ReshuffleKV,
		"Flatten":                    primitives.Flatten,
		"FlattenDup":                 primitives.FlattenDup,
		"ProcessElementFinalizer":    primitives.ParDoProcessElementBundleFinalizer,
		"FinishBundleFinalizer":      primitives.ParDoFinishBundleFinalizer,
		"FinalizerInAll":             primitives.ParDoFinalizerInAll,
		"ValueState":                 primitives.ValueStateParDo,
		"ValueStateWindowed":         primitives.ValueStateParDoWindowed,
		"ValueStateClear":            primitives.ValueStateParDoClear,
		"BagState":                   primitives.BagStateParDo,
		"BagStateClear":              primitives.BagStateParDoClear,
		"BagStateBlindWrite":         primitives.BagStateBlindWriteParDo,
		"CombiningState":             primitives.CombiningStateParDo,
		"MapState":                   primitives.MapStateParDo,
		"MapStateClear":              primitives.MapStateParDoClear,
		"SetState":                   primitives.SetStateParDo,
		"SetStateClear":              primitives.SetStateParDoClear,
		"OrderedListState":           primitives.OrderedListStateParDo,
		"WindowSumsGBK":              primitives.WindowSums_GBK,
		"WindowSumsLifted":           primitives.WindowSums_Lifted,
		"ValidateWindowedSideInputs": primitives.ValidateWindowedSideInputs,
		"LPErrorPipeline":            func(s beam.Scope) { regression.LPErrorPipeline(s) },
		"LPErrorReshuffle":           func(s beam.Scope) { regression.LPErrorReshufflePipeline(s) },
	}
	for name, f := range scoped {
		t.Run(name, func(t *testing.T) { compileAccepted(t, build(t, f)) })
	}
	whole := map[string]func() *beam.Pipeline{
		"ParDoMultiOutput":       primitives.ParDoMultiOutput,
		"ParDoSideInput":         primitives.ParDoSideInput,
		"ParDoKVSideInput":       primitives.ParDoKVSideInput,
		"ParDoMultiMapSideInput": primitives.ParDoMultiMapSideInput,
		"ParDoPipelineOptions":   primitives.ParDoPipelineOptions,
		"WordCount":              func() *beam.Pipeline { return wordcount.WordCount("gs://a/b", "x", 1) },
		"Synthetic":              synthetic.SimplePipeline,
		"SyntheticSplittable":    synthetic.SplittablePipeline,
		"DirectParDo":            regression.DirectParDo,
		"EmitParDo":              regression.EmitParDo,
		"MultiEmitParDo":         regression.MultiEmitParDo,
		"MixedOutputParDo":       regression.MixedOutputParDo,
		"DirectParDoAfterGBK":    regression.DirectParDoAfterGBK,
		"EmitParDoAfterGBK":      regression.EmitParDoAfterGBK,
	}
	for name, f := range whole {
		t.Run(name, func(t *testing.T) { compileAccepted(t, marshal(t, f())) })
	}
}

func compileAccepted(t *testing.T, p *pipepb.Pipeline) {
	t.Helper()
	plan, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	checkPlan(t, plan)
	checkAccepted(t, plan)
	if testing.Verbose() {
		t.Log("\n" + plan.String())
	}
}

// TestBeamStreaming has those with triggers, timers and TestStreams.
func TestBeamStreaming(t *testing.T) {
	for name, f := range map[string]func(beam.Scope){
		"TestStream":       primitives.TestStreamStrings,
		"TriggerDefault":   primitives.TriggerDefault,
		"TestStreamToGBK":  primitives.TestStreamToGBK,
		"Timers":           primitives.TimersEventTimeBounded,
		"ProcessingTimers": primitives.TimersProcessingTime_Bounded,
		"TriggerAlways":    primitives.TriggerAlways,
		"Panes":            primitives.Panes,
		"TriggerNever":     primitives.TriggerNever,
		"TriggerOrFinally": primitives.TriggerOrFinally,
	} {
		t.Run(name, func(t *testing.T) {
			compileAccepted(t, build(t, f))
		})
	}
}
