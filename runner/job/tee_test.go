package job

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/summerbeam/summerbeam/runner/engine"
)

type panicker struct{}

func (panicker) Error() string { panic("no text") }

// TestTee: the server's log gets everything with the job's attributes, the user what is Warn
// and above, without them.
func TestTee(t *testing.T) {
	var out bytes.Buffer
	h := newHistory(testClock())
	server := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo}))
	log := newJobLog(server, h, "job-1", "name")
	log.Debug("debug")
	log.Info("info")
	log.With("worker", "w1").WithGroup("bundle").With("id", 7).Warn("slow", "took", "1s", slog.Group("stage", "name", "s01"), slog.Attr{})
	log.WithGroup("").Error("broken", "error", errors.New("line 1\nline 2"), "x", slog.GroupValue(slog.Int("y", 2)))
	log.Error("odd", "error", panicker{})
	want := []string{"STOPPED", "WARNING: slow worker=w1 bundle.id=7 bundle.took=1s bundle.stage.name=s01", "ERROR: broken\nerror:\nline 1\nline 2 x.y=2"}
	h.advance(cancelled)
	got := transcript(t, h)
	if !slices.Equal(got[:3], want) || !strings.Contains(got[3], "odd") {
		t.Errorf("messages %q, want %q", got, want)
	}
	text := out.String()
	if strings.Contains(text, "debug") || strings.Count(text, "job=job-1 job_name=name") != 4 || !strings.Contains(text, "worker=w1 bundle.id=7") {
		t.Errorf("log:\n%s", text)
	}

	// A server that logs errors only does not hide warnings from the user.
	h = newHistory(testClock())
	out.Reset()
	quiet := newJobLog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelError})), h, "job-1", "name")
	quiet.Warn("w")
	if len(h.entries) != 2 || out.Len() != 0 {
		t.Errorf("%d entries, log %q", len(h.entries), &out)
	}

	// What a worker in the client's process echoes of the messages is no new message.
	h = newHistory(testClock())
	log = newJobLog(server, h, "job-1", "name")
	log.WarnContext(engine.Private(t.Context()), "echo")
	if len(h.entries) != 1 || !strings.Contains(out.String(), "echo") {
		t.Errorf("%d entries after an echo, log %q", len(h.entries), &out)
	}
}
