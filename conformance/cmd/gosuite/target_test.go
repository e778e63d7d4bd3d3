package main

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// listenVar makes the test binary a server that listens at the variable's value.
const listenVar = "GOSUITE_TEST_LISTEN"

func TestMain(m *testing.M) {
	if addr := os.Getenv(listenVar); addr != "" {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			panic(err)
		}
		for {
			conn, err := l.Accept()
			if err != nil {
				panic(err)
			}
			conn.Close()
		}
	}
	os.Exit(m.Run())
}

func TestStartServer(t *testing.T) {
	server, err := startServer(t.Context(), t.TempDir(), func(addr *net.TCPAddr) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), listenVar+"="+addr.String())
		return cmd
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.stop()
	if err := server.alive(); err != nil {
		t.Errorf("the server should run: %v", err)
	}
	endpoint, ok := strings.CutPrefix(server.flags[1], "--endpoint=")
	if !ok {
		t.Fatalf("the second flag of %v is no endpoint", server.flags)
	}
	conn, err := net.Dial("tcp", endpoint)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()

	server.stop()
	if err := server.alive(); err == nil {
		t.Error("the server runs after it was stopped")
	}
	if conn, err := net.Dial("tcp", endpoint); err == nil {
		conn.Close()
		t.Error("the server accepts connections after it was stopped")
	}
}

func TestStartServerThatDies(t *testing.T) {
	_, err := startServer(t.Context(), t.TempDir(), func(*net.TCPAddr) *exec.Cmd {
		return exec.CommandContext(t.Context(), "sh", "-c", "echo no such store; exit 3")
	})
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no such store") {
		t.Errorf("got error %v, want the server's exit status and output", err)
	}
}
