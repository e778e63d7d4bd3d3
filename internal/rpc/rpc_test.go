package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// TestConnect: services are found on ports and sockets, and DNS isn't asked for those on this machine.
func TestConnect(t *testing.T) {
	was := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = was })
	var asked atomic.Int32
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		asked.Add(1)
		return nil, errors.New("no DNS here")
	}}
	g := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(g, health.NewServer())
	t.Cleanup(g.Stop)
	port, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []net.Listener{port, socket} {
		go func() { _ = g.Serve(l) }()
	}
	for _, addr := range []string{
		fmt.Sprintf("localhost:%d", port.Addr().(*net.TCPAddr).Port), port.Addr().String(), "unix:" + socket.Addr().String(),
	} {
		c, err := Connect(addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := grpc_health_v1.NewHealthClient(c).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("DNS was asked %d times", n)
	}
}
