package pebble

import (
	"testing"

	"github.com/summerbeam/summerbeam/statebackend/storetest"
)

func TestStore(t *testing.T) { storetest.Run(t, Open) }
