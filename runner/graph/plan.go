// Package graph turns a portable Beam pipeline into stages that the engine runs.
//
//	Pipeline proto -> checked -> expanded -> fused -> Plan
//
// It is pure: no I/O, no clock, no map-iteration order in its results.
//
// Three of its choices shape everything below it:
//
//   - Grouping is the input side of the stage that consumes a GroupByKey, not a
//     stage of its own (Stage.Input.Grouping). Where a GroupByKey has more than
//     one consumer, or one that can't be the root of a worker stage (a Flatten, a
//     side input, another GroupByKey), a Forward stage is put behind it.
//   - Flatten disappears: a stage's input reads from several outputs. Producers
//     write with the coder of the flattened collection.
//   - Reshuffle and Redistribute disappear too: they are a stage boundary that
//     keeps elements as they are, timestamp, windows and pane included.
package graph

import (
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// Plan is a pipeline ready to run. It is immutable.
type Plan struct {
	// Pipeline is the expanded pipeline: combines lifted, splittable DoFns taken
	// apart, coders of crossing collections made readable for the runner.
	Pipeline *pipepb.Pipeline
	// Stages in topological order: a stage stands behind all it reads from, side
	// inputs included. Stage.Index is its place.
	Stages []*Stage
	// Coders holds every coder that a stage names, the pipeline's own and ours.
	Coders map[string]*pipepb.Coder

	names map[string]string // see UniqueName
}

// Kind says who runs a stage.
type Kind int

const (
	// Impulse is run by the engine: one element, the empty byte string, in the
	// global window at the minimum timestamp.
	Impulse Kind = iota
	// Forward is run by the engine: its input goes unchanged to its outputs,
	// grouped first if the input has a Grouping.
	Forward
	// SDK is run by a worker of the stage's environment.
	SDK
	// TestStream is run by the engine: it plays the stage's TestEvents.
	TestStream
)

// Stage is a fused set of transforms with one input.
type Stage struct {
	Index int
	// ID is unique in the plan and stable for the same pipeline, such as "s03".
	ID string
	// Name is for people: the unique names of the transforms, shortened.
	Name string
	Kind Kind
	// Environment is a key of the pipeline's environments; empty unless Kind is SDK.
	Environment string
	// Transforms are the ids of the fused transforms, in topological order.
	Transforms []string
	// Input is nil for an Impulse.
	Input *Input
	// Outputs are the collections that leave the stage, in a fixed order.
	Outputs []*Output
	// SideInputs of all its transforms, in a fixed order.
	SideInputs []*SideInput
	// Timers are the timer families of its transforms, in a fixed order.
	Timers []*Timer
	// Stateful says that a transform of the stage has user state or timers.
	Stateful bool
	// Splittable says that the stage's root processes sized elements and restrictions.
	Splittable bool
	// Unbounded says of a splittable stage that what its root reads or writes has no
	// end: a bundle of it may run for ever unless it is asked to stop.
	Unbounded bool
	// Truncate is set for splittable stages.
	Truncate *Truncation
	// Expiry is set for stages whose state goes when its window expires.
	Expiry *Expiry
	// StableInput says that the stage's root must get the same elements again if it runs
	// again: a job that outlives its process hands on only what is durable.
	StableInput bool
	// Finalizes says that a transform asks for bundle finalization.
	Finalizes bool
	// TestEvents is the script of a TestStream.
	TestEvents []TestEvent
	// TestService is the address of the service that a TestStream gets its events from, one
	// by one, and TestScript reads them; empty and nil if it has a script.
	TestService string
	TestScript  *TestScript
	// Descriptor is what a worker registers. Its id is the stage's ID; its sources
	// and sinks carry RemoteGrpcPort payloads with a coder and no endpoint, and
	// its API endpoints are empty: the worker's side fills them in.
	Descriptor *fnpb.ProcessBundleDescriptor
	// Unlifted, if not nil, does the same without combining before the grouping: each
	// input becomes an accumulator of its own. Where keys are mostly different that is
	// cheaper. Bundles of one stage may run either.
	Unlifted *fnpb.ProcessBundleDescriptor
}

// Expiry says when a stateful stage's state goes: when the watermark is behind the end
// of its window by more than the allowed lateness. State in the global window goes
// with the job, unless the DoFn wants to hear of it.
type Expiry struct {
	// AllowedLateness in ms.
	AllowedLateness int64
	// Transform and Family name the timer family by which the DoFn is told
	// (on-window-expiration); empty if it doesn't want to be.
	Transform, Family string
}

// Truncation is how a drain makes an end of a splittable stage's restrictions: a
// worker stage that reads what the stage reads and writes, in the same coder, what
// of it is still to be done. Most SDKs leave bounded restrictions as they are and
// drop unbounded ones, unless the DoFn knows better.
type Truncation struct {
	// Descriptor is what a worker registers, as Stage.Descriptor.
	Descriptor *fnpb.ProcessBundleDescriptor
	// Source and Sink are the ids of the source and the sink transform.
	Source, Sink string
}

// TestEvent is one event of a TestStream: elements, or an advance of processing
// time, or of an output's watermark. All times are in ms.
type TestEvent struct {
	// Output indexes the stage's Outputs: where the elements go, or whose watermark
	// moves.
	Output int
	// Elements are whole windowed values in the output's coder.
	Elements [][]byte
	// Advance is by how much processing time moves on.
	Advance int64
	// Watermark is where the output's watermark moves to. The model's maximum
	// timestamp and later is the end of time, math.MaxInt64.
	Watermark int64
}

// Edge names one output of one stage.
type Edge struct{ Stage, Output int }

// Input is what a stage consumes.
type Input struct {
	// From are the outputs that feed it, in a fixed order. The same edge may be
	// there twice (a collection flattened with itself): then elements come twice.
	From []Edge
	// Coder is the windowed-value coder of the queued elements, a key of Plan.Coders.
	Coder string
	// Keyed says that elements are KVs and that a key's elements must go to one
	// shard, in order: the input is grouped, or the stage has state or timers.
	Keyed bool
	// Grouping is set when the consumer reads KV<K, Iterable<V>>.
	Grouping *Grouping
	// Sorting is set when the consumer wants each key's elements in the order of their
	// timestamps. An input has a Grouping or a Sorting, never both.
	Sorting *Sorting
	// Source is the id of the source transform in the descriptor (and of the
	// data stream to it); empty unless the stage's Kind is SDK.
	Source string
}

// Sorting describes an input that is sorted by time before the consumer gets it
// (RequiresTimeSortedInput). An element waits until nothing before it can come that
// would not be too late: until the watermark is past it by the allowed lateness. What
// comes later than that is dropped.
type Sorting struct {
	// AllowedLateness in ms.
	AllowedLateness int64
}

// Grouping describes the GroupByKey at the input side of a stage.
type Grouping struct {
	// Transform is the GroupByKey's id.
	Transform string
	// Strategy is that of the grouped collection.
	Strategy *pipepb.WindowingStrategy
	// WindowCoder is a key of Plan.Coders.
	WindowCoder string
	// Triggered says that panes fire before the input is complete: the input is
	// unbounded, or the trigger is not the default. Otherwise each key and window
	// is grouped once, at the end.
	Triggered bool
	// OutputCoder is the windowed-value coder of KV<K, Iterable<V>>, a key of Plan.Coders.
	OutputCoder string
	// QuietClosing says that the strategy comes from the Python SDK, which asks for
	// empty panes that its users don't expect; see triggers.Strategy.QuietClosing.
	QuietClosing bool
	// Merging asks what becomes of windows, if they merge by a WindowFn that only its SDK
	// knows; nil otherwise.
	Merging *Question
	// Combining asks what a key's accumulators come to, if they are what is grouped: it
	// reads KV<K, Iterable<A>> and answers KV<K, A>, one for each, in their order. Nil
	// otherwise.
	Combining *Question
}

// Output is one collection that leaves a stage.
type Output struct {
	// Collection is the PCollection's id.
	Collection string
	// Sink is the id of the sink transform in the descriptor (and of the data
	// stream from it); empty unless the stage's Kind is SDK.
	Sink string
	// Coder is the windowed-value coder the bytes are written with, a key of Plan.Coders.
	Coder string
	// Lifted says that the elements are accumulators which a precombine has written.
	Lifted bool
	// To are the readers, in a fixed order.
	To []Target
}

// Target is one reader of an output.
type Target struct {
	Stage int
	// SideInput is -1 for the stage's main input, or the index into its SideInputs.
	SideInput int
}

// SideInput is a collection that a transform of the stage looks up.
type SideInput struct {
	// Transform and Local name it in state keys: the transform's id and the local
	// name of its input.
	Transform, Local string
	Collection       string
	// Pattern is the access pattern's URN.
	Pattern string
	// Coder is the windowed-value coder of the elements, a key of Plan.Coders.
	Coder string
	// From are the outputs that feed it.
	From []Edge
	// Windows is set if elements wait for their windows of it, and not for all of it.
	// The stage's root is then what looks it up.
	Windows *SideWindows
}

// SideWindows is how elements wait for their windows of a side input.
type SideWindows struct {
	// AllowedLateness of the main input, in ms: later elements need no windows any more.
	AllowedLateness int64
	// WindowCoder is that of the side input's windows, a key of Plan.Coders.
	WindowCoder string
	// Mapping asks for the side input's window of a window of the main input: it reads
	// KV<nonce, W> and answers KV<nonce, side input's W>, the nonce being bytes of the
	// engine's choice. Nil if the side input is in the global window.
	Mapping *Question
	// Triggered says that a window may be looked up as soon as something is in it.
	Triggered bool
	// Latest says that a pane takes the place of those before it. It is so in the
	// global window if panes are discarding: what else would ever end there? In other
	// windows, which end, panes add up.
	Latest bool
}

// Question is what a worker is asked in a bundle of its own, of which nothing but the
// answer is used.
type Question struct {
	Environment  string
	Descriptor   *fnpb.ProcessBundleDescriptor
	Source, Sink string
	// OutputCoder is the windowed-value coder of the answer, a key of Plan.Coders.
	OutputCoder string
}

// Timer is one timer family.
type Timer struct {
	Transform, Family string
	Domain            pipepb.TimeDomain_Enum
	// Coder is the timer coder's id, a key of Plan.Coders.
	Coder string
}
