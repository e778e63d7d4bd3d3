//go:build rocksdb

package rocksdb

import (
	"testing"

	"github.com/summerbeam/summerbeam/statebackend/storetest"
)

func BenchmarkStore(b *testing.B) { storetest.Bench(b, Open) }
