//go:build rocksdb

package stores

import (
	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/rocksdb"
)

var rocksdbOpen statebackend.Opener = rocksdb.Open
