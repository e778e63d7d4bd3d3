package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
	"github.com/summerbeam/summerbeam/internal/coders"
)

// groupOrder is the order of groups in sorted runs. A group's id is its key and
// window as bytes that sort as the runs do.
type groupOrder int

const (
	// byKey sorts by the key's hash, so that keys of one length and prefix don't
	// need to be compared to their ends: hash, key, window.
	byKey groupOrder = iota
	// bySession is byKey with windows in order of their starts, as merging wants them.
	bySession
	// byWindow has a window's keys together, as lookups of a side input's keys want
	// them: window, key.
	byWindow
)

// appendID appends the id of a key and window.
func (o groupOrder) appendID(dst, key, window []byte) ([]byte, error) {
	if o == byWindow {
		return windowKey(dst, window, key), nil
	}
	dst = binary.BigEndian.AppendUint64(dst, keyHash(key))
	dst = appendPart(dst, key)
	if o == byKey {
		return append(dst, window...), nil
	}
	w, _, err := coders.ReadIntervalWindow(window)
	if err != nil {
		return dst, err
	}
	return coders.AppendTimestamp(coders.AppendTimestamp(dst, w.Start), w.End), nil
}

// split takes an id apart. The window is in the SDK's encoding.
func (o groupOrder) split(id []byte) (key, window []byte, err error) {
	rest := id
	if o != byWindow {
		if len(id) < 8 {
			return nil, nil, errBadRun
		}
		rest = id[8:]
	}
	n, w := binary.Uvarint(rest)
	if w <= 0 || n > uint64(len(rest)-w) {
		return nil, nil, errBadRun
	}
	first, second := rest[w:w+int(n)], rest[w+int(n):]
	switch o {
	case byWindow:
		return second, first, nil
	case byKey:
		return first, second, nil
	}
	iv, err := readSession(second)
	if err != nil {
		return nil, nil, err
	}
	return first, coders.AppendIntervalWindow(nil, iv), nil
}

// readSession reads the window at the end of a bySession id.
func readSession(b []byte) (iv coders.IntervalWindow, err error) {
	if len(b) != 16 {
		return iv, errBadRun
	}
	if iv.Start, err = coders.ReadTimestamp(b); err != nil {
		return iv, err
	}
	iv.End, err = coders.ReadTimestamp(b[8:])
	return iv, err
}

var errBadRun = fmt.Errorf("%w: a sorted run holds what was never written to it", errSpill)

// prefixOf is an id's first bytes as a number that compares as they do.
func prefixOf(id []byte) uint64 {
	if len(id) >= 8 {
		return binary.BigEndian.Uint64(id)
	}
	var b [8]byte
	copy(b[:], id)
	return binary.BigEndian.Uint64(b[:])
}

// compareIDs compares two ids whose prefixes are known.
func compareIDs(pa, pb uint64, a, b []byte) int {
	if pa != pb {
		if pa < pb {
			return -1
		}
		return 1
	}
	return bytes.Compare(a, b)
}

// tableHash is a group's place in a table. The window is part of it: one key may
// have very many.
func tableHash(keyHash uint64, window []byte) uint64 {
	if len(window) == 0 {
		return keyHash
	}
	return keyHash ^ xxhash.Sum64(window)
}
