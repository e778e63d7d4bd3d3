package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"

	"github.com/summerbeam/summerbeam/runner"
	"github.com/summerbeam/summerbeam/runner/beamrunner"
	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/stores"
)

// A kill at a random time seldom comes when it hurts most. So the embedded job's store is
// wrapped: at a named point it kills its own process, as kill -9 does.
//
// A served job is killed at random times only: its server is the program that users run,
// which has no such points.

// points are where the process is killed, and what people call them.
var points = []struct{ name, what string }{
	{"write", "inside the store's write"},
	{"written", "between a write and its acknowledgement"},
	{"recovery", "while the last epoch was read back"},
}

// runnerName is that of the embedded runner whose store is wrapped.
const runnerName = "summerbeam-failing"

func init() { beam.RegisterRunner(runnerName, executeFailing) }

// executeFailing runs the pipeline on a store that ends the process at --crash_at.
func executeFailing(ctx context.Context, p *beam.Pipeline) (beam.PipelineResult, error) {
	point, n, err := parsePoint(*crashAt)
	if err != nil {
		return nil, err
	}
	open, err := stores.Opener(*store)
	if err != nil {
		return nil, err
	}
	return beamrunner.ExecuteWith(ctx, p, func(cfg *runner.Config) {
		cfg.OpenStore = func(dir string, o statebackend.Options) (statebackend.Store, error) {
			st, err := open(dir, o)
			if err != nil {
				return nil, err
			}
			return &failing{Store: st, point: point, left: n, kill: killSelf}, nil
		}
	})
}

// parsePoint reads NAME:N, the Nth time that a point is come to.
func parsePoint(s string) (name string, n int, err error) {
	name, count, _ := strings.Cut(s, ":")
	if _, err := fmt.Sscan(count, &n); err != nil || n < 1 {
		return "", 0, fmt.Errorf("--crash_at=%s is not a point and a positive number", s)
	}
	for _, p := range points {
		if p.name == name {
			return name, n, nil
		}
	}
	return "", 0, fmt.Errorf("--crash_at=%s: there is no such point", s)
}

// choosePoint says where the process is to be killed the next time.
func choosePoint(killed int, random *rand.Rand) string {
	p := points[killed/2%len(points)].name
	n := 1 + random.IntN(6)
	if p == "recovery" {
		// The first read finds the snapshot, those that follow get what it names.
		n = 1 + random.IntN(12)
	}
	return fmt.Sprintf("%s:%d", p, n)
}

// killSelf ends the process as kill -9 does.
func killSelf(point string) {
	fmt.Fprintln(os.Stderr, "crash: killed at point", point)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}

// killedAt is the point at which a process, of which the log is given, has killed itself.
func killedAt(log string) string {
	_, rest, _ := strings.Cut(log, "crash: killed at point ")
	point, _, _ := strings.Cut(rest, "\n")
	return point
}

// failing is a store that kills the process at a point.
type failing struct {
	statebackend.Store
	point string
	kill  func(point string)

	leftMu sync.Mutex
	left   int
}

var errKilled = errors.New("the process is being killed")

// due counts one coming to a point.
func (f *failing) due(point string) bool {
	f.leftMu.Lock()
	defer f.leftMu.Unlock()
	if f.point != point {
		return false
	}
	f.left--
	return f.left == 0
}

// Write implements statebackend.Store.
func (f *failing) Write(b statebackend.Batch, sync bool) error {
	if f.due("write") {
		// A write of some kilobytes with its sync takes some 100 us: anywhere within.
		at := time.Duration(rand.Int64N(int64(400 * time.Microsecond)))
		time.AfterFunc(at, func() { f.kill("write") })
		_ = f.Store.Write(b, sync) // nobody will hear of its end
		select {}
	}
	err := f.Store.Write(b, sync)
	if f.due("written") {
		f.kill("written")
		return errKilled
	}
	return err
}

// Get implements statebackend.Reader.
func (f *failing) Get(dst, key []byte) ([]byte, bool, error) {
	if f.due("recovery") {
		f.kill("recovery")
		return nil, false, errKilled
	}
	return f.Store.Get(dst, key)
}
