package measure

import (
	"context"
	"os"
	"slices"

	"github.com/summerbeam/summerbeam/bench/internal/peer"
)

// Alternate runs a workload on all peers in turn, and that repeat times, so that
// what else the machine does in the meantime hits all of them alike. A peer
// that meets a limit or fails is not asked again. tell is called after each run.
func Alternate(ctx context.Context, w Workload, peers []peer.Peer, repeat int, limits Limits, tell func(peer string, r Run)) ([]Series, error) {
	var out []Series
	var can []peer.Peer
	for _, p := range peers {
		if w.Only == nil || slices.Contains(w.Only, p.Name()) {
			out = append(out, Series{Workload: w.Name, Records: w.Records, Peer: p.Name()})
			can = append(can, p)
		}
	}
	for range repeat {
		for i, p := range can {
			s := &out[i]
			if s.Over() != "" || s.Error() != "" {
				continue
			}
			r, err := onceIn(ctx, w, p, limits)
			if err != nil {
				return out, err
			}
			s.Runs = append(s.Runs, r)
			tell(p.Name(), r)
		}
	}
	return out, nil
}

// onceIn runs a workload in a directory of its own, which goes away with it.
func onceIn(ctx context.Context, w Workload, p peer.Peer, limits Limits) (Run, error) {
	dir, err := os.MkdirTemp("", "bench-*")
	if err != nil {
		return Run{}, err
	}
	defer os.RemoveAll(dir)
	return Once(ctx, w, p, limits, dir)
}
