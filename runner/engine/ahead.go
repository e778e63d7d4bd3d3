package engine

import (
	"bytes"
	"fmt"
	"iter"
	"slices"

	"github.com/summerbeam/summerbeam/internal/coders"
)

// A DoFn that reads a value for each of its elements reads them in any order, and for each a block of the
// store is looked for, and often unpacked, anew. The bundle's input says which they will be. So the
// values of many elements are read together before the DoFn sees the first, in the order of their
// keys. Whether it will ask for them is guessed from the shard's last bundle.
//
// What was read ahead is right as long as the bundle runs. It was in no layer, so no epoch that was
// being written had it; and until the bundle's end, which is the shard's one writer, none will.

const (
	// aheadLeast is how many elements a bundle must have to say what the next will do.
	aheadLeast = 16
	// aheadWorth is how many elements there may be for one value that only the store has.
	aheadWorth = 4
	// aheadMost bounds the elements that are looked at together.
	aheadMost = 4096
	// aheadOverhead is about what a value takes that was read ahead, besides its key and bytes.
	aheadOverhead = 96
)

// habits are what a shard's bundles do with values. Only its running bundle touches them.
type habits struct {
	// asks says of each value, by its number, that bundles ask for it.
	asks []bool
	// size is about what one takes, in bytes.
	size int64
}

// ahead is what a bundle has read ahead.
type ahead struct {
	values map[string]aheadValue
	bytes  int64
	// at is what was asked for last, if it was read ahead.
	at    aheadValue
	found bool
	// asked counts, by the values' numbers, what only the store had.
	asked []int64
}

type aheadValue struct {
	cell string
	data []byte
}

// find returns a cell's key as a string.
func (a *ahead) find(cell []byte) string {
	if a.at, a.found = a.values[string(cell)]; a.found {
		return a.at.cell
	}
	return string(cell)
}

// last returns what was asked for last, if it was read ahead.
func (a *ahead) last() ([]byte, bool) { return a.at.data[:len(a.at.data):len(a.at.data)], a.found }

func (a *ahead) asks(number int) {
	for len(a.asked) <= number {
		a.asked = append(a.asked, 0)
	}
	a.asked[number]++
}

// learnHabits notes what the bundle, which is over, has done.
func (b *bundleState) learnHabits(elements int64) {
	if elements < aheadLeast || len(b.stage.values) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	h := &b.shard.habits
	h.asks = slices.Grow(h.asks[:0], len(b.stage.values))[:len(b.stage.values)]
	for i := range h.asks {
		h.asks[i] = i < len(b.mu.ahead.asked) && aheadWorth*b.mu.ahead.asked[i] >= elements
	}
}

// letGo forgets what was read ahead: the bundle is over.
func (b *bundleState) letGo() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shard != nil {
		b.shard.kept.mem.add(memClean, -b.mu.ahead.bytes)
	}
	b.mu.ahead = ahead{}
}

// readAhead passes a bundle's input on, and reads ahead what its elements will ask for.
func (b *bundleState) readAhead(in iter.Seq2[[]byte, error]) iter.Seq2[[]byte, error] {
	if b.shard == nil || !slices.Contains(b.shard.habits.asks, true) {
		return in
	}
	return func(yield func([]byte, error) bool) {
		for data, err := range in {
			for err == nil && len(data) > 0 {
				var n int
				if n, err = b.fetchFor(data); err != nil {
					break
				}
				if !yield(data[:n:n], nil) {
					return
				}
				data = data[n:]
			}
			if err != nil && !yield(nil, err) {
				return
			}
		}
	}
}

// fetchFor reads what the first elements of data will ask for. It returns where they end.
func (b *bundleState) fetchFor(data []byte) (n int, err error) {
	limit := b.shard.kept.limit
	b.mu.Lock()
	full := b.mu.ahead.bytes >= limit
	b.mu.Unlock()
	if full {
		return len(data), nil
	}
	h := &b.shard.habits
	if h.size == 0 {
		h.size = 1 << 10 // a guess, which costs no more than a few small fetches
	}
	cells, n, err := b.cellsOf(data, int(min(max(limit/4/h.size, aheadLeast), aheadMost)))
	if err != nil {
		return 0, err
	}
	keys, below := b.unknown(cells)
	if len(keys) < fetchLeast {
		return n, nil
	}
	st, err := b.store()
	if err != nil || st == nil {
		return n, err
	}
	values, err := st.MultiGet(keys)
	if err != nil {
		return 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	a := &b.mu.ahead
	if a.values == nil {
		a.values = make(map[string]aheadValue, len(keys))
	}
	before := a.bytes
	kept := &b.shard.kept
	kept.cellsMu.Lock()
	defer kept.cellsMu.Unlock()
	current := b.shard.views.Load().below() == below
	for i, key := range keys {
		cell, data := string(key[:len(key)-1]), values[i]
		a.values[cell] = aheadValue{cell, data}
		a.bytes += int64(2*len(cell)+len(data)) + aheadOverhead
		if current && len(data) > 0 {
			kept.admit(cell, cleanCell{data: data[:len(data):len(data)]})
		}
	}
	kept.mem.add(memClean, a.bytes-before)
	h.size = max(1, (a.bytes-before)/int64(len(keys)))
	return n, nil
}

// cellsOf returns the keys of records that the first elements of data will ask for, up to most
// elements, and where these end.
func (b *bundleState) cellsOf(data []byte, most int) (keys [][]byte, n int, err error) {
	var e coders.Element
	var all []byte
	var ends []int
	for count := 0; count < most && n < len(data); count++ {
		size, err := b.stage.elements().Next(data[n:], &e)
		if err != nil {
			return nil, 0, fmt.Errorf("%w: %w", errCoder, err)
		}
		n += size
		group := keyGroup(keyHash(e.Key))
		err = b.stage.eachWindow(&e, func(window []byte) error {
			for i, asks := range b.shard.habits.asks {
				if asks {
					all = cellKey(all, group, b.stage.slots.state, window, e.Key, b.stage.values[i])
					all = append(all, recordValue)
					ends = append(ends, len(all))
				}
			}
			return nil
		})
		if err != nil {
			return nil, 0, err
		}
	}
	keys = make([][]byte, len(ends))
	from := 0
	for i, end := range ends {
		keys[i] = all[from:end:end]
		from = end
	}
	return keys, n, nil
}

// unknown returns those keys, in order, whose values the store alone may have: the store as it is below
// an epoch.
func (b *bundleState) unknown(keys [][]byte) (rest [][]byte, below uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.reader()
	below = r.below()
	kept := &b.shard.kept
	kept.cellsMu.Lock()
	keys = slices.DeleteFunc(keys, func(key []byte) bool {
		cell := key[:len(key)-1]
		if _, ok := b.mu.ahead.values[string(cell)]; ok || r.hasLayered(cell) {
			return true
		}
		_, ok := kept.cells[string(cell)]
		return ok
	})
	kept.cellsMu.Unlock()
	slices.SortFunc(keys, bytes.Compare)
	return slices.CompactFunc(keys, bytes.Equal), below
}
