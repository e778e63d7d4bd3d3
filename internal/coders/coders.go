// Package coders finds the bounds of encoded Beam elements without decoding them.
//
// The runner moves bytes. Of an element it needs to know where it ends, its
// event time, its windows and, where the consumer is keyed, the bytes of its
// key; values are never decoded. A scanner for a coder is compiled once, from
// the pipeline's coder protos, and then walks buffers with no allocation.
//
// The wire formats are those of Beam's model: see StandardCoders in
// beam_runner_api.proto and standard_coders.yaml.
//
// Everything here is pure: no I/O, no goroutines; compiled scanners are
// immutable and safe for concurrent use.
package coders

import "errors"

// ErrShort says that the buffer ends inside an element: more bytes may complete it.
var ErrShort = errors.New("coders: buffer ends inside an element")

// Element is one windowed value, as slices of the buffer it was found in.
// A caller reuses one Element over a whole buffer.
type Element struct {
	// Timestamp is the event time in milliseconds since the Unix epoch.
	Timestamp int64
	// NumWindows is the number of windows the element is in.
	NumWindows int
	// Windows holds the encoded windows, one after another, without their count.
	Windows []byte
	// Pane is the encoded pane info.
	Pane []byte
	// Key is the encoded key of a KV, as it stands in the KV (nested); nil when
	// the scanner was not compiled for a KV.
	Key []byte
	// Value is the encoded value of a KV, or the whole element.
	Value []byte
}
