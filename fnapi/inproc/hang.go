package inproc

import (
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"time"
)

// watchHang logs where user code is that goes on long after its bundle was given
// up. Nothing else can be done: a goroutine can't be killed.
func (r *bundleRun) watchHang() {
	began := time.Now()
	select {
	case <-r.done:
		return
	case <-time.After(r.w.opts.HangAfter):
	}
	r.w.log.Warn("user code doesn't return though its bundle was given up; it can't be killed and is left behind, the bundle is free to be retried",
		"stage", r.b.Stage, "bundle", r.b.ID, "after", time.Since(began).Round(time.Millisecond),
		"cause", context.Cause(r.ctx), "stack", stackOf(r.b.ID))
	<-r.done
	r.w.log.Info("user code of a bundle that was given up has returned", "stage", r.b.Stage, "bundle", r.b.ID,
		"after", time.Since(began).Round(time.Millisecond))
}

// stackOf returns the stacks of the goroutines that work for the bundle: its own,
// and those that its user code has started, which inherit its label.
func stackOf(bundle string) string {
	var all bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
		return "no stack: " + err.Error()
	}
	label := []byte(fmt.Sprintf("%q:%q", "bundle", bundle))
	var out bytes.Buffer
	for _, g := range bytes.Split(all.Bytes(), []byte("\n\n")) {
		if bytes.Contains(g, label) {
			out.Write(g)
			out.WriteString("\n\n")
		}
	}
	if out.Len() == 0 {
		return "no goroutine is labelled with the bundle"
	}
	return out.String()
}
