package main

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

const (
	startTime = 20 * time.Second // until a server must accept connections
	stopTime  = 10 * time.Second // until a server that was told to stop is killed
)

// target is what the tests run against: the flags that point them at it and, if
// it is a server of ours, its process.
type target struct {
	flags []string
	// drain is for tests that want their job drained.
	drain drainer
	// alive returns why the server has ended, nil while it runs.
	alive func() error
	stop  func()
}

// startTarget starts the setup's server, if it needs one.
func startTarget(ctx context.Context, cfg config, b *builder, setup Setup, workDir string) (*target, error) {
	none := func() error { return nil }
	switch setup.Mode {
	case modeEndpoint:
		return &target{flags: served(setup.Endpoint), drain: servedDrain(setup.Endpoint), alive: none, stop: func() {}}, nil
	case modeEmbedded:
		// The environment matters to the tests alone: TestParDoBundleFinalizer
		// skips itself unless its DoFns run in the test's own process.
		flags := []string{"--runner=summerbeam", "--environment_type=LOOPBACK", "--summerbeam_store=" + setup.Store}
		if cfg.memory != "" {
			flags = append(flags, "--summerbeam_memory="+cfg.memory)
		}
		for _, o := range cfg.options {
			flags = append(flags, "--summerbeam_"+o)
		}
		return &target{flags: flags, drain: embeddedDrain(), alive: none, stop: func() {}}, nil
	case modePrism:
		binary, err := b.prism(ctx)
		if err != nil {
			return nil, err
		}
		return startServer(ctx, workDir, func(addr *net.TCPAddr) *exec.Cmd {
			return exec.CommandContext(ctx, binary, "--job_port="+strconv.Itoa(addr.Port), "--serve_http=false")
		})
	default:
		binary, err := filepath.Abs(cfg.binary)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(binary); err != nil {
			return nil, fmt.Errorf("no server to test: %w; run `make build`", err)
		}
		return startServer(ctx, workDir, func(addr *net.TCPAddr) *exec.Cmd {
			args := []string{
				"serve", "--port=" + strconv.Itoa(addr.Port), "--store=" + setup.Store, "--data_dir=" + filepath.Join(workDir, "data"),
			}
			if cfg.memory != "" {
				args = append(args, "--memory="+cfg.memory)
			}
			for _, o := range cfg.options {
				args = append(args, "--default="+o)
			}
			return exec.CommandContext(ctx, binary, args...)
		})
	}
}

// served are the flags for a runner that is reached over the Job API, and that
// uses the test's own process as the worker.
func served(endpoint string) []string {
	return []string{"--runner=universal", "--endpoint=" + endpoint, "--environment_type=LOOPBACK"}
}

// startServer starts a server on a free loopback port and waits until it accepts
// connections. Its output goes to a file server.log in workDir.
func startServer(ctx context.Context, workDir string, command func(*net.TCPAddr) *exec.Cmd) (*target, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(workDir, "server.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := command(addr)
	cmd.Stdout, cmd.Stderr = log, log
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}

	// ended is closed after exitErr is set.
	ended := make(chan struct{})
	var exitErr error
	go func() {
		exitErr = cmd.Wait()
		close(ended)
	}()
	t := &target{flags: served(addr.String()), drain: servedDrain(addr.String())}
	t.alive = func() error {
		select {
		case <-ended:
			output, _ := os.ReadFile(log.Name())
			return fmt.Errorf("the server has ended (%v): %s", exitErr, tail(output, tailLines))
		default:
			return nil
		}
	}
	t.stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(stopTime):
		}
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
	}
	if err := t.awaitListening(ctx, addr); err != nil {
		t.stop()
		return nil, err
	}
	return t, nil
}

// awaitListening waits until the server accepts connections.
func (t *target) awaitListening(ctx context.Context, addr *net.TCPAddr) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		if err := t.alive(); err != nil {
			return err
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", addr.String())
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server does not accept connections after %s: %w", startTime, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// freeAddr returns a loopback address that nobody listens on right now.
func freeAddr() (*net.TCPAddr, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr), nil
}
