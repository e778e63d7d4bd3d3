// Package inproc runs a Go pipeline's bundles in the runner's own process: the
// SDK's exec.Plan with data streams and state in plain memory. No gRPC is
// involved, no message is made, yet descriptors, elements, state keys and
// metrics are byte for byte those that the SDK's harness exchanges with package
// fnapi.
//
// It is the only package besides runner/beamrunner that links the SDK's
// execution packages; the server doesn't need it.
//
// What it can't do: a DoFn that never returns can't be killed, it is fenced
// off and left behind (see Options.HangAfter); os.Exit and a panic in a
// goroutine that user code has started end the program.
package inproc

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/summerbeam/summerbeam/runner/engine"
)

// Options of the workers. The zero value is ready to use.
type Options struct {
	// HangAfter is how long user code may go on when its bundle has been given up,
	// until its stack is logged. Default 10 s.
	HangAfter time.Duration
	// SamplePeriod is how often it is looked at which transform a bundle is in: the
	// resolution of the execution time metrics. Default: what the pipeline has set
	// by the SDK's hook, else 200 ms.
	SamplePeriod time.Duration
}

// Workers starts workers in this process. The zero value is ready to use, and
// safe for concurrent use.
type Workers struct{ Options }

var _ engine.Workers = Workers{}

// EnvironmentURN is the URN of environments that are meant for this package: the
// program that has built the pipeline. They need no payload.
const EnvironmentURN = "summerbeam:env:embedded_go:v1"

// goVersion begins the capability by which every Go environment names its SDK.
const goVersion = "beam:version:sdk_base:go:"

// Start returns a worker for an environment of this very program: one whose
// capabilities name the Go SDK that is linked here. Where the environment says to
// run (its URN) doesn't matter.
func (ws Workers) Start(ctx context.Context, job *engine.JobInfo, id, env string, e *pipepb.Environment) (engine.Worker, error) {
	if err := checkEnvironment(env, e); err != nil {
		return nil, err
	}
	values, err := runHooks(ctx)
	if err != nil {
		return nil, fmt.Errorf("environment %s: an init hook of the Go SDK failed: %w", env, err)
	}
	log := job.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	o := ws.Options
	if o.HangAfter <= 0 {
		o.HangAfter = 10 * time.Second
	}
	if o.SamplePeriod <= 0 {
		o.SamplePeriod = samplePeriod()
	}
	return newWorker(id, log.With("worker", id), values, o), nil
}

func checkEnvironment(env string, e *pipepb.Environment) error {
	other := ""
	for _, c := range e.GetCapabilities() {
		if c == graphx.URNBaseVersionGo {
			return nil
		}
		if strings.HasPrefix(c, goVersion) {
			other = c
		}
	}
	const serve = "run `summerbeam serve` and submit the pipeline there with --endpoint"
	if other != "" {
		return fmt.Errorf("environment %s is of another Go SDK (%s) than this program (%s), so it can't run in this process; %s",
			env, other, graphx.URNBaseVersionGo, serve)
	}
	return fmt.Errorf("environment %s (%s) isn't of the Go SDK, and only Go transforms can run in this process; %s",
		env, e.GetUrn(), serve)
}
