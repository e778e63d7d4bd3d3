package inproc

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/exec"
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// plan is an exec.Plan with what is kept for it from bundle to bundle. One
// bundle has it at a time.
type plan struct {
	*exec.Plan
	desc string
	// born is the plan's expiration time while no callback was registered.
	born time.Time
	// hints are the sizes of the last bundle's outputs.
	hints map[string]*int
	// infos are metric names made before.
	infos map[metricKey]*pipepb.MonitoringInfo
}

// newPlan makes a plan of a descriptor. The SDK panics on much that it doesn't
// know; here it is an error.
func newPlan(desc *fnpb.ProcessBundleDescriptor) (p *plan, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the Go SDK can't run the stage: %v\n%s", r, debug.Stack())
		}
	}()
	ep, err := exec.UnmarshalPlan(desc, nil)
	if err != nil {
		return nil, fmt.Errorf("the Go SDK can't run the stage: %w", err)
	}
	return &plan{
		Plan:  ep,
		desc:  desc.GetId(),
		born:  ep.GetExpirationTime(),
		hints: map[string]*int{},
		infos: map[metricKey]*pipepb.MonitoringInfo{},
	}, nil
}

func (p *plan) hint(stream string) *int {
	h := p.hints[stream]
	if h == nil {
		h = new(int)
		p.hints[stream] = h
	}
	return h
}

// hasCallbacks says that a bundle has registered finalizers. Such a plan is
// never used for another bundle: its DoFns keep the registry of the first one,
// which Finalize replaces for the plan but not for them, so callbacks of
// later bundles would be lost without a sound.
func (p *plan) hasCallbacks() bool { return !p.GetExpirationTime().Equal(p.born) }

// planPool keeps idle plans by descriptor: making one and its first Execute
// cost 60 to 270 us, a bundle on a used one 4 to 25.
type planPool struct {
	mu sync.Mutex
	// guarded by mu
	idle   map[string][]*plan
	closed bool
}

func newPlanPool() *planPool { return &planPool{idle: map[string][]*plan{}} }

// get returns an idle plan of the descriptor, or a new one.
func (pp *planPool) get(desc *fnpb.ProcessBundleDescriptor) (*plan, error) {
	id := desc.GetId()
	pp.mu.Lock()
	if l := pp.idle[id]; len(l) > 0 {
		p := l[len(l)-1]
		l[len(l)-1] = nil
		pp.idle[id] = l[:len(l)-1]
		pp.mu.Unlock()
		return p, nil
	}
	pp.mu.Unlock()
	return newPlan(desc)
}

// put takes back a plan that has run a bundle to its good end.
func (pp *planPool) put(p *plan) {
	pp.mu.Lock()
	closed := pp.closed
	if !closed {
		pp.idle[p.desc] = append(pp.idle[p.desc], p)
	}
	pp.mu.Unlock()
	if closed {
		p.discard()
	}
}

// close tears idle plans down, and from now on all that come back.
func (pp *planPool) close() {
	pp.mu.Lock()
	pp.closed = true
	idle := pp.idle
	pp.idle = nil
	pp.mu.Unlock()
	for _, l := range idle {
		for _, p := range l {
			p.discard()
		}
	}
}

// discard tears the plan down: Teardown of its DoFns is called. What it says
// is of no use to anyone: either the bundle has failed, and its error is told, or
// nothing more runs on the plan.
func (p *plan) discard() { _ = p.Down(context.Background()) }
