package coders

import "encoding/binary"

// Bounds of event time, in milliseconds since the Unix epoch. They are the model's
// BeamConstants: the ends of what microseconds in 64 bits can tell, and the last
// moment of the global window, a day before the end of time.
const (
	MinTimestamp             int64 = -9223372036854775
	MaxTimestamp             int64 = 9223372036854775
	GlobalWindowMaxTimestamp int64 = 9223371950454775
)

// timestampSize is the size of an encoded timestamp.
const timestampSize = 8

// AppendTimestamp appends milliseconds since the epoch as windowed values, timers
// and windows hold them: 8 bytes, big endian, the sign bit flipped, so that bytes
// sort as times do.
func AppendTimestamp(dst []byte, millis int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(millis)^1<<63)
}

// ReadTimestamp returns the timestamp at the start of b, in milliseconds since the
// epoch; it takes 8 bytes.
func ReadTimestamp(b []byte) (millis int64, err error) {
	if len(b) < timestampSize {
		return 0, ErrShort
	}
	return timestamp(b), nil
}

func timestamp(b []byte) int64 { return int64(binary.BigEndian.Uint64(b) ^ 1<<63) }
