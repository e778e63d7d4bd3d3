package loadsource

import (
	"fmt"
	"hash/fnv"
	"testing"
)

func TestSameRecordsForEver(t *testing.T) {
	h := fnv.New64a()
	c := Config{Records: 1000, Keys: 50, Seed: 3}
	n := 0
	for span := range Spans {
		for g := c.Generator(span); ; n++ {
			key, value, ok := g.Next()
			if !ok {
				break
			}
			h.Write(key)
			h.Write(value)
		}
	}
	if n != c.Records {
		t.Errorf("%d records, want %d", n, c.Records)
	}
	// Results of benchmarks are only comparable with each other while this stays.
	if got, want := fmt.Sprintf("%016x", h.Sum64()), "1217c8e07ef5ec14"; got != want {
		t.Errorf("records have the hash %s, want %s", got, want)
	}
}

func TestKeys(t *testing.T) {
	c := Config{Records: 20_000, Keys: 300}
	seen := map[string]int{}
	for i := range c.Keys {
		seen[string(Key(i))] = 0
	}
	if len(seen) != c.Keys {
		t.Fatalf("%d different keys, want %d", len(seen), c.Keys)
	}
	for span := range Spans {
		for g := c.Generator(span); ; {
			key, value, ok := g.Next()
			if !ok {
				break
			}
			if len(key) != KeySize || len(value) != ValueSize {
				t.Fatalf("a record of %d and %d bytes", len(key), len(value))
			}
			if _, ok := seen[string(key)]; !ok {
				t.Fatalf("the key %q is none of those of Key", key)
			}
			seen[string(key)]++
		}
	}
	for key, n := range seen {
		if mean := c.Records / c.Keys; n < mean/2 || n > mean*2 {
			t.Errorf("%q occurs %d times, want about %d", key, n, mean)
		}
	}
}

func TestAHotKey(t *testing.T) {
	c := Config{Records: 20_000, Keys: 300, Hot: 25}
	hot := 0
	for span := range Spans {
		for g := c.Generator(span); ; {
			key, _, ok := g.Next()
			if !ok {
				break
			}
			if string(key) == string(Key(0)) {
				hot++
			}
		}
	}
	if hot < 4_700 || hot > 5_500 {
		t.Errorf("the hot key has %d of 20000 records, want about a quarter", hot)
	}
}

func TestSpansAndSeedsDiffer(t *testing.T) {
	seen := map[string]string{}
	for seed := range 4 {
		for span := range Spans {
			_, value, _ := Config{Records: 100, Keys: 1, Seed: seed}.Generator(span).Next()
			name := fmt.Sprintf("seed %d span %d", seed, span)
			if other, ok := seen[string(value)]; ok {
				t.Errorf("%s starts as %s does", name, other)
			}
			seen[string(value)] = name
		}
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []Config{{Records: -1, Keys: 1}, {Records: 1}, {Records: 1, Keys: 1<<32 + 1}, {Keys: 1, Hot: 101}} {
		if c.Validate() == nil {
			t.Errorf("%+v passes", c)
		}
	}
	if err := (Config{Records: 0, Keys: 1 << 32}).Validate(); err != nil {
		t.Error(err)
	}
}

// The generator itself must stay under 150 ns a record.
func BenchmarkGenerator(b *testing.B) {
	b.ReportAllocs()
	c := Config{Records: 1 << 50, Keys: 100_000}
	g := c.Generator(0)
	for b.Loop() {
		if _, _, ok := g.Next(); !ok {
			b.Fatal("at its end")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/record")
}
