// Package peer starts the runners that are compared, each run on a fresh one.
package peer

import (
	"context"
	"fmt"
	"strings"
)

// Peer is a way to run a Beam pipeline.
type Peer interface {
	// Name is short and without spaces.
	Name() string
	// Describe says what it is in one line.
	Describe() string
	// Start gets it ready for one run. dir is an empty directory for its files.
	Start(ctx context.Context, dir string) (*Instance, error)
}

// Instance is a peer that is ready for one run.
type Instance struct {
	// Flags make a pipeline program use it.
	Flags []string
	// Server is nil if the runner is in the program's own process.
	Server *Server
}

// Stop ends what Start has started.
func (i *Instance) Stop() {
	if i.Server != nil {
		i.Server.stop()
	}
}

// Programs are the paths of the peers' programs.
type Programs struct {
	Summerbeam, Prism string
	// FlinkJars is a directory of the Flink job server's class path.
	FlinkJars string
	// Memory is Summerbeam's budget; empty for its default.
	Memory string
}

// Known are all peers.
func Known(p Programs) []Peer {
	return []Peer{
		embedded{store: "pebble", memory: p.Memory},
		served{program: p.Summerbeam, memory: p.Memory, store: "rocksdb"},
		served{program: p.Summerbeam, memory: p.Memory, store: "rocksdb", durable: true},
		served{program: p.Summerbeam, memory: p.Memory, store: "pebble"},
		prism{program: p.Prism},
		prismInProcess{},
		flink{jars: p.FlinkJars},
		sdkAlone{},
	}
}

// Select returns the peers of the names, in their order.
func Select(known []Peer, names []string) ([]Peer, error) {
	var out []Peer
next:
	for _, name := range names {
		var all []string
		for _, p := range known {
			if p.Name() == name {
				out = append(out, p)
				continue next
			}
			all = append(all, p.Name())
		}
		return nil, fmt.Errorf("there is no peer %q, but %s", name, strings.Join(all, ", "))
	}
	return out, nil
}
