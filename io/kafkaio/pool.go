package kafkaio

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// recordPool is where clients get memory for the records of a batch. It comes back when all of them have been
// emitted (kgo.Record.Recycle). Keys, values and headers are not in it: they live on in what was emitted.
type recordPool struct{ free sync.Pool }

// GetRecords implements kgo.PoolRecords.
func (p *recordPool) GetRecords(n int) []kgo.Record {
	s, ok := p.free.Get().(*[]kgo.Record)
	switch {
	case ok && n <= cap(*s) && cap(*s) <= 4*n:
		return (*s)[:0]
	case ok && n < cap(*s):
		p.free.Put(s) // a few records should not hold the memory of many
	}
	return make([]kgo.Record, 0, n)
}

// PutRecords implements kgo.PoolRecords.
func (p *recordPool) PutRecords(s []kgo.Record) { p.free.Put(&s) }
