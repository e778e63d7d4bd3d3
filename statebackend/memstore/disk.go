// Package memstore is a state store in memory, for tests and simulation. It is
// deterministic, can fail on demand, and knows what a crash would leave behind.
//
// A [Disk] holds directories, as a file system does: a store that is closed and
// opened again is there again, a directory in use is locked, a checkpoint is a
// directory of its own. After [Disk.Crash] a new disk holds what survived.
package memstore

import (
	"fmt"
	"math/rand/v2"
	"path"
	"sort"
	"sync"

	"github.com/summerbeam/summerbeam/statebackend"
)

// Hook is asked before each operation and may fail it. The operations are
// "open", "get", "multiget", "scan", "snapshot", "write", "sync", "checkpoint",
// "flush", "size" and "close". A failed "write" changes nothing; a failed "sync"
// leaves the batch written but not durable, as a failed fsync does. A Hook is
// called from the goroutine that uses the store, several at once if they are.
type Hook func(op string) error

// Disk is a set of store directories. Its methods are safe for concurrent use.
type Disk struct {
	hook Hook

	mu   sync.Mutex
	dirs map[string]*content
}

// NewDisk makes an empty disk. A nil hook fails nothing.
func NewDisk(hook Hook) *Disk {
	if hook == nil {
		hook = func(string) error { return nil }
	}
	return &Disk{hook: hook, dirs: map[string]*content{}}
}

// Open opens or creates the store in dir; it is a [statebackend.Opener].
func (d *Disk) Open(dir string, o statebackend.Options) (statebackend.Store, error) {
	if err := d.hook("open"); err != nil {
		return nil, fmt.Errorf("memory store %s: open: %w", dir, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.dirs[path.Clean(dir)]
	if c == nil {
		c = &content{}
		d.dirs[path.Clean(dir)] = c
	}
	if !c.lock() {
		return nil, fmt.Errorf("memory store %s: %w", dir, statebackend.ErrLocked)
	}
	return &store{disk: d, dir: dir, content: c, ephemeral: o.Ephemeral}, nil
}

// Crash returns a disk with what a power cut at this moment would leave: of each
// directory what was synced, and what was written before that. With a rand, also
// as many of the later batches as it decides, whole and in order. Stores
// open on d go on and don't affect the new disk, which has d's hook.
func (d *Disk) Crash(keep *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := NewDisk(d.hook)
	names := make([]string, 0, len(d.dirs))
	for name := range d.dirs {
		names = append(names, name)
	}
	sort.Strings(names) // so that the same rand decides the same
	for _, name := range names {
		after.dirs[name] = &content{durable: d.dirs[name].survivor(keep)}
	}
	return after
}

// add makes dir from root, which is durable.
func (d *Disk) add(dir string, root *node) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dirs[path.Clean(dir)] != nil {
		return fmt.Errorf("%s exists", dir)
	}
	d.dirs[path.Clean(dir)] = &content{durable: root}
	return nil
}

// content is what a directory holds, whether or not a store has it open.
type content struct {
	mu      sync.Mutex
	open    bool
	durable *node
	// later has the content after each write since durable; the last is the present one.
	later []*node
}

func (c *content) lock() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open {
		return false
	}
	c.open = true
	return true
}

// unlock ends the use by a store. What an ephemeral one held is gone.
func (c *content) unlock(ephemeral bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = false
	if ephemeral {
		c.later = nil
	}
}

func (c *content) present() *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.presentLocked()
}

func (c *content) presentLocked() *node {
	if len(c.later) == 0 {
		return c.durable
	}
	return c.later[len(c.later)-1]
}

func (c *content) write(apply func(*node) *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.later = append(c.later, apply(c.presentLocked()))
}

func (c *content) sync() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.durable, c.later = c.presentLocked(), nil
}

func (c *content) survivor(keep *rand.Rand) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	if keep == nil || len(c.later) == 0 {
		return c.durable
	}
	if n := keep.IntN(len(c.later) + 1); n > 0 {
		return c.later[n-1]
	}
	return c.durable
}
