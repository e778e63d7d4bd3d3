// Package clicks makes the records that the Kafka benchmark counts, and says which counts
// are right.
package clicks

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// Partitions of the topic. A user's records are all in one, as Kafka's own
	// partitioner has it.
	Partitions = 4
	// Window is what counts are by, besides the user.
	Window = time.Minute
	// start is the time of the first record (ms since the Unix epoch), at the beginning of
	// a minute. It is years ago: nothing may depend on the clock.
	start = int64(1_700_000_040_000)
	// valueBytes and a key of ten bytes make records of 111 bytes.
	valueBytes = 101
)

// end is the user of the records that close all windows.
const end = "end of it "

// OfEnd says whether a result is of those records: a read that has an end comes to it.
func OfEnd(result *kgo.Record) bool { return strings.HasPrefix(string(result.Key), end) }

// Size is how many records there are, of how many users, over what time.
type Size struct {
	Records, Users int
	Span           time.Duration
}

// click is record i: its user, and its time in ms since the Unix epoch.
func (s Size) click(i int) (user int, ms int64) {
	h := uint64(i+1) * 0x9E3779B97F4A7C15
	h ^= h >> 29
	h *= 0xBF58476D1CE4E5B9
	h ^= h >> 32
	return int(h % uint64(s.Users)), start + int64(i)*s.Span.Milliseconds()/int64(s.Records)
}

func key(user int) []byte { return fmt.Appendf(nil, "user%06d", user) }

// Each calls fn with all records, in order of their times, and then with one for each
// partition that is late enough to close all windows before it.
func (s Size) Each(fn func(*kgo.Record)) {
	value := make([]byte, valueBytes)
	for i := range s.Records {
		user, ms := s.click(i)
		v := fmt.Appendf(value[:0], `{"page":"/articles/%08d","referrer":"https://example.com/%08x","agent":"a browser"}`, i*7919%100_000_000, uint32(i)*2654435761)
		for len(v) < valueBytes {
			v = append(v, ' ')
		}
		fn(&kgo.Record{Partition: int32(user % Partitions), Key: key(user), Value: append([]byte(nil), v...), Timestamp: time.UnixMilli(ms)})
	}
	last := start + s.Span.Milliseconds() + 10*Window.Milliseconds()
	for p := range Partitions {
		fn(&kgo.Record{Partition: int32(p), Key: []byte(end), Value: value, Timestamp: time.UnixMilli(last)})
	}
}

// Result is what is counted for a user in the window that ends at a time.
func Result(user []byte, end int64, count int64) (k, v []byte) {
	k = fmt.Appendf(make([]byte, 0, len(user)+14), "%s@%d", user, end)
	return k, binary.BigEndian.AppendUint64(make([]byte, 0, 8), uint64(count))
}

// Counts are right results that are ticked off as they come.
type Counts struct {
	want map[string]int64
	seen map[string]bool
	// all is how many there are.
	all int
	// wrong has a few of the mistakes, wrongs counts them.
	wrong  []string
	wrongs int
}

// Counts returns what a right run writes.
func (s Size) Counts() *Counts {
	c := &Counts{want: make(map[string]int64)}
	for i := range s.Records {
		user, ms := s.click(i)
		w := Window.Milliseconds()
		k, _ := Result(key(user), ms/w*w+w, 0)
		c.want[string(k)]++
	}
	c.all = len(c.want)
	return c
}

// Len is how many results there are.
func (c *Counts) Len() int { return c.all }

// Check compares results with the right ones: each must be there once, and no other. It
// may be called again with another run's.
func (c *Counts) Check(results []*kgo.Record) error {
	c.seen, c.wrong, c.wrongs = make(map[string]bool, c.all), nil, 0
	for _, r := range results {
		k := string(r.Key)
		want, ok := c.want[k]
		switch {
		case !ok:
			c.mistake("nobody asked for %q", k)
			continue
		case c.seen[k]:
			c.mistake("%s came twice", k)
		case len(r.Value) != 8:
			c.mistake("%s has a value of %d bytes", k, len(r.Value))
		case int64(binary.BigEndian.Uint64(r.Value)) != want:
			c.mistake("%s is %d, want %d", k, binary.BigEndian.Uint64(r.Value), want)
		}
		c.seen[k] = true
	}
	if n := c.all - len(c.seen); n > 0 {
		c.mistake("%d of %d results are missing", n, c.all)
	}
	if c.wrongs > 0 {
		return fmt.Errorf("%d mistakes in %d results, such as %q", c.wrongs, len(results), c.wrong)
	}
	return nil
}

func (c *Counts) mistake(format string, args ...any) {
	c.wrongs++
	if len(c.wrong) < 5 {
		c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
	}
}
