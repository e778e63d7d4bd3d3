package fnapi

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

const (
	// obituaryWait is how long a broken stream waits for its process to be reaped.
	obituaryWait = 2 * time.Second
	// stderrTail is how much of a dead process's last words its error repeats.
	stderrTail = 8 << 10
	// maxLine is where a line of a process's output is cut.
	maxLine = 64 << 10
)

// process runs a worker as a child process: a program that takes the flags of
// Beam's container contract, such as an SDK's boot program.
func process(p *pipepb.ProcessPayload) launcher {
	return func(_ context.Context, w *worker) (string, error) {
		cmd := exec.Command(p.GetCommand(),
			"--id="+w.id,
			"--logging_endpoint="+w.endpoint,
			"--artifact_endpoint="+w.endpoint,
			"--provision_endpoint="+w.endpoint,
			"--control_endpoint="+w.endpoint,
		)
		cmd.Dir = w.s.opts.Dir
		cmd.Env = os.Environ()
		for k, v := range p.GetEnv() {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
		// Its children may outlive it and hold the pipes open.
		cmd.WaitDelay = time.Second
		ownGroup(cmd)
		stdout := &lines{log: w.log.With("stream", "stdout")}
		stderr := &lines{log: w.log.With("stream", "stderr")}
		cmd.Stdout, cmd.Stderr = stdout, stderr

		exited := make(chan struct{})
		var reason string // written before exited is closed
		w.obituary = func() string {
			select {
			case <-exited:
				return reason
			case <-time.After(obituaryWait):
				return ""
			}
		}
		if err := cmd.Start(); err != nil {
			return "", fmt.Errorf("command %q: %w", p.GetCommand(), err)
		}
		w.setStop(func() {
			// It sees its control stream end and may go by itself.
			terminateGroup(cmd)
			select {
			case <-exited:
			case <-time.After(w.s.opts.StopTimeout):
			}
			killGroup(cmd)
			<-exited
		})
		go func() {
			_ = cmd.Wait()
			stdout.flush()
			stderr.flush()
			reason = fmt.Sprintf("its process (%s, pid %d) ended: %v", p.GetCommand(), cmd.Process.Pid, cmd.ProcessState)
			if tail := stderr.lastWords(); tail != "" {
				reason += "; the end of its stderr:\n" + tail
			}
			close(exited)
			w.lose(reason)
		}()
		return fmt.Sprintf("its process (%s, pid %d) runs", p.GetCommand(), cmd.Process.Pid), nil
	}
}

// lines writes a process's output to a log, line by line, and keeps its end.
type lines struct {
	log *slog.Logger

	mu      sync.Mutex // guards the fields below
	partial []byte
	tail    []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tail = append(l.tail, p...)
	if over := len(l.tail) - stderrTail; over > 0 {
		l.tail = append(l.tail[:0], l.tail[over:]...)
	}
	l.partial = append(l.partial, p...)
	for {
		i := bytes.IndexByte(l.partial, '\n')
		if i < 0 && len(l.partial) < maxLine {
			return len(p), nil
		}
		cut := i + 1
		if i < 0 {
			i, cut = maxLine, maxLine
		}
		l.log.Info(string(bytes.TrimRight(l.partial[:i], "\r")))
		l.partial = append(l.partial[:0], l.partial[cut:]...)
	}
}

func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.partial) > 0 {
		l.log.Info(string(l.partial))
		l.partial = nil
	}
}

func (l *lines) lastWords() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(bytes.TrimSpace(l.tail))
}
