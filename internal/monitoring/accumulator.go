package monitoring

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// An Accumulator merges monitoring infos that have the same URN, type and
// labels. Its zero value is empty and ready. It is safe for concurrent use.
type Accumulator struct {
	mu    sync.Mutex
	table table
}

// Add merges infos. An info whose payload can't be read is left out, and all
// others are merged nonetheless; the error, a *PayloadError, then describes the
// first bad one and counts the rest. A worker that sends one bad payload sends it
// with every bundle: log the first error and drop the others.
func (a *Accumulator) Add(infos []*pipepb.MonitoringInfo) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.table.add(infos)
}

// Snapshot returns the merged infos, ordered by URN, type and labels. The list is
// the caller's; the labels in it are shared and must not be changed.
func (a *Accumulator) Snapshot() []*pipepb.MonitoringInfo {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.table.snapshot()
}

// A PayloadError says that monitoring infos were left out because their
// payloads don't follow the encoding that their type prescribes.
type PayloadError struct {
	// URN, Type and Labels name the first bad info.
	URN, Type string
	Labels    map[string]string
	// Count is the number of bad infos in the call.
	Count int
	// Err is the reason of the first.
	Err error
}

func (e *PayloadError) Error() string {
	s := fmt.Sprintf("metric %q of type %q with labels %v is left out: %v", e.URN, e.Type, e.Labels, e.Err)
	if e.Count > 1 {
		s += fmt.Sprintf(" (and %d more in the same report)", e.Count-1)
	}
	return s
}

func (e *PayloadError) Unwrap() error { return e.Err }

// table is an Accumulator without the lock.
type table struct {
	cells map[string]*entry
	// key and names are scratch space for appendKey.
	key   []byte
	names []string
}

// entry is one metric: what names it, and its merged value.
type entry struct {
	urn, typ string
	labels   map[string]string
	value    cell
}

func (t *table) add(infos []*pipepb.MonitoringInfo) error {
	var bad *PayloadError
	for _, info := range infos {
		if info == nil {
			continue
		}
		if err := t.addOne(info); err != nil {
			if bad == nil {
				bad = &PayloadError{URN: info.GetUrn(), Type: info.GetType(), Labels: maps.Clone(info.GetLabels()), Err: err}
			}
			bad.Count++
		}
	}
	if bad != nil {
		return bad
	}
	return nil
}

func (t *table) addOne(info *pipepb.MonitoringInfo) error {
	t.key = t.appendKey(t.key[:0], info)
	if e, ok := t.cells[string(t.key)]; ok {
		return e.value.merge(info.GetPayload())
	}
	e := &entry{
		urn:    info.GetUrn(),
		typ:    info.GetType(),
		labels: maps.Clone(info.GetLabels()),
		value:  newCell(info.GetType()),
	}
	// Enter it only if its first payload is good: a metric without a value must
	// not show up.
	if err := e.value.merge(info.GetPayload()); err != nil {
		return err
	}
	if t.cells == nil {
		t.cells = make(map[string]*entry)
	}
	t.cells[string(t.key)] = e
	return nil
}

// appendKey appends what makes two infos the same metric. Every part is followed
// by a zero byte, which sorts before all others, so keys sort as their parts do.
// A zero byte inside a part is followed by 0xff, which no part begins with, being
// UTF-8: so no two metrics share a key, and the order holds for them too.
func (t *table) appendKey(key []byte, info *pipepb.MonitoringInfo) []byte {
	key = appendPart(key, info.GetUrn())
	key = appendPart(key, info.GetType())
	labels := info.GetLabels()
	t.names = t.names[:0]
	for name := range labels {
		t.names = append(t.names, name)
	}
	slices.Sort(t.names)
	for _, name := range t.names {
		key = appendPart(key, name)
		key = appendPart(key, labels[name])
	}
	return key
}

func appendPart(key []byte, part string) []byte {
	for {
		i := strings.IndexByte(part, 0)
		if i < 0 {
			return append(append(key, part...), 0)
		}
		key = append(append(key, part[:i]...), 0, 0xff)
		part = part[i+1:]
	}
}

// merge adds all of o, which stays as it is.
func (t *table) merge(o *table) {
	for key, oe := range o.cells {
		e, ok := t.cells[key]
		if !ok {
			e = &entry{urn: oe.urn, typ: oe.typ, labels: oe.labels, value: newCell(oe.typ)}
			if t.cells == nil {
				t.cells = make(map[string]*entry)
			}
			t.cells[key] = e
		}
		if err := e.value.merge(oe.value.payload()); err != nil {
			// A cell writes what it reads.
			panic(fmt.Sprintf("BUG: monitoring: type %s can't read its own payload: %v", oe.typ, err))
		}
	}
}

func (t *table) snapshot() []*pipepb.MonitoringInfo {
	infos := make([]*pipepb.MonitoringInfo, 0, len(t.cells))
	for _, key := range slices.Sorted(maps.Keys(t.cells)) {
		e := t.cells[key]
		infos = append(infos, &pipepb.MonitoringInfo{
			Urn:     e.urn,
			Type:    e.typ,
			Labels:  e.labels,
			Payload: e.value.payload(),
		})
	}
	return infos
}
