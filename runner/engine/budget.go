package engine

import (
	"log/slog"
	"sync/atomic"
)

// Budget is what may be held in memory of all data on its way through the jobs
// that share it: everything that grows with the data and not with the pipeline.
// It is a limit by agreement and not an allocator: those who hold data say so
// (memory.add), and those who could do without ask first (waiting, full).
//
// Below half of the limit nothing touches the disk. From half on, data that waits
// for the end of its input anyway (ungrouped elements, side inputs) goes to disk
// as it comes. From three quarters on everything does, and groupings work in
// small sorted runs. From seven eighths on, stages are held back whose outputs
// would only join a queue (core/pressure.go): what is left then is memory that can't be
// spilled, and it must be worked off.
//
// Safe for concurrent use.
type Budget struct {
	limit int64
	used  atomic.Int64
	// pressing is the last answer to pressed; see there.
	pressing atomic.Bool
}

// DefaultMemory is the budget where none is given.
const DefaultMemory = 128 << 20

// NewBudget returns a budget of limit bytes, DefaultMemory if limit isn't positive.
func NewBudget(limit int64) *Budget {
	if limit <= 0 {
		limit = DefaultMemory
	}
	return &Budget{limit: limit}
}

// Limit is the budget in bytes; Used is what is held at the moment, by all jobs.
func (b *Budget) Limit() int64 { return b.limit }
func (b *Budget) Used() int64  { return b.used.Load() }

// memKind tells apart what memory is held for.
type memKind int

const (
	// memQueue: blocks in front of stages, ungrouped elements and the claims of
	// running bundles among them.
	memQueue memKind = iota
	// memOutputs: what running bundles have written and routing has not cut yet.
	memOutputs
	// memGrouping: groups, their tables, sort and merge buffers.
	memGrouping
	// memSides: side inputs and their indexes.
	memSides
	// memRendered: bundles' input that was read back from disk or made from groups.
	memRendered
	// memState: state that is not in the store yet.
	memState
	// memClean: state that is in the store, remembered. It is not there for long if
	// memory is short, but is not asked to leave.
	memClean
	memKinds
)

// memory is one job's account of a budget. The zero of *memory (nil) counts
// nothing and never limits. Safe for concurrent use, and free of locks.
type memory struct {
	budget *Budget
	kinds  [memKinds]atomic.Int64
	// disk is what lies in the job's segment files and is still needed, written
	// all that was ever written there.
	disk, written atomic.Int64
}

func newMemory(b *Budget) *memory { return &memory{budget: b} }

// add says that n bytes more (or less, if n is negative) are held.
func (m *memory) add(k memKind, n int64) {
	if m == nil || n == 0 {
		return
	}
	m.kinds[k].Add(n)
	m.budget.used.Add(n)
}

// waiting says that data which waits for its input's end shall wait on disk.
func (m *memory) waiting() bool { return m.above(4) }

// full says that whatever can go to disk shall go there.
func (m *memory) full() bool { return m.above(6) }

// above compares what is used with the limit's eighths.
func (m *memory) above(eighths int64) bool {
	return m != nil && m.budget.used.Load() >= m.budget.limit/8*eighths
}

// pressed says that sources are to be held back. It is on from seven eighths and
// off below five, so that it does not change with every block.
func (m *memory) pressed() bool {
	if m == nil {
		return false
	}
	on := m.above(7) || (m.budget.pressing.Load() && m.above(5))
	m.budget.pressing.Store(on)
	return on
}

// share is a part of the budget as working space: a divisor's fraction, not less
// than least, not more than most.
func (m *memory) share(divisor, least, most int64) int64 {
	if m == nil {
		return most
	}
	return min(max(m.budget.limit/divisor, least), most)
}

// spilled and freed count the bytes on disk.
func (m *memory) spilled(n int64) {
	if m != nil {
		m.disk.Add(n)
		m.written.Add(n)
	}
}

func (m *memory) freed(n int64) {
	if m != nil {
		m.disk.Add(-n)
	}
}

// close gives back all that the job has left.
func (m *memory) close() {
	if m == nil {
		return
	}
	for k := range m.kinds {
		m.budget.used.Add(-m.kinds[k].Swap(0))
	}
}

// Usage is what a job holds at a moment, in bytes. Its numbers are read one after
// another while the job runs, so they may be a few blocks apart.
type Usage struct {
	// Limit and Used are the budget's, which jobs may share.
	Limit, Used int64
	// Queue to Cache are this job's; see the kinds in budget.go.
	Queue, Outputs, Grouping, SideInputs, Rendered, State, Cache int64
	// Disk is what lies in segment files and is still needed, Written all that was
	// ever written to them.
	Disk, Written int64
}

func (m *memory) usage() Usage {
	if m == nil {
		return Usage{}
	}
	return Usage{
		Limit: m.budget.limit, Used: m.budget.used.Load(),
		Queue:      m.kinds[memQueue].Load(),
		Outputs:    m.kinds[memOutputs].Load(),
		Grouping:   m.kinds[memGrouping].Load(),
		SideInputs: m.kinds[memSides].Load(),
		Rendered:   m.kinds[memRendered].Load(),
		State:      m.kinds[memState].Load(),
		Cache:      m.kinds[memClean].Load(),
		Disk:       m.disk.Load(), Written: m.written.Load(),
	}
}

// LogValue implements slog.LogValuer: a group, without what is zero.
func (u Usage) LogValue() slog.Value {
	attrs := []slog.Attr{slog.Int64("limit", u.Limit), slog.Int64("used", u.Used)}
	for _, a := range []slog.Attr{
		slog.Int64("queue", u.Queue), slog.Int64("outputs", u.Outputs), slog.Int64("grouping", u.Grouping),
		slog.Int64("sideinputs", u.SideInputs), slog.Int64("rendered", u.Rendered), slog.Int64("state", u.State), slog.Int64("cache", u.Cache),
		slog.Int64("disk", u.Disk), slog.Int64("written", u.Written),
	} {
		if a.Value.Int64() != 0 {
			attrs = append(attrs, a)
		}
	}
	return slog.GroupValue(attrs...)
}
