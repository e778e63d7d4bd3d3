package pebble

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
)

// fatal is the logger that pebble gets, and what keeps one store's broken disk
// from ending the whole process.
//
// When a write or sync of the log or the manifest fails, pebble calls Fatalf and
// counts on it not to return: the default exits the process. But a process
// runs many jobs, each with a store of its own. So Fatalf parks its goroutine
// for ever (it may hold any of pebble's locks, and unwinding would run code
// that believes the write went well), and the store answers every later call
// with the error. For that, calls that may get there run on a goroutine of their
// own. Nobody touches the database again, Close does not either: its directory
// stays locked until the process ends, so a second writer can't meet the
// parked one.
type fatal struct {
	log *slog.Logger

	once   sync.Once
	failed chan struct{} // closed once err is set
	err    error
}

func newFatal(log *slog.Logger) *fatal {
	return &fatal{log: log, failed: make(chan struct{})}
}

// Infof is for pebble.
func (f *fatal) Infof(format string, args ...any) { f.logf(slog.LevelDebug, format, args) }

// Errorf is for pebble.
func (f *fatal) Errorf(format string, args ...any) { f.logf(slog.LevelWarn, format, args) }

// Fatalf is for pebble. It does not return.
func (f *fatal) Fatalf(format string, args ...any) {
	f.once.Do(func() {
		f.err = fmt.Errorf("the store has failed and is closed for this process; free disk space or mend the disk, then restart: "+format, args...)
		close(f.failed)
		f.log.Error("state store failed", "err", f.err.Error())
	})
	select {}
}

func (f *fatal) logf(level slog.Level, format string, args []any) {
	if ctx := context.Background(); f.log.Enabled(ctx, level) {
		f.log.Log(ctx, level, fmt.Sprintf(format, args...))
	}
}

// check returns the error that ended the store, nil while it lives.
func (f *fatal) check() error {
	select {
	case <-f.failed:
		return f.err
	default:
		return nil
	}
}

// run calls fn, which may get into Fatalf, and returns its error or the fatal one.
func (f *fatal) run(fn func() error) error {
	if err := f.check(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- fn() }()
	select {
	case err := <-done:
		return err
	case <-f.failed:
		return f.err
	}
}
