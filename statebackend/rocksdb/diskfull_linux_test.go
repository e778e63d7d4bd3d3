//go:build rocksdb

package rocksdb

import (
	"testing"

	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/storetest"
)

func TestFullDisk(t *testing.T) {
	storetest.FullDisk(t, func(dir string, o statebackend.Options) (statebackend.Store, error) {
		st, err := Open(dir, o)
		if err == nil {
			st.(*store).room = 8 << 20 // the test's disk is small
		}
		return st, err
	})
}
