package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// tailLines is how much of a failed test's output the report shows.
const tailLines = 30

type runOptions struct {
	setup   Setup
	flags   []string      // flags of the test binary that choose the runner
	drain   drainer       // for the tests that want it
	workDir string        // gets each test's output and temporary directory
	timeout time.Duration // for one test, large ones get more
	// grace is how long a test that ran into its own timeout has to print its
	// goroutines before it is killed.
	grace    time.Duration
	parallel int
	// done is called with each result, one at a time.
	done func(Result)
	// alive returns an error once the server that the tests use has ended.
	alive func() error
}

// runTests runs each test in a process of its own, several at the same time, and
// returns the results in the order of tests. An error means that the run itself
// failed, not a test.
func runTests(ctx context.Context, tests []Test, o runOptions) ([]Result, error) {
	var (
		results  = make([]Result, len(tests))
		finished = make(chan int)
		slots    = make(chan struct{}, o.parallel)
		wg       sync.WaitGroup
	)
	go func() {
		defer close(finished)
		for i, test := range tests {
			slots <- struct{}{}
			wg.Go(func() {
				results[i] = runTest(ctx, test, o)
				<-slots
				finished <- i
			})
		}
		wg.Wait()
	}()
	for i := range finished {
		o.done(results[i])
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return results, nil
}

// runTest runs one test. The process gets its own directory for temporary files
// and its own process group, so that whatever it leaves behind goes with it.
func runTest(ctx context.Context, test Test, o runOptions) Result {
	result := Result{Setup: o.setup, Suite: test.Suite, Test: test.Name, Outcome: Failed}
	start := time.Now()
	output, err := execTest(ctx, test, o)
	result.Duration = time.Since(start)
	result.Outcome, result.Why = outcomeOf(test.Name, output, err)
	if result.Outcome == Failed {
		if err := o.alive(); err != nil {
			result.Why += "; " + err.Error()
		}
		result.Tail = tail(output, tailLines)
	}
	return result
}

func execTest(ctx context.Context, test Test, o runOptions) ([]byte, error) {
	dir := filepath.Join(o.workDir, test.Suite+"."+test.Name)
	tmp := filepath.Join(dir, "tmp")
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	log, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return nil, err
	}
	defer log.Close()

	timeout := test.timeout(o.timeout)
	ctx, cancel := context.WithTimeout(ctx, timeout+o.grace)
	defer cancel()
	args := append([]string{
		"-test.run=^" + test.Name + "$",
		"-test.v=test2json",
		"-test.timeout=" + timeout.String(),
	}, o.flags...)
	stopDrain := func() error { return nil }
	if wantsDrain(test) {
		args = append(args, o.drain.flags...)
		stopDrain = o.drain.start(ctx)
	}
	cmd := exec.CommandContext(ctx, test.Binary, args...)
	cmd.Dir = dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), isTempVar), "TMPDIR="+tmp)
	cmd.Stdout, cmd.Stderr = log, log
	ownGroup(cmd)

	runErr := cmd.Run()
	if err := stopDrain(); err != nil && runErr != nil {
		runErr = fmt.Errorf("%w (%w)", runErr, err)
	}
	if cmd.Process != nil {
		// A process that the test started and left behind would hold its port
		// and its memory for the rest of the run.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	if ctx.Err() != nil && runErr != nil {
		runErr = fmt.Errorf("killed after %s: %w", timeout+o.grace, runErr)
	}
	output, err := os.ReadFile(log.Name())
	return output, errors.Join(runErr, err)
}

func isTempVar(kv string) bool { return strings.HasPrefix(kv, "TMPDIR=") }

// ownGroup makes the command the leader of a process group, all of which is
// killed when the command's context ends.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
