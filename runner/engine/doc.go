// Package engine runs a compiled pipeline: it is the driver around the
// deterministic core (package core), and does all that the core must not: it
// talks to workers, walks bytes, groups, reads and writes state.
//
// A Job has one loop goroutine. It takes events from a channel, gives them to the
// core one at a time and carries out the actions: short ones at once, long ones
// (a bundle, a grouping, an epoch's write) in goroutines of their own that end by
// sending an event. So the loop never waits for work, and what one Step decided is
// complete before the next.
//
//	               actions                        bytes
//	core.Step  <------------->  Job.loop  --->  runBundle ---> Worker (gRPC or in process)
//	               events          ^               | outputs
//	                               |               v
//	                               +---------- routeOutput: scan, cut into blocks by shard
//
// Where to find what: route.go cuts outputs into blocks, group.go groups a shard,
// sideinput.go serves side inputs, cells.go and statelayers.go hold user state
// above the store, bundlestate.go answers a bundle's state requests, pool.go keeps
// the workers.
package engine
