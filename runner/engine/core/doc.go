// Package core is the deterministic heart of a job: Step(now, event) -> actions.
//
// The core knows stages, shards, blocks, bundles, watermarks and epochs. It
// decides what runs when and what a bundle's end changes. It does no I/O, has no
// goroutine, no lock and no clock, and never looks inside a block. A driver
// (package engine) does the heavy work the actions ask for, in parallel, and
// returns the outcomes as events. The same events in the same order always give
// the same actions, so a simulator can drive the very same code.
//
// # What is applied when
//
// A bundle's inputs stay claimed while it runs. Its effects (outputs, state,
// residuals, finalizers) reach the core in one BundleFinished event and are
// applied in one Step: the driver is told to Commit the bundle's staged state,
// the outputs enter their readers' inboxes, the claim goes, and the watermarks
// move. A failed bundle changes nothing but its claim's attempt count.
//
// # Watermarks
//
// A stage's input watermark is the minimum of its producers' output watermarks.
// Its output watermark is the minimum of its input watermark and the holds of
// all its blocks: queued, delayed, being grouped or claimed by a bundle. Both
// only move forward. A stage is done when its input watermark is at the end of
// time and it has no block left.
package core

import (
	"fmt"
	"math"
)

// Event time in milliseconds since the Unix epoch; the model's bounds are well
// within these, which stand for "nothing is known" and "nothing more will come".
const (
	MinTime = math.MinInt64
	MaxTime = math.MaxInt64
)

// Block is a run of elements that move together. The core sees its size and
// times; what it is made of is the driver's business.
type Block struct {
	// Count is the number of elements, Bytes their size in memory.
	Count, Bytes int64
	// Hold is the event time (ms) the block holds the watermark back to: normally
	// the least timestamp of its elements, for a residual its watermark estimate.
	Hold int64
	// Payload is opaque.
	Payload any
	// ID is given by the core when it first sees the block, and is never given again.
	// What is cut from a block is another block, and comes without one.
	ID uint64

	// idle counts the checkpoints in a row that came before anything of it was done.
	idle int
	// truncated says that a drain has truncated it; done that it is what a bundle had
	// done of something when it was cut off. Neither is to be truncated any more.
	truncated, done bool
}

// BundleID numbers the bundles of a job from 1.
type BundleID uint64

func (b BundleID) String() string { return fmt.Sprintf("b%d", uint64(b)) }
