package engine

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/summerbeam/summerbeam/runner/graph"
)

const (
	capStateCaching = "beam:protocol:state_caching:v1"
	pythonSDKPrefix = "beam:version:sdk_base:apache/beam_python"
)

// cachesState says that the stage's SDK remembers state under cache tokens. Java
// declares it; Python does it and doesn't say so; Go remembers only side inputs, which
// in one process it looks up in no time.
func cachesState(plan *graph.Plan, s *graph.Stage) bool {
	env := plan.Pipeline.GetComponents().GetEnvironments()[s.Environment]
	return slices.ContainsFunc(env.GetCapabilities(), func(c string) bool {
		return c == capStateCaching || strings.HasPrefix(c, pythonSDKPrefix)
	})
}

// cacheToken is under what name a worker may remember a shard's user state.
//
// A shard is in one bundle at a time, so what a worker has seen and written of it stays
// true until another worker runs a bundle of it, or a bundle fails: its writes are in
// the worker's memory and nowhere else. Then the name changes. State of windows that
// have expired goes without a bundle; nobody reads it again.
type cacheToken struct {
	tokenMu sync.Mutex
	worker  Worker // that knows the state under the name; nil if none does
	name    string
}

// begin names the state for a bundle on a worker.
func (c *cacheToken) begin(w Worker, bundle string) string {
	c.tokenMu.Lock()
	defer c.tokenMu.Unlock()
	if c.worker != w {
		c.name = bundle
	}
	c.worker = nil // until the bundle is over
	return c.name
}

// end says that the bundle which began last, on this worker, was as good as applied.
func (c *cacheToken) end(w Worker) {
	c.tokenMu.Lock()
	defer c.tokenMu.Unlock()
	c.worker = w
}

// cacheTokens are those of a bundle on a worker, those of side inputs only if sides says so.
// Workers may serve several jobs.
func (r *stageRun) cacheTokens(shard *shardState, w Worker, job, bundle string, sides bool) []*fnpb.ProcessBundleRequest_CacheToken {
	if !r.caches {
		return nil
	}
	var tokens []*fnpb.ProcessBundleRequest_CacheToken
	if shard != nil {
		tokens = append(tokens, &fnpb.ProcessBundleRequest_CacheToken{
			Type:  &fnpb.ProcessBundleRequest_CacheToken_UserState_{UserState: &fnpb.ProcessBundleRequest_CacheToken_UserState{}},
			Token: []byte(shard.cache.begin(w, bundle)),
		})
	}
	for id, side := range r.sides {
		if side.windows != nil || !sides {
			continue // more may come, or its windows go
		}
		tokens = append(tokens, &fnpb.ProcessBundleRequest_CacheToken{
			Type: &fnpb.ProcessBundleRequest_CacheToken_SideInput_{SideInput: &fnpb.ProcessBundleRequest_CacheToken_SideInput{
				TransformId: id.transform, SideInputId: id.local,
			}},
			Token: []byte(fmt.Sprintf("%s-%s-sides", job, r.plan.ID)),
		})
	}
	return tokens
}
