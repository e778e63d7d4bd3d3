package shapes

import (
	"github.com/summerbeam/summerbeam/internal/loadsource"
)

func expectStartup(Size) Counters { return Counters{"items": 1, "sum": 0} }

func expectRecords(z Size) Counters {
	var t tally
	each(z.source(0), t.record)
	return t.counters()
}

func expectTenParDos(z Size) Counters {
	c := expectRecords(z)
	for i := range parDos {
		c[stepName(i)] = int64(z.Records)
	}
	return c
}

func expectGroups(z Size) Counters {
	groups := map[string]*int64{}
	each(z.source(0), func(key, value []byte) { *of(groups, key) += digest(value) })
	return tallyNumbers(groups)
}

func expectCoGroups(z Size) Counters {
	groups := map[string]*int64{}
	each(z.source(0), func(key, value []byte) { *of(groups, key) += both(digest(value), 0) })
	each(z.source(1), func(key, value []byte) { *of(groups, key) += both(0, digest(value)) })
	return tallyNumbers(groups)
}

func expectCombined(z Size) Counters {
	best := map[string]*[]byte{}
	each(z.source(0), func(key, value []byte) {
		b := of(best, key)
		*b = greatest(*b, value)
	})
	var t tally
	for key, value := range best {
		t.record([]byte(key), *value)
	}
	return t.counters()
}

// Whatever the order, a key with n records gives the numbers 1 to n.
func expectKeyedCount(z Size) Counters {
	counts := map[string]*int64{}
	var t tally
	each(z.source(0), func(key, _ []byte) {
		n := of(counts, key)
		*n++
		t.number(key, *n)
	})
	return t.counters()
}

// each calls f with all records of a source.
func each(c loadsource.Config, f func(key, value []byte)) {
	for span := range loadsource.Spans {
		for g := c.Generator(span); ; {
			key, value, ok := g.Next()
			if !ok {
				break
			}
			f(key, value)
		}
	}
}

// of returns the key's value in m, a new one if there is none.
func of[T any](m map[string]*T, key []byte) *T {
	v := m[string(key)]
	if v == nil {
		v = new(T)
		m[string(key)] = v
	}
	return v
}

func tallyNumbers(m map[string]*int64) Counters {
	var t tally
	for key, n := range m {
		t.number([]byte(key), *n)
	}
	return t.counters()
}
