package gate

import (
	"io"
	"sync"
)

// Family is the set of a store's open snapshots, so that closing the store
// closes them first: neither engine survives the other order. The zero value
// is empty.
type Family struct {
	mu      sync.Mutex
	members map[io.Closer]struct{}
}

// Add makes c a member.
func (f *Family) Add(c io.Closer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.members == nil {
		f.members = map[io.Closer]struct{}{}
	}
	f.members[c] = struct{}{}
}

// Remove ends c's membership.
func (f *Family) Remove(c io.Closer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.members, c)
}

// Close closes the members. The owner has made sure that no more are added;
// members may Remove themselves meanwhile, and be closed by their users too.
func (f *Family) Close() error {
	f.mu.Lock()
	open := make([]io.Closer, 0, len(f.members))
	for c := range f.members {
		open = append(open, c)
	}
	f.mu.Unlock()
	var first error
	for _, c := range open {
		if err := c.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
