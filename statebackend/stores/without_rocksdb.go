//go:build !rocksdb

package stores

import "github.com/summerbeam/summerbeam/statebackend"

var rocksdbOpen statebackend.Opener
