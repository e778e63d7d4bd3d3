package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// What a server holds is mostly blocks of bytes, which cost a collection nothing; the
// runtime's own growth of 100 % would give half of the process's memory to garbage.
// Grouping a million records took 345 MB with it and 210 MB with 33 %, and no more
// time. A small heap must not be collected all the time, though: growth is at least
// minGrowth.
const (
	heapGrowth = 33 // percent
	minGrowth  = 48 << 20
)

// tuneGC sets the growth anew after each collection, unless the environment has set it.
func tuneGC() {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	last := 0
	tune := func() {
		metrics.Read(live)
		percent := heapGrowth
		if n := live[0].Value.Uint64(); n > 0 {
			percent = max(percent, int(minGrowth*100/n))
		}
		// Setting it stops the world for a moment: not for nothing.
		if percent = min(percent, 1000); percent*10 > last*11 || percent*11 < last*10 {
			debug.SetGCPercent(percent)
			last = percent
		}
	}
	tune()
	afterEachGC(tune)
}

// afterEachGC calls fn after each collection, in the goroutine of finalizers.
func afterEachGC(fn func()) {
	// The sentinel is garbage at once; its finalizer makes the next one.
	type sentinel struct{ _ [16]byte }
	var arm func()
	arm = func() {
		runtime.SetFinalizer(&sentinel{}, func(*sentinel) {
			fn()
			arm()
		})
	}
	arm()
}
