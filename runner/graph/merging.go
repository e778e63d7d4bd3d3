package graph

import (
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// mergesInSDK says that only the WindowFn's SDK knows how the windows merge.
func mergesInSDK(s *pipepb.WindowingStrategy) bool {
	return s.GetMergeStatus() == pipepb.MergeStatus_NEEDS_MERGE && s.GetWindowFn().GetUrn() != urnSessions
}

// groupEnvironment is whose the WindowFn of a grouping is: the strategy says, or
// it is that of what reads the groups.
func (c *compiler) groupEnvironment(s *pipepb.WindowingStrategy, group *leaf) string {
	if env := s.GetEnvironmentId(); c.comps.GetEnvironments()[env] != nil {
		return env
	}
	return c.nearestEnvironment(group)
}

// merging makes the question to the SDK how the windows of a stage's grouping merge:
// KV<nonce, Iterable<W>> in, the windows; KV<nonce, KV<Iterable<W>, Iterable<KV<W,
// Iterable<W>>>>> out, those that stay and those that others merge into. It is nil if
// none is needed.
func (c *compiler) merging(d *draft, stage string) (*Question, error) {
	grouped := d.group.inputs[0].collection
	strategy := c.strategy(grouped)
	if !mergesInSDK(strategy) {
		return nil, nil
	}
	fn, err := proto.MarshalOptions{Deterministic: true}.Marshal(strategy.GetWindowFn())
	if err != nil {
		return nil, d.group.broken("its WindowFn: %w", err)
	}
	windows := c.coders.iterable(c.windowCoder(grouped))
	merged := c.coders.iterable(c.coders.kv(c.windowCoder(grouped), windows))
	nonce := c.coders.make(urnBytes)
	return c.question(question{
		id: stage + "_merge", env: c.groupEnvironment(strategy, d.group),
		name: d.group.name + "/MergeWindows", urn: urnMergeWindows, payload: fn,
		asked:    c.coders.kv(nonce, windows),
		answered: c.coders.kv(nonce, c.coders.kv(windows, merged)),
	})
}
