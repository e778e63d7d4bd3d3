package kafkaio

import "time"

// Record is a record of a topic. A tombstone has no value, which is not the same as an
// empty one: Tombstone says so, and NoKey says the same of keys.
type Record struct {
	Topic     string
	Partition int32
	// Offset and LeaderEpoch are set by Read.
	Offset      int64
	LeaderEpoch int32
	// Millis is the timestamp in ms since the Unix epoch; Write sets it to the element's
	// if it is 0.
	Millis    int64
	Key       []byte
	NoKey     bool
	Value     []byte
	Tombstone bool
	Headers   []Header
}

// Header is a record's header. A nil value is null.
type Header struct {
	Key   string
	Value []byte
}

// Time is the record's timestamp.
func (r *Record) Time() time.Time { return time.UnixMilli(r.Millis) }
