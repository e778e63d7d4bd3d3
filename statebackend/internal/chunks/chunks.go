// Package chunks finds damage in the logs and manifests of both engines, which have one format.
//
// Both take what they can't read in a log for what a crash has left of the last write, and forget
// all from there on. (Pebble tells the two apart, but not in the first log of a store, and not in a
// manifest.) So one flipped bit would lose epochs that were synced, and nobody would hear of it. What
// a crash leaves looks otherwise, though: a write that was cut off has nothing whole behind it, or it has pages
// that were never written, which are zeros.
//
// The format is LevelDB's: blocks of 32 KiB; in each, chunks with a header: CRC-32C of all behind the length, masked;
// length of the content (2 bytes); type. Types from 5 on have the log's number in the header, so that a file
// can be used again, and Pebble's from 9 on have 8 bytes more.
package chunks

import (
	"encoding/binary"
	"hash/crc32"
)

const (
	block  = 32 << 10
	header = 7
	page   = 4 << 10
	// tail is how many zeros at a page's end nobody has written.
	tail = 32
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Damage finds where a log can't be read though it can be read further behind, and no crash has
// left it so. number is the log's, by its file name; 0 for a manifest.
func Damage(data []byte, number uint32) (at int, damaged bool) {
	at = -1
	for from := 0; from < len(data); from += block {
		end := min(len(data), from+block)
		for i := from; end-i > header; {
			n, whole := chunk(data[i:end], number)
			switch {
			case whole && at >= 0:
				return at, true
			case !whole && unwritten(data, i, min(i+n, end)):
				return -1, false
			case !whole && at < 0:
				at = i
			}
			// A chunk that is not whole may have its length, and lead to the next one.
			i += n
		}
	}
	return at, false
}

// chunk returns the size of a chunk, as its header has it, and whether it is whole.
func chunk(b []byte, number uint32) (n int, whole bool) {
	head := header
	switch t := b[6]; {
	case t == 0 || t > 12:
		return header + int(binary.LittleEndian.Uint16(b[4:])), false
	case t > 8:
		head += 4 + 8
	case t > 4:
		head += 4
	}
	n = head + int(binary.LittleEndian.Uint16(b[4:]))
	if n > len(b) || head > header && binary.LittleEndian.Uint32(b[header:]) != number {
		return n, false
	}
	sum := crc32.Checksum(b[6:n], castagnoli)
	return n, (sum>>15|sum<<17)+0xa282ead8 == binary.LittleEndian.Uint32(b)
}

// unwritten says that a chunk's header is zeros, or that a page in it ends with zeros: what of it was
// written before may be there.
func unwritten(data []byte, from, to int) bool {
	if zeros(data[from : from+header]) {
		return true
	}
	for p := from / page * page; p < to; p += page {
		end := min(p+page, len(data))
		if zeros(data[max(p, end-tail):end]) {
			return true
		}
	}
	return false
}

func zeros(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
