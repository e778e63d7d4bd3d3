package engine

// fanIn is how many runs are merged at once: each has an extent in memory.
const fanIn = 64

// merger reads runs as one: records by id, those of one id by run. So a group's
// values keep their order of arrival.
type merger struct {
	keep *keeper
	// heap of the runs that have a record, the least first.
	heap    []*source
	started bool
	counted int64
}

type source struct {
	runReader
	rec record
	at  int // of the run among all
}

// newMerger makes a merger of at most fanIn runs, which it frees as it reads them.
func newMerger(keep *keeper, runs []*sortedRun, extent int) (*merger, error) {
	m := &merger{keep: keep, counted: int64(len(runs) * extent)}
	keep.count(memGrouping, m.counted)
	for i, r := range runs {
		s := &source{runReader: runReader{run: r, once: true}, at: i}
		ok, err := s.read(&s.rec)
		if err != nil {
			return nil, err
		}
		if ok {
			m.heap = append(m.heap, s)
		}
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.sift(i)
	}
	return m, nil
}

// next returns the next record, valid until the next call, or nil at the end.
func (m *merger) next() (*record, error) {
	if m.started && len(m.heap) > 0 {
		top := m.heap[0]
		ok, err := top.read(&top.rec)
		if err != nil {
			return nil, err
		}
		if !ok {
			last := len(m.heap) - 1
			m.heap[0] = m.heap[last]
			m.heap[last] = nil
			m.heap = m.heap[:last]
		}
		m.sift(0)
	}
	m.started = true
	if len(m.heap) == 0 {
		m.close()
		return nil, nil
	}
	return &m.heap[0].rec, nil
}

func (m *merger) close() {
	m.keep.count(memGrouping, -m.counted)
	m.counted = 0
}

func (m *merger) less(a, b *source) bool {
	c := compareIDs(a.rec.prefix, b.rec.prefix, a.rec.id, b.rec.id)
	return c < 0 || c == 0 && a.at < b.at
}

func (m *merger) sift(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(m.heap); c++ {
			if m.less(m.heap[c], m.heap[least]) {
				least = c
			}
		}
		if least == i {
			return
		}
		m.heap[i], m.heap[least] = m.heap[least], m.heap[i]
		i = least
	}
}

// mergeRuns merges neighbouring runs until at most limit are left.
func mergeRuns(keep *keeper, stage int, runs []*sortedRun, extent, limit int, combine func(a, b int64) int64) ([]*sortedRun, error) {
	for len(runs) > limit {
		var fewer []*sortedRun
		for len(runs) > 0 {
			n := min(fanIn, len(runs))
			if n == 1 {
				fewer = append(fewer, runs[0])
				break
			}
			r, err := mergeOnce(keep, stage, runs[:n], extent, combine)
			if err != nil {
				return nil, err
			}
			fewer, runs = append(fewer, r), runs[n:]
		}
		runs = fewer
	}
	return runs, nil
}

// mergeOnce writes runs as one, and a group's records, where they fit, as one.
// combine makes one timestamp of two.
func mergeOnce(keep *keeper, stage int, runs []*sortedRun, extent int, combine func(a, b int64) int64) (*sortedRun, error) {
	m, err := newMerger(keep, runs, extent)
	if err != nil {
		return nil, err
	}
	defer m.close()
	w := newRunWriter(keep, stage, extent)
	var id []byte
	open := false
	for {
		rec, err := m.next()
		if err != nil {
			return nil, err
		}
		if open && (rec == nil || string(rec.id) != string(id) || combine(rec.out, w.out) != w.out) {
			// A timestamp that moves needs a record of its own: readers combine them.
			w.end()
			open = false
		}
		if rec == nil {
			return w.close()
		}
		if !open {
			id = append(id[:0], rec.id...)
			if err := w.begin(id, rec.out); err != nil {
				return nil, err
			}
			open = true
		}
		if err := w.values(rec.count, rec.values); err != nil {
			return nil, err
		}
	}
}
