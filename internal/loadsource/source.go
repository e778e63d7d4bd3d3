// Package loadsource is a source of pipelines for benchmarks: cheap enough not to
// hide what a runner costs, parallel on every runner, and the same records on
// all of them.
//
// Beam's own synthetic source reseeds its random generator for every record,
// which costs more than everything a good runner does with that record.
package loadsource

import (
	"fmt"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
)

// Spans is how many parts a source has. They can be generated in parallel.
const Spans = 8

// Config says which records a source makes.
type Config struct {
	Records int
	// Keys is how many different keys there are. Each record has one of them at random.
	Keys int
	// Seed makes sources different from each other.
	Seed int
	// Hot is how many records in a hundred have the key number 0, whatever chance says.
	Hot int
}

// Validate checks what the generator relies on.
func (c Config) Validate() error {
	if c.Records < 0 {
		return fmt.Errorf("a source can't have %d records", c.Records)
	}
	if c.Keys < 1 || c.Keys > 1<<32 {
		return fmt.Errorf("a source can't have %d keys: it takes 1 to 2^32", c.Keys)
	}
	if c.Hot < 0 || c.Hot > 100 {
		return fmt.Errorf("a hot key can't have %d records in a hundred", c.Hot)
	}
	return nil
}

// span is the half-open range of records of a span.
func (c Config) span(i int) (start, end int) {
	return c.Records * i / Spans, c.Records * (i + 1) / Spans
}

func init() {
	register.Function2x0(emitSpans)
	register.DoFn2x0[int64, func([]byte, []byte)](&generate{})
	register.Emitter1[int64]()
	register.Emitter2[[]byte, []byte]()
}

// Records is a PCollection<KV<[]byte, []byte>> of c's records: keys of KeySize and
// values of ValueSize bytes. It panics if c is not valid, as Beam does while a
// pipeline is built.
func Records(s beam.Scope, c Config) beam.PCollection {
	if err := c.Validate(); err != nil {
		panic(err)
	}
	s = s.Scope("loadsource")
	spans := beam.ParDo(s, emitSpans, beam.Impulse(s))
	// Without the Reshuffle a runner fuses the generator with the Impulse, and runs it
	// as one element of one bundle.
	return beam.ParDo(s, &generate{Config: c}, beam.Reshuffle(s, spans))
}

func emitSpans(_ []byte, emit func(int64)) {
	for i := range int64(Spans) {
		emit(i)
	}
}

type generate struct {
	Config Config
}

func (f *generate) ProcessElement(span int64, emit func([]byte, []byte)) {
	g := f.Config.Generator(int(span))
	for {
		key, value, ok := g.Next()
		if !ok {
			return
		}
		emit(key, value)
	}
}
