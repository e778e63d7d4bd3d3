// Package gate keeps calls out of a store that is closed, and Close out of a
// store that is being called.
//
// Both engines beneath this module answer misuse with the end of the process:
// pebble panics, and a RocksDB with asserts compiled in aborts. So each call
// passes a gate on its way in. An RWMutex is not enough: a Scan holds its read
// lock while it runs the caller's function; Close queues for the write lock;
// the function calls Get, whose read lock now waits behind Close, which waits
// for the Scan. A gate refuses the Get instead.
package gate

import (
	"sync"
	"sync/atomic"
)

// Gate counts the calls inside. The zero value is open. It must not be copied.
type Gate struct {
	// state is twice the number of calls inside, plus one when shut.
	state atomic.Int64
	once  sync.Once
	empty chan struct{}
}

const shut = 1

// Enter reports whether the gate is open; if so the caller must Leave. It
// never waits.
func (g *Gate) Enter() bool {
	// Load and swap rather than add and undo: an Enter that is refused must not
	// be seen by the Leave which decides whether it was the last.
	for {
		s := g.state.Load()
		if s&shut != 0 {
			return false
		}
		if g.state.CompareAndSwap(s, s+2) {
			return true
		}
	}
}

// Leave ends a call that Enter let in.
func (g *Gate) Leave() {
	if g.state.Add(-2) == shut {
		close(g.wait())
	}
}

// Bar lets nobody in any more, without waiting for those inside. It reports
// whether this call was the one that barred the gate.
func (g *Gate) Bar() (first bool) {
	for {
		s := g.state.Load()
		if s&shut != 0 {
			return false
		}
		if g.state.CompareAndSwap(s, s|shut) {
			if s == 0 {
				close(g.wait())
			}
			return true
		}
	}
}

// Shut bars the gate and waits until those inside have left. A call inside must
// not Shut: it would wait for itself.
func (g *Gate) Shut() (first bool) {
	first = g.Bar()
	<-g.wait()
	return first
}

// wait is made on first use, so that a gate costs nothing until it is shut.
func (g *Gate) wait() chan struct{} {
	g.once.Do(func() { g.empty = make(chan struct{}) })
	return g.empty
}
