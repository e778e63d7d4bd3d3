package pebble

import (
	"testing"

	"github.com/summerbeam/summerbeam/statebackend/storetest"
)

func TestFullDisk(t *testing.T) { storetest.FullDisk(t, Open) }
