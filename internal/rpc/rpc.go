// Package rpc connects to services of other processes: servers, pools of workers.
package rpc

import (
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Connect returns a connection to a service, without encryption. It doesn't wait for it.
// addr is host:port, or what else gRPC takes.
//
// A host is looked up as any program does it. By itself gRPC would ask DNS for more, a
// service config and balancers, even for localhost and at each new connection; where no DNS
// answers, that is five seconds each time.
func Connect(addr string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	if !strings.ContainsAny(addr, "/") && !strings.HasPrefix(addr, "unix:") {
		addr = "passthrough:///" + addr
	}
	return grpc.NewClient(addr, append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, opts...)...)
}
