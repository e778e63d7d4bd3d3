package graph

// combining makes the question to the SDK what accumulators of a key come to: KV<K,
// Iterable<A>> in, KV<K, A> out, an answer for each in their order. It is nil where a
// stage's groups are not accumulators which the stage merges first of all.
//
// What waits for its window's end can be merged before, as often as one likes: that is
// what accumulators are for.
func (c *compiler) combining(d *draft, stage string) (*Question, error) {
	if len(d.leaves) == 0 || d.leaves[0].urn != urnMergeAccumulators {
		return nil, nil
	}
	// Coders are those of the bytes that wait.
	key, accumulator := c.coders.parts(c.elementCoder(d.group.inputs[0].collection))
	merge := d.leaves[0]
	return c.question(question{
		id: stage + "_combine", env: merge.env, name: merge.name + "/Early", urn: urnMergeAccumulators,
		payload:  c.comps.Transforms[merge.id].GetSpec().GetPayload(),
		asked:    c.coders.kv(key, c.coders.iterable(accumulator)),
		answered: c.coders.kv(key, accumulator),
	})
}
