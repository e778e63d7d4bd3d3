package coders

import (
	"errors"
	"fmt"
)

// ErrCorrupt is in the chain of every error about bytes that no number of further
// bytes can make whole: a length below zero, a varint that never ends, a marker
// that is neither 0 nor 1. A caller that got it has lost its place in the buffer.
var ErrCorrupt = errors.New("coders: corrupt encoding")

// ErrUnsupported is in the chain of compile errors about a coder that the runner
// can't skip. Such a coder is given a length prefix and compiled as that.
var ErrUnsupported = errors.New("coders: coder can't be skipped")

// The faults of a scan. Scans pass positions, which are never negative, and tell
// a fault by a negative one: that keeps the inner loops free of interface values.
const (
	short = -1 - iota
	badVarint
	badLength
	badCount
	badBool
	badNullable
	badPane
	badRow
	badRowNulls
	badWindow
	badWindowCount
	numFaults
)

// faults are made once: returning one allocates nothing.
var faults = [-numFaults]error{
	-short:          ErrShort,
	-badVarint:      fmt.Errorf("%w: varint does not fit 64 bits", ErrCorrupt),
	-badLength:      fmt.Errorf("%w: length is negative or over 2 GiB", ErrCorrupt),
	-badCount:       fmt.Errorf("%w: count of an iterable or map is negative", ErrCorrupt),
	-badBool:        fmt.Errorf("%w: boolean is neither 0 nor 1", ErrCorrupt),
	-badNullable:    fmt.Errorf("%w: null marker is neither 0 nor 1", ErrCorrupt),
	-badPane:        fmt.Errorf("%w: pane info of unknown kind", ErrCorrupt),
	-badRow:         fmt.Errorf("%w: row has more fields or null bits than its schema", ErrCorrupt),
	-badRowNulls:    fmt.Errorf("%w: row with reordered fields has null bits, whose order SDKs don't agree on", ErrCorrupt),
	-badWindow:      fmt.Errorf("%w: interval window starts after its end or before time can tell", ErrCorrupt),
	-badWindowCount: fmt.Errorf("%w: window count is negative, or above 1 for the global window", ErrCorrupt),
}

// done turns a position that may be a fault into the results of an exported scan.
func done(i int) (int, error) {
	if i < 0 {
		return 0, faults[-i]
	}
	return i, nil
}
