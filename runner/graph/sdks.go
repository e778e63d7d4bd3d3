package graph

import "strings"

// fromPython says that a grouping was written with the Python SDK. SDKs name
// themselves in a capability of their environments.
func (c *compiler) fromPython(group *leaf) bool {
	env := c.groupEnvironment(c.strategy(group.inputs[0].collection), group)
	for _, urn := range c.comps.GetEnvironments()[env].GetCapabilities() {
		if base, ok := strings.CutPrefix(urn, "beam:version:sdk_base:"); ok && strings.Contains(base, "python") {
			return true
		}
	}
	return false
}
