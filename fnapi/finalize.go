package fnapi

import (
	"context"
	"fmt"
	"sync"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
)

// gate keeps finalization and bundles of a Go harness apart.
//
// The Go harness answers FinalizeBundle without the lock that guards its maps of
// plans, and bundles that start or end in other goroutines change the same maps.
// Go ends a program that it catches at that, and in LOOPBACK it is the user's own
// program. So a request goes out only while the worker runs no bundle, and none
// starts before the answer.
//
// A busy worker is seldom idle by itself. When a request waits, new bundles are
// held back for a moment so that the running ones can come to their end; if they
// don't, the new ones go first and it is tried again after ten times as long.
type gate struct {
	hold time.Duration

	mu      sync.Mutex // guards the fields below
	active  int
	waiting []func()
	// sending says that requests are under way, holding that new bundles wait for
	// the worker to fall idle, resting that they were held in vain lately.
	sending, holding, resting bool
	// opened is closed when the gate opens again.
	opened chan struct{}
}

func newGate(hold time.Duration) *gate {
	return &gate{hold: hold, opened: make(chan struct{})}
}

// enter waits until a bundle may start.
func (g *gate) enter(ctx context.Context, w *worker) error {
	for {
		g.mu.Lock()
		if !g.sending && !g.holding {
			g.active++
			g.mu.Unlock()
			return nil
		}
		opened := g.opened
		g.mu.Unlock()
		select {
		case <-opened:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-w.gone:
			return w.lostErr()
		}
	}
}

// leave tells that a bundle is over for the worker.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.active--
	g.next()
}

// idle calls f while no bundle runs, on another goroutine.
func (g *gate) idle(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = append(g.waiting, f)
	g.next()
}

// next does what can be done now. mu is held.
func (g *gate) next() {
	switch {
	case len(g.waiting) == 0 || g.sending:
	case g.active == 0:
		g.sending = true
		go g.send()
	case !g.holding && !g.resting:
		g.holding = true
		time.AfterFunc(g.hold, g.giveWay)
	}
}

func (g *gate) send() {
	for {
		g.mu.Lock()
		if len(g.waiting) == 0 {
			g.sending = false
			g.open()
			g.mu.Unlock()
			return
		}
		f := g.waiting[0]
		g.waiting = g.waiting[1:]
		g.mu.Unlock()
		f()
	}
}

// open lets bundles in. mu is held.
func (g *gate) open() {
	g.holding = false
	close(g.opened)
	g.opened = make(chan struct{})
}

// giveWay lets new bundles go first.
func (g *gate) giveWay() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.holding || g.sending {
		return
	}
	g.open()
	g.resting = true
	time.AfterFunc(10*g.hold, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.resting = false
		g.next()
	})
}

// Finalize tells the worker that a bundle is durable. See engine.Worker.
func (w *worker) Finalize(ctx context.Context, bundle string) error {
	done := make(chan error, 1)
	call := func() {
		if ctx.Err() != nil {
			done <- context.Cause(ctx)
			return
		}
		// Not with ctx: a request once sent is waited for, or the gate would open
		// while the worker still finalizes.
		_, err := w.ask(context.WithoutCancel(ctx), &fnpb.InstructionRequest{Request: &fnpb.InstructionRequest_FinalizeBundle{
			FinalizeBundle: &fnpb.FinalizeBundleRequest{InstructionId: bundle},
		}})
		w.renew(bundle)
		done <- err
	}
	if w.goSDK {
		w.gate.idle(call)
	} else {
		go call()
	}
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-w.gone:
		err = w.lostErr()
	}
	if err != nil {
		return fmt.Errorf("finalizing bundle %s: %w", bundle, err)
	}
	return nil
}
