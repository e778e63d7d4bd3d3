package fnapi

import (
	"context"
	"errors"
	"fmt"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

const (
	envExternal = "beam:env:external:v1"
	envProcess  = "beam:env:process:v1"
	envDocker   = "beam:env:docker:v1"
	envAnyOf    = "beam:env:anyof:v1"
)

// A launcher starts a worker. It returns what it can say of it, for the error
// when the worker doesn't connect: a clause like "the pool has started it". It
// sets the worker's stop before the worker can run.
type launcher func(ctx context.Context, w *worker) (answer string, err error)

var errUnsupported = errors.New("this runner starts workers in the environments LOOPBACK, EXTERNAL and PROCESS " +
	"(" + envExternal + ", " + envProcess + ")")

// launcherOf returns the launcher of an environment, and the environment that was
// chosen if it is a choice of several.
func launcherOf(e *pipepb.Environment) (*pipepb.Environment, launcher, error) {
	switch e.GetUrn() {
	case envExternal:
		p := &pipepb.ExternalPayload{}
		if err := proto.Unmarshal(e.GetPayload(), p); err != nil {
			return nil, nil, fmt.Errorf("payload of %s: %w", e.GetUrn(), err)
		}
		if p.GetEndpoint().GetUrl() == "" {
			return nil, nil, fmt.Errorf("payload of %s: no endpoint; set --environment_config=HOST:PORT of the worker pool", e.GetUrn())
		}
		return e, external(p), nil
	case envProcess:
		p := &pipepb.ProcessPayload{}
		if err := proto.Unmarshal(e.GetPayload(), p); err != nil {
			return nil, nil, fmt.Errorf("payload of %s: %w", e.GetUrn(), err)
		}
		if p.GetCommand() == "" {
			return nil, nil, fmt.Errorf(`payload of %s: no command; set --environment_config={"command":"PATH"}`, e.GetUrn())
		}
		return e, process(p), nil
	case envAnyOf:
		return anyOf(e)
	case envDocker:
		return nil, nil, fmt.Errorf("%s: %w; run the pipeline with --environment_type=LOOPBACK, EXTERNAL or PROCESS, not in a container", e.GetUrn(), errUnsupported)
	default:
		return nil, nil, fmt.Errorf("%q: %w", e.GetUrn(), errUnsupported)
	}
}

// anyOf takes the best of several environments that would all do.
func anyOf(e *pipepb.Environment) (*pipepb.Environment, launcher, error) {
	p := &pipepb.AnyOfEnvironmentPayload{}
	if err := proto.Unmarshal(e.GetPayload(), p); err != nil {
		return nil, nil, fmt.Errorf("payload of %s: %w", e.GetUrn(), err)
	}
	for _, urn := range []string{envExternal, envProcess} {
		for _, choice := range p.GetEnvironments() {
			if choice.GetUrn() == urn {
				return launcherOf(choice)
			}
		}
	}
	return nil, nil, fmt.Errorf("%s: %w", e.GetUrn(), errUnsupported)
}
