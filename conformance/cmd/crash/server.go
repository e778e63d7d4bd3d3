package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"
)

// process is the server, when it runs.
type process struct {
	address string
	cmd     *exec.Cmd
}

// start starts the server, unless it runs, and waits until it listens.
func (p *process) start(log *os.File, data string) error {
	if p.cmd != nil {
		return nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	p.address = l.Addr().String()
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return err
	}
	p.cmd = exec.Command(*serve, "serve", fmt.Sprintf("--port=%d", port), "--data_dir="+data, "--store="+*store)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		p.cmd = nil
		return err
	}
	for range 200 {
		if c, err := net.Dial("tcp", p.address); err == nil {
			return c.Close()
		}
		time.Sleep(25 * time.Millisecond)
	}
	p.kill()
	return fmt.Errorf("the server does not listen on %s", p.address)
}

// kill kills the server, if it runs.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may be gone already
	_ = p.cmd.Wait()         // "signal: killed" is what we want
	p.cmd = nil
}

// killed says that the server is not there.
func (p *process) killed() bool { return p.cmd == nil }
