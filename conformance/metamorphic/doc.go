// Package metamorphic has no code but its tests. They draw pipelines at random, run each
// in several ways, and want what a small model of Beam says, which is in here too.
package metamorphic
