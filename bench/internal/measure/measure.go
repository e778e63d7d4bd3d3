package measure

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/summerbeam/summerbeam/bench/internal/peer"
	"github.com/summerbeam/summerbeam/bench/internal/proc"
)

// Workload is a program that runs a pipeline.
type Workload struct {
	Name string
	// Does says it in a few words.
	Does string
	// Records that are read in all, 0 if there is no such number.
	Records int
	Program string
	// Args are the program's, beside those that choose the runner. dir is a
	// directory for its output.
	Args func(dir string) []string
	// Check looks at the output after the run.
	Check func(stdout []byte, dir string) (Said, error)
	// Only are the peers it can run on; nil is all.
	Only []string
}

// Said is what a program says of its own run. Zeros are not said: then it is what
// the whole process has needed.
type Said struct {
	// Seconds that the pipeline took.
	Seconds float64
	// CPU seconds. Where a program says them, its process has done other
	// things too, and its memory says nothing.
	CPU float64
}

// Limits end a run.
type Limits struct {
	Time   time.Duration
	Memory int64
}

// Once runs a workload once on a fresh instance of a peer. Its files are in dir.
// An error is about the measuring; what fails in the run is in its Run.
func Once(ctx context.Context, w Workload, p peer.Peer, limits Limits, dir string) (Run, error) {
	inst, err := p.Start(ctx, dir)
	if err != nil {
		return Run{}, fmt.Errorf("starting %s: %w", p.Name(), err)
	}
	defer inst.Stop()

	args := append(w.Args(dir), inst.Flags...)
	runCtx, cancel := context.WithTimeout(ctx, limits.Time)
	defer cancel()
	cmd := exec.Command(w.Program, args...)
	var stdout bytes.Buffer
	stderrFile := filepath.Join(dir, "program.log")
	stderr, err := os.Create(stderrFile)
	if err != nil {
		return Run{}, err
	}
	defer stderr.Close()
	cmd.Stdout, cmd.Stderr = &stdout, stderr
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}

	var serverCPU time.Duration
	if inst.Server != nil {
		serverCPU = proc.CPU(inst.Server.PID())
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return Run{}, err
	}
	pid := cmd.Process.Pid
	roots := []int{pid}
	if inst.Server != nil {
		roots = append(roots, inst.Server.PID())
	}
	tooMuch := make(chan struct{})
	watch := proc.Watch(limits.Memory, func(int64) { close(tooMuch) }, roots...)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	var r Run
	select {
	case err = <-ended:
	case <-tooMuch:
		r.Over = fmt.Sprintf("%.0f GB", float64(limits.Memory)/1e9)
	case <-runCtx.Done():
		if ctx.Err() == nil {
			r.Over = fmt.Sprintf("%.0f s", limits.Time.Seconds())
		}
	}
	r.Seconds = time.Since(start).Seconds()
	if inst.Server != nil {
		r.CPU = (proc.CPU(inst.Server.PID()) - serverCPU).Seconds()
	}
	if r.Over != "" || ctx.Err() != nil {
		_ = syscall.Kill(-pid, syscall.SIGKILL) // It may have ended just now.
		<-ended
	}
	peak := watch.Stop()
	r.Peak, r.ProgramPeak = peak.Total, peak.Each[0]
	if inst.Server != nil {
		r.ServerPeak = peak.Each[1]
	}
	state := cmd.ProcessState
	if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
		// The kernel's own peak: the samples see little of a short run.
		r.ProgramPeak = max(r.ProgramPeak, usage.Maxrss<<10)
		r.Peak = max(r.Peak, r.ProgramPeak)
	}
	r.CPU += (state.UserTime() + state.SystemTime()).Seconds()
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
	if r.Over != "" {
		return r, nil
	}
	if err != nil {
		log, _ := os.ReadFile(stderrFile)
		r.Error = fmt.Sprintf("%v: %s", err, lastLines(log, 5))
		return r, nil
	}
	said, err := w.Check(stdout.Bytes(), dir)
	if err != nil {
		r.Error = "wrong result: " + err.Error()
		return r, nil
	}
	if said.Seconds > 0 {
		r.Seconds = said.Seconds
	}
	if said.CPU > 0 {
		r.CPU, r.Peak, r.ProgramPeak = said.CPU, 0, 0
	}
	return r, nil
}

func lastLines(b []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
