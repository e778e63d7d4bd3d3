package engine

import (
	"context"
	"errors"
	"iter"
	"log/slog"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/types/known/structpb"
)

// ErrWorkerLost is in the chain of an error that is the worker's end, not the
// bundle's: the process died, a stream broke. The bundle runs again on another worker.
var ErrWorkerLost = errors.New("worker lost")

// Workers starts the workers of a job's environments. Package fnapi starts them
// over gRPC, package fnapi/inproc in this process.
type Workers interface {
	// Start brings up a worker and returns when it is ready for bundles, or with
	// the reason it can't be, in words its user can act on. id is unique in the
	// server. The environment comes from the pipeline; env is its key there.
	Start(ctx context.Context, job *JobInfo, id, env string, e *pipepb.Environment) (Worker, error)
}

// JobInfo is what a worker may want to know of its job. It is immutable.
type JobInfo struct {
	ID, Name string
	Options  *structpb.Struct
	// RetrievalToken names the job's staged artifacts.
	RetrievalToken string
	// Log has the job's attributes; workers' own log lines go there. Records of level
	// Warn and above also go to the job's message stream.
	Log *slog.Logger
}

// privateKey marks a context whose records the message stream leaves out.
type privateKey struct{}

// Private returns a context for log records that are not to go to the message
// stream. A worker in the client's own process sends back what the client logs of
// that stream: were it passed on, each message would make another, for ever.
func Private(ctx context.Context) context.Context { return context.WithValue(ctx, privateKey{}, true) }

// IsPrivate says that ctx is one of Private's.
func IsPrivate(ctx context.Context) bool { return ctx.Value(privateKey{}) != nil }

// A Worker runs bundles of one environment. It is safe for concurrent use: many
// bundles may run at once.
type Worker interface {
	// Run runs one bundle to its end. It returns an error with ErrWorkerLost in
	// its chain if the worker is gone; any other error is the bundle's, and holds
	// the SDK's whole text. When ctx ends, Run gives the bundle up and returns ctx's
	// cause soon, even if user code hangs. After Run has returned neither Output
	// nor State is called for the bundle.
	Run(ctx context.Context, b *Bundle) (*Result, error)
	// Split asks the running bundle to give up the part behind the fraction of its
	// remaining input; elements is the number of elements fed or to be fed. A nil
	// response says that it can't be split now.
	Split(ctx context.Context, bundle string, fraction float64, elements int64) (*fnpb.ProcessBundleSplitResponse, error)
	// Progress returns the running bundle's metrics so far, as monitoring infos
	// with their full metadata (short ids resolved). nil says nothing is known.
	Progress(ctx context.Context, bundle string) ([]*pipepb.MonitoringInfo, error)
	// Finalize tells the worker that a bundle which asked for it is durable.
	Finalize(ctx context.Context, bundle string) error
	// Close stops the worker and releases what it holds.
	Close() error
}

// Bundle is one unit of a worker's work.
type Bundle struct {
	// ID is the instruction id, unique in the server.
	ID string
	// Stage is the stage's name, for logs.
	Stage string
	// Descriptor is registered once per worker, by its id. It must not be changed:
	// take a copy to fill in endpoints.
	Descriptor *fnpb.ProcessBundleDescriptor
	// Source is the id of the descriptor's source transform.
	Source string
	// Elements is the number of elements in Input. A worker in this process
	// compares it with what the SDK says it has read.
	Elements int64
	// Input yields chunks of whole encoded elements. The bytes must not be changed
	// and stay valid until Run returns. It may block and is read once, by one goroutine.
	Input iter.Seq2[[]byte, error]
	// Timers yields fired timers, encoded, after Input. May be nil.
	Timers iter.Seq2[TimerChunk, error]
	// TimerFamilies are the families of the descriptor's transforms: each one's
	// stream must be ended for the bundle to finish.
	TimerFamilies []TimerFamily
	// Output takes data from a sink transform. Calls for one sink come in order and
	// not at once; data is the callee's to keep. Whole elements are not promised:
	// one may go on in the next chunk. An error fails the bundle.
	Output func(sink string, data []byte) error
	// AwaitRoom, if not nil, waits as long as there is no place for more output, or until ctx
	// ends; then it returns ctx's cause. Who calls Output calls it before, with no lock held,
	// where it can: what comes meanwhile has to stay in memory. Safe for concurrent use.
	AwaitRoom func(ctx context.Context) error
	// TimerOutput takes timers that the bundle sets; as Output.
	TimerOutput func(transform, family string, data []byte) error
	// State answers the bundle's state requests, perhaps many at once.
	State State
	// CacheTokens say what of the state the SDK may remember from earlier bundles on
	// this worker: what it read or wrote under the same token.
	CacheTokens []*fnpb.ProcessBundleRequest_CacheToken
}

// TimerFamily names a timer family of a transform.
type TimerFamily struct{ Transform, Family string }

// TimerChunk is encoded timers of one family.
type TimerChunk struct {
	TimerFamily
	Data []byte
}

// Result is a bundle's outcome.
type Result struct {
	// Residuals are what the bundle's splittable root left for later.
	Residuals []*fnpb.DelayedBundleApplication
	// Metrics are the bundle's final monitoring infos, short ids resolved.
	Metrics []*pipepb.MonitoringInfo
	// Finalize says the bundle wants Worker.Finalize once it is durable.
	Finalize bool
}

// State answers a bundle's state requests. Keys are the Fn API's. Errors go back
// to the SDK and so into user code; they never end the server. Safe for concurrent use.
type State interface {
	// Get returns a page of the key's data, from the page that token names (nil: the
	// first), and the next page's token, nil at the end.
	Get(ctx context.Context, key *fnpb.StateKey, token []byte) (data, next []byte, err error)
	// Append keeps a copy of data, if anything.
	Append(ctx context.Context, key *fnpb.StateKey, data []byte) error
	Clear(ctx context.Context, key *fnpb.StateKey) error
}
