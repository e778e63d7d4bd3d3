// Package statebackend is the contract between the engine and the ordered
// key-value store beneath it. Package pebble (pure Go) and package rocksdb
// (cgo, build tag "rocksdb") implement it; package storetest checks both.
//
// The contract is narrow on purpose: what the engine's epochs need and no
// more. Keys and values are plain bytes, ordered by bytes.Compare. A key has at
// least one byte: pebble's column format can't hold an empty one. A range may
// begin at the empty key.
package statebackend

import "errors"

var (
	// ErrClosed is returned by every call on a closed store.
	ErrClosed = errors.New("statebackend: store is closed")
	// ErrLocked is returned by Open when another process holds the directory.
	ErrLocked = errors.New("statebackend: directory is in use by another process")
	// ErrCorrupt marks an error after which the store's content can't be trusted.
	ErrCorrupt = errors.New("statebackend: store is corrupt")
)

// Reader reads keys and ranges.
type Reader interface {
	// Get appends the value of key to dst. found tells an empty value from none.
	Get(dst, key []byte) (val []byte, found bool, err error)
	// MultiGet reads many keys at once. vals[i] is nil where keys[i] has no
	// value, and non-nil (perhaps empty) where it has one. Many keys that are in order
	// and lie close together cost a fraction of as many Gets.
	MultiGet(keys [][]byte) (vals [][]byte, err error)
	// Scan calls fn for each key in [lo, hi) in ascending order until fn returns
	// false. A nil hi is no bound. key and val are valid only during the call.
	Scan(lo, hi []byte, fn func(key, val []byte) bool) error
}

// Snapshot is a frozen view. It must be closed before its store.
type Snapshot interface {
	Reader
	Close() error
}

// Batch collects writes in order. It is for one goroutine, and is written once:
// after that it may be Reset and used again. Arguments are copied. A misuse (an
// empty key put, a change after Write or Close) is the error of the next Write.
type Batch interface {
	Put(key, val []byte)
	Delete(key []byte)
	// DeleteRange removes the keys in [lo, hi), those put earlier in this batch
	// included. With hi at or below lo, or nil, it does nothing.
	DeleteRange(lo, hi []byte)
	// Grow makes room in an empty batch for about so many bytes of keys and values. A
	// batch grows by itself; with room for all of it, it doesn't move on the way.
	Grow(bytes int)
	// Len is the number of operations, Bytes the memory they take.
	Len() int
	Bytes() int
	Reset()
	Close() error
}

// Store is an ordered key-value store. All methods are safe for concurrent use,
// Close excepted.
type Store interface {
	Reader
	// Snapshot freezes the present content for reading.
	Snapshot() (Snapshot, error)
	// NewBatch makes an empty batch for this store.
	NewBatch() Batch
	// Write applies a batch atomically: after a crash all of it is there or none.
	// With sync it returns once the batch would survive a power cut; without,
	// a later synced write carries it along.
	Write(b Batch, sync bool) error
	// Checkpoint makes a consistent copy that can be opened as a store of its own,
	// by hard links where the file system allows. dir must not exist.
	Checkpoint(dir string) error
	// Flush writes the memory tables to disk.
	Flush() error
	// Size estimates the bytes on disk.
	Size() (int64, error)
	Close() error
}

// Options are common to the backends.
type Options struct {
	// CacheBytes bounds the block cache. 0 means 32 MiB.
	CacheBytes int64
	// WriteBufferBytes bounds the memory tables. 0 means 16 MiB.
	WriteBufferBytes int64
	// Ephemeral drops the write-ahead log: the content is lost with the process,
	// and a synced write is no more than a write.
	Ephemeral bool
	// DiskFull, if not nil, is called with true while writes wait because the disk is full,
	// again and again, and with false when they go on. Writes that are told not to wait
	// fail. It must be quick, and safe for concurrent use.
	DiskFull func(full bool) (wait bool)
}

// Opener opens or creates the store in dir. The engine takes one, so that it
// need not know the backends.
type Opener func(dir string, o Options) (Store, error)
