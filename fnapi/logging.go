package fnapi

import (
	"context"
	"log/slog"
	"sync"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"

	"github.com/summerbeam/summerbeam/runner/engine"
)

// lateLogs is how long a stopped worker's log lines are still taken: the last
// ones often say why it had to be stopped.
const lateLogs = 5 * time.Second

// Logging takes the worker's log lines into its job's log.
func (sv *services) Logging(stream fnpb.BeamFnLogging_LoggingServer) error {
	w, err := sv.s.caller(stream.Context())
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			list, err := stream.Recv()
			if err != nil {
				return
			}
			for _, e := range list.GetLogEntries() {
				w.logEntry(e)
			}
		}
	}()
	select {
	case <-ended:
		return nil
	case <-w.gone:
	}
	select {
	case <-ended:
	case <-time.After(lateLogs):
	}
	return nil
}

// logEntry writes one line.
func (w *worker) logEntry(e *fnpb.LogEntry) {
	level := slogLevel(e.GetSeverity())
	ctx := context.Background()
	id := e.GetInstructionId()
	of, stage := w.s.whose(w, id)
	// In LOOPBACK, which is EXTERNAL to us, the worker's process is the client's, and what
	// it logs outside bundles is often a message that we have sent it.
	if id == "" && w.environment.GetUrn() == envExternal {
		ctx = engine.Private(ctx)
	}
	h := of.log.Handler()
	if !h.Enabled(ctx, level) {
		return
	}
	at := time.Time{}
	if e.GetTimestamp() != nil {
		at = e.GetTimestamp().AsTime()
	}
	rec := slog.NewRecord(at, level, e.GetMessage(), 0)
	for _, a := range []slog.Attr{
		slog.String("stage", stage),
		slog.String("bundle", id),
		slog.String("transform", e.GetTransformId()),
		slog.String("location", e.GetLogLocation()),
		slog.String("trace", e.GetTrace()),
	} {
		if a.Value.String() != "" {
			rec.AddAttrs(a)
		}
	}
	_ = h.Handle(ctx, rec)
}

// whose returns the worker that runs, or lately ran, a bundle, and the bundle's
// stage; w itself if nobody knows it. In LOOPBACK several Go workers live in one
// process and share its logger, which sends all lines by the worker that came
// last, perhaps of another job.
func (s *Server) whose(w *worker, bundle string) (*worker, string) {
	if bundle == "" {
		return w, ""
	}
	if stage, ok := w.stageOf(bundle); ok {
		return w, stage
	}
	for _, other := range s.snapshot() {
		if stage, ok := other.stageOf(bundle); ok {
			return other, stage
		}
	}
	return w, ""
}

func (w *worker) stageOf(bundle string) (string, bool) {
	if r := w.run(bundle); r != nil {
		return r.stage, true
	}
	return w.recent.stage(bundle)
}

// slogLevel maps severities. slog has no levels of its own for some of Beam's.
func slogLevel(s fnpb.LogEntry_Severity_Enum) slog.Level {
	switch s {
	case fnpb.LogEntry_Severity_TRACE:
		return slog.LevelDebug - 4
	case fnpb.LogEntry_Severity_DEBUG:
		return slog.LevelDebug
	case fnpb.LogEntry_Severity_NOTICE:
		return slog.LevelInfo + 2
	case fnpb.LogEntry_Severity_WARN:
		return slog.LevelWarn
	case fnpb.LogEntry_Severity_ERROR, fnpb.LogEntry_Severity_CRITICAL:
		return slog.LevelError
	default:
		return slog.LevelInfo
	}
}

// recentBundles remembers the stages of bundles that are over: log lines come on
// a stream of their own, and late.
type recentBundles struct {
	mu     sync.Mutex // guards the fields below
	stages map[string]string
	ring   [256]string
	next   int
}

func (b *recentBundles) add(id, stage string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stages == nil {
		b.stages = map[string]string{}
	}
	delete(b.stages, b.ring[b.next])
	b.ring[b.next] = id
	b.stages[id] = stage
	b.next = (b.next + 1) % len(b.ring)
}

func (b *recentBundles) stage(id string) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	stage, ok := b.stages[id]
	return stage, ok
}
