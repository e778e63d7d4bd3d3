package inproc

import (
	"errors"
	"sync/atomic"
)

// errOver is what late user code gets from a bundle that has been given up.
var errOver = errors.New("the bundle is over: its output and state are no longer taken")

// gate keeps a bundle's callbacks on this side of Run's return.
//
// A DoFn that hangs is left behind in its goroutine, and may wake up hours later
// and emit. Its bundle has then been retried, and perhaps committed: the late
// output must reach nobody. So every call out passes the gate, and Run shuts it
// before it returns: shut waits for the calls that are inside and refuses the rest.
type gate struct {
	// state is the number of calls inside, with gateShut added once shut.
	state atomic.Int64
	// idle is closed when the gate is shut and nobody is inside.
	idle chan struct{}
}

const gateShut = int64(1) << 62

func newGate() *gate { return &gate{idle: make(chan struct{})} }

// enter lets a call through, which ends with leave, or says that the gate is shut.
func (g *gate) enter() bool {
	for {
		n := g.state.Load()
		if n >= gateShut {
			return false
		}
		if g.state.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (g *gate) leave() {
	if g.state.Add(-1) == gateShut {
		close(g.idle)
	}
}

// shut refuses calls from now on and waits for those inside. It is called once.
func (g *gate) shut() {
	if g.state.Add(gateShut) == gateShut {
		close(g.idle)
	}
	<-g.idle
}
