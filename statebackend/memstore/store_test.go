package memstore

import (
	"testing"

	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, NewDisk(nil).Open, storetest.NoFiles)
}

// A disk for each open forgets everything, as a store without directories does.
func TestMemoryOnly(t *testing.T) {
	storetest.Run(t, func(dir string, o statebackend.Options) (statebackend.Store, error) {
		return NewDisk(nil).Open(dir, o)
	}, storetest.NoFiles, storetest.MemoryOnly)
}
