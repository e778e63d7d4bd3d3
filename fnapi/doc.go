// Package fnapi is the runner's side of Beam's Fn API over gRPC: it starts the
// workers of a job's environments and runs bundles on them.
//
// All services share one port with the job service; workers are told apart by
// the worker_id metadata that every SDK sends with every call.
//
//	          control   requests out, responses in     (control.go)
//	worker <- data      elements and timers, both ways (data.go, feed.go)
//	          state     requests in, responses out     (state.go)
//	          logging, provision, artifacts, status
//
// # Who may wait for whom
//
// Every stream has one reader, and a reader never waits for a bundle: outputs
// are appended to memory by the bundle's Output, responses are noted, and state
// requests go to a queue of their bundle. So a bundle whose user code hangs, or
// whose state read is slow, holds up nobody but itself. What is written to a
// worker may well be held back by the worker (the Go harness stops reading its
// data stream when one bundle has 20 unread messages); only the feeder of a
// bundle waits for that, and it lets go when its bundle ends.
//
// # How a bundle ends
//
// A bundle is done when the worker has answered and has ended the stream of
// every sink and timer family: answer and data come on different streams, in any
// order. When its context ends instead, Run returns at once, but the worker can't
// be told to stop: the Fn API knows no such request. The bundle is then
// abandoned: it stays known until the worker answers, what it sends is dropped,
// its state requests are refused, and its input is ended so that it can finish.
//
// A worker whose control, data or state stream breaks is gone for good: its
// bundles fail with engine.ErrWorkerLost and must run elsewhere.
package fnapi
