// Package alone measures what the Go SDK needs by itself for a pipeline, which is
// the least that a runner can need which runs the SDK's DoFns by its exec.Plan:
// the bundles of a real run are recorded, and then executed again with nothing
// between them, no shuffle, no state store, output thrown away.
package alone

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/metrics"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/metricsx"
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/summerbeam/summerbeam/fnapi/inproc"
	"github.com/summerbeam/summerbeam/runner"
	"github.com/summerbeam/summerbeam/runner/engine"
)

// Recording is all bundles of a run.
type Recording struct {
	// Metrics are the run's.
	Metrics *metrics.Results
	bundles []bundle
	// read has what bundles have read of side inputs and large groups, in pages, by
	// the encoded state key.
	read map[string][][]byte
}

type bundle struct {
	id         string
	descriptor *fnpb.ProcessBundleDescriptor
	source     string
	elements   int64
	input      [][]byte
}

// Record runs a pipeline embedded and keeps its bundles, in memory. Pipelines with
// timers can't be recorded.
func Record(ctx context.Context, p *beam.Pipeline) (*Recording, error) {
	edges, _, err := p.Build()
	if err != nil {
		return nil, err
	}
	env, err := graphx.CreateEnvironment(ctx, inproc.EnvironmentURN, func(context.Context) string { return "" })
	if err != nil {
		return nil, err
	}
	env.Payload, env.Dependencies = nil, nil
	pipeline, err := graphx.Marshal(edges, &graphx.Options{Environment: env})
	if err != nil {
		return nil, err
	}
	r := &recorder{recording: &Recording{read: map[string][][]byte{}}}
	res, err := runner.RunEmbedded(ctx, runner.Config{}, "recorded", pipeline, &structpb.Struct{}, r)
	if err != nil {
		return nil, err
	}
	r.recording.Metrics = metricsx.FromMonitoringInfos(pipeline, res.Attempted, res.Committed)
	return r.recording, nil
}

// recorder gives the engine workers that write down what they are asked to do.
type recorder struct {
	inproc.Workers
	mu sync.Mutex
	// guarded by mu
	recording *Recording
}

func (r *recorder) Start(ctx context.Context, job *engine.JobInfo, id, env string, e *pipepb.Environment) (engine.Worker, error) {
	w, err := r.Workers.Start(ctx, job, id, env, e)
	return &recordingWorker{Worker: w, r: r}, err
}

type recordingWorker struct {
	engine.Worker
	r *recorder
}

// Split never splits: the other half of a split bundle would be recorded twice.
func (w *recordingWorker) Split(context.Context, string, float64, int64) (*fnpb.ProcessBundleSplitResponse, error) {
	return nil, nil
}

func (w *recordingWorker) Run(ctx context.Context, b *engine.Bundle) (*engine.Result, error) {
	if b.Timers != nil || len(b.TimerFamilies) > 0 {
		return nil, fmt.Errorf("stage %s has timers, which can't be recorded", b.Stage)
	}
	rec := bundle{id: b.ID, descriptor: b.Descriptor, source: b.Source, elements: b.Elements}
	copied := *b
	copied.Input = func(yield func([]byte, error) bool) {
		for data, err := range b.Input {
			// The engine has the bytes only until Run returns.
			rec.input = append(rec.input, bytes.Clone(data))
			if !yield(data, err) {
				return
			}
		}
	}
	copied.State = &recordingState{State: b.State, r: w.r}
	res, err := w.Worker.Run(ctx, &copied)
	if err == nil {
		w.r.mu.Lock()
		w.r.recording.bundles = append(w.r.recording.bundles, rec)
		w.r.mu.Unlock()
	}
	return res, err
}

type recordingState struct {
	engine.State
	r *recorder
}

func (s *recordingState) Get(ctx context.Context, key *fnpb.StateKey, token []byte) (data, next []byte, err error) {
	data, next, err = s.State.Get(ctx, key, token)
	// User state changes as the pipeline runs, and starts empty again when it is
	// executed again.
	if err != nil || key.GetBagUserState() != nil {
		return data, next, err
	}
	name, err := keyName(key)
	if err != nil {
		return nil, nil, err
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	read := s.r.recording.read
	if token == nil {
		read[name] = nil // Another bundle reads the same from its start.
	}
	read[name] = append(read[name], bytes.Clone(data))
	return data, next, nil
}

// keyName is a state key as a map's key.
func keyName(key *fnpb.StateKey) (string, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(key)
	return string(b), err
}
