//go:build rocksdb

package rocksdb

import (
	"testing"

	"github.com/summerbeam/summerbeam/statebackend/storetest"
)

func TestStore(t *testing.T) { storetest.Run(t, Open) }

func TestKill(t *testing.T) { storetest.Kill(t, Open) }
