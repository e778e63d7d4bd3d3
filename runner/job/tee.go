package job

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"

	"github.com/summerbeam/summerbeam/runner/engine"
)

// tee is the handler of JobInfo.Log. Every record goes on to the server's
// handler, and those at Warn and above to the job's messages as well, where the
// user who submitted the job sees them.
type tee struct {
	server  slog.Handler
	history *history
	// attrs are the attributes of With, as text, and group the open groups' prefix.
	attrs, group string
}

// newJobLog returns the logger of a job, whose attributes the server's records
// carry and the user's messages don't need.
func newJobLog(server *slog.Logger, h *history, id, name string) *slog.Logger {
	return slog.New(&tee{
		server:  server.Handler().WithAttrs([]slog.Attr{slog.String("job", id), slog.String("job_name", name)}),
		history: h,
	})
}

func (t *tee) Enabled(ctx context.Context, l slog.Level) bool {
	return (l >= slog.LevelWarn && !engine.IsPrivate(ctx)) || t.server.Enabled(ctx, l)
}

func (t *tee) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn && !engine.IsPrivate(ctx) {
		var b strings.Builder
		b.WriteString(r.Message)
		b.WriteString(t.attrs)
		r.Attrs(func(a slog.Attr) bool {
			writeAttr(&b, t.group, a)
			return true
		})
		importance := jobpb.JobMessage_JOB_MESSAGE_WARNING
		if r.Level >= slog.LevelError {
			importance = jobpb.JobMessage_JOB_MESSAGE_ERROR
		}
		t.history.say(message{importance, b.String()})
	}
	if t.server.Enabled(ctx, r.Level) {
		return t.server.Handle(ctx, r)
	}
	return nil
}

func (t *tee) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b strings.Builder
	b.WriteString(t.attrs)
	for _, a := range attrs {
		writeAttr(&b, t.group, a)
	}
	return &tee{server: t.server.WithAttrs(attrs), history: t.history, attrs: b.String(), group: t.group}
}

func (t *tee) WithGroup(name string) slog.Handler {
	if name == "" {
		return t
	}
	return &tee{server: t.server.WithGroup(name), history: t.history, attrs: t.attrs, group: t.group + name + "."}
}

// writeAttr writes " key=value", and a value of several lines, such as a
// traceback, as it is on lines of its own.
func writeAttr(b *strings.Builder, group string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, member := range v.Group() {
			writeAttr(b, group, member)
		}
		return
	}
	if a.Equal(slog.Attr{}) {
		return
	}
	text := v.String()
	if v.Kind() == slog.KindAny {
		text = fmt.Sprint(v.Any()) // survives a panic of the value's own method
	}
	if strings.Contains(text, "\n") {
		fmt.Fprintf(b, "\n%s%s:\n%s", group, a.Key, text)
		return
	}
	fmt.Fprintf(b, " %s%s=%s", group, a.Key, text)
}
