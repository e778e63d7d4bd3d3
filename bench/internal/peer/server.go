package peer

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// startLimit is how long a server may take to listen. A JVM that starts on a busy
// machine takes its time.
const startLimit = 60 * time.Second

// Server is a runner's own process.
type Server struct {
	endpoint string
	cmd      *exec.Cmd
	ended    chan struct{}
}

// PID is the process's id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// startServer starts a server and waits until it listens on the port. Its output
// goes to the file server.log in dir.
func startServer(ctx context.Context, dir string, port int, program string, args ...string) (*Server, error) {
	logFile := filepath.Join(dir, "server.log")
	log, err := os.Create(logFile)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	// In a group of its own, so that it ends with all that it has started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &Server{endpoint: net.JoinHostPort("localhost", strconv.Itoa(port)), cmd: cmd, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // It is killed in the end, and that is an error to Wait.
		close(s.ended)
	}()
	if err := s.awaitListening(ctx); err != nil {
		s.stop()
		out, _ := os.ReadFile(logFile)
		return nil, fmt.Errorf("%s: %w; its output: %s", program, err, tail(out, 2000))
	}
	return s, nil
}

func (s *Server) awaitListening(ctx context.Context) error {
	limit := time.After(startLimit)
	for {
		if c, err := net.Dial("tcp", s.endpoint); err == nil {
			c.Close()
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("it has ended instead of listening on %s", s.endpoint)
		case <-limit:
			return fmt.Errorf("it doesn't listen on %s after %v", s.endpoint, startLimit)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (s *Server) stop() {
	// The group may be gone already, and then there is nothing to do.
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	<-s.ended
}

// freePort returns a port of the loopback interface that nobody has just now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }
