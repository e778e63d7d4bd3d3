// Package stores knows the state backends by name. It is for programs; the
// engine takes an opener.
package stores

import (
	"fmt"

	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/pebble"
)

const (
	// Pebble is pure Go and always there.
	Pebble = "pebble"
	// RocksDB needs the build tag rocksdb and a C library.
	RocksDB = "rocksdb"
)

// Opener returns the backend called kind, or an error that says what to do.
func Opener(kind string) (statebackend.Opener, error) {
	switch kind {
	case Pebble:
		return pebble.Open, nil
	case RocksDB:
		if rocksdbOpen == nil {
			return nil, fmt.Errorf("state backend %s is not in this program: build it with 'go build -tags rocksdb', which needs Debian's package librocksdb-dev, or use %s", RocksDB, Pebble)
		}
		return rocksdbOpen, nil
	}
	return nil, fmt.Errorf("there is no state backend %q: use %s or %s", kind, RocksDB, Pebble)
}

// Default is rocksdb where it is compiled in, else pebble.
func Default() string {
	if rocksdbOpen != nil {
		return RocksDB
	}
	return Pebble
}
