package engine

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
	"github.com/summerbeam/summerbeam/statebackend"
	"google.golang.org/protobuf/proto"
)

// Update lets a pipeline of another shape go on from what a job has stored. It is for the
// time when nothing runs: PlanUpdate only reads, Apply writes.
type Update struct {
	// Lines say for people what becomes of what the job has, in the order of the new plan.
	Lines []string
	// Problems are what can't be, Drops what would be lost. Each names the transform.
	Problems, Drops []string

	from, to *graph.Plan
	renamed  map[string]string
	cfg      core.Config
	rec      coreRecord
	// queues and groups have, for each stage of the new plan, the old stage whose blocks it
	// takes, -1 for none.
	queues, groups []int
	// sides have the old index of each stage's side inputs by the new one.
	sides map[[2]int]*graph.Kept
}

// PlanUpdate compares what is stored, by a job with the plan from, with the plan to. The
// job must not run. renamed has the new unique names of transforms by their old ones. cfg
// must be the settings of both.
func PlanUpdate(st statebackend.Reader, from, to *graph.Plan, cfg core.Config, renamed map[string]string) (*Update, error) {
	data, found, err := st.Get(nil, []byte{recoveryMark, recordCore})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, ErrNothingStored
	}
	u := &Update{from: from, to: to, renamed: renamed, cfg: cfg, sides: make(map[[2]int]*graph.Kept)}
	if u.rec, err = readCoreRecord(data); err != nil {
		return nil, err
	}
	if s := u.rec.Snapshot; s == nil || len(s.Stages) != len(from.Stages) {
		return nil, fmt.Errorf("snapshot: %w: it is not of this pipeline", statebackend.ErrCorrupt)
	}
	for range to.Stages {
		u.queues, u.groups = append(u.queues, -1), append(u.groups, -1)
	}
	matches, err := graph.Compare(from, to, renamed)
	if err != nil {
		return nil, err
	}
	for _, m := range matches {
		u.judge(m)
	}
	return u, nil
}

// ErrNothingStored says that a job was never so far as to store an epoch.
var ErrNothingStored = errors.New("the job has stored nothing yet")

func (u *Update) problem(format string, args ...any) {
	u.Problems = append(u.Problems, fmt.Sprintf(format, args...))
}

// judge says what becomes of one thing.
func (u *Update) judge(m graph.Match) {
	line := func(verdict string, k *graph.Kept, note string) {
		u.Lines = append(u.Lines, fmt.Sprintf("%-8s %s%s", verdict, k, note))
	}
	if m.Old == nil {
		line("new", m.New, "")
		return
	}
	waiting := u.waiting(m.Old)
	note := ""
	if waiting > 0 {
		note = fmt.Sprintf(", %d elements wait", waiting)
	}
	queued := m.Old.Kind == graph.KeptQueue
	if m.New == nil {
		switch {
		case queued && (waiting == 0 || u.from.Stages[m.Old.Stage].Kind == graph.Impulse):
			line("gone", m.Old, ", nothing waits")
		default:
			line("DROPPED", m.Old, note)
			u.Drops = append(u.Drops, m.Old.String()+note)
		}
		return
	}
	if m.Differs() && !(queued && waiting == 0) {
		line("DIFFERS", m.New, note)
		u.problem("%s: it was written as %s, the pipeline reads %s", m.New, m.Old.Shape, m.New.Shape)
		return
	}
	was, is := u.from.Stages[m.Old.Stage], u.to.Stages[m.New.Stage]
	if a, b := u.cfg.ShardsOf(was), u.cfg.ShardsOf(is); a != b && (!queued || waiting > 0) {
		line("DIFFERS", m.New, note)
		u.problem("%s: it was kept in %d shards, the pipeline keeps it in %d", m.New, a, b)
		return
	}
	line("goes on", m.New, note)
	switch m.New.Kind {
	case graph.KeptQueue:
		u.take(u.queues, m, waiting)
	case graph.KeptGroups, graph.KeptSorted:
		u.take(u.groups, m, waiting)
	case graph.KeptSide:
		u.sides[[2]int{m.New.Stage, m.New.Side}] = m.Old
	}
}

// take lets a stage have an old one's blocks. They go to one stage, and come from one.
func (u *Update) take(of []int, m graph.Match, waiting int64) {
	is := m.New.Stage
	other := slices.Index(of, m.Old.Stage)
	switch {
	case of[is] == m.Old.Stage:
	case waiting > 0 && other >= 0:
		u.problem("%s: %d elements wait for it together with others, and the pipeline reads them apart", m.New, waiting)
	case of[is] < 0 && other < 0:
		of[is] = m.Old.Stage
	case waiting > 0:
		u.problem("%s: %d elements wait for it alone, and the pipeline reads them together with others", m.New, waiting)
	}
}

// waiting counts the elements of a queue, or those a grouping has not seen yet.
func (u *Update) waiting(k *graph.Kept) (n int64) {
	for _, sh := range u.rec.Snapshot.Stages[k.Stage].Shards {
		lists := [][]core.QueuedBlock{sh.Ready, sh.Delayed}
		switch k.Kind {
		case graph.KeptGroups, graph.KeptSorted:
			lists = [][]core.QueuedBlock{sh.Raw}
		case graph.KeptQueue:
		default:
			return 0
		}
		for _, list := range lists {
			for i := range list {
				n += list[i].Count
			}
		}
	}
	return n
}

// Apply rewrites the store for the new plan. It writes more than one batch, so the store
// must be a copy that nobody goes on from if it fails.
func (u *Update) Apply(st statebackend.Store) error {
	if len(u.Problems) > 0 {
		return errors.New(u.Problems[0])
	}
	slots, err := u.moveSlots(st)
	if err != nil {
		return err
	}
	b := st.NewBatch()
	defer b.Close()
	snap := u.snapshot(b)
	if err := u.relabel(st, b); err != nil {
		return err
	}
	data, err := json.Marshal(coreRecord{Version: recoveryVersion, Slots: slots, Snapshot: snap})
	if err != nil {
		return err
	}
	b.Put([]byte{recoveryMark, recordCore}, data)
	return st.Write(b, true)
}

// snapshot makes the snapshot that the new plan's core goes on from. Blocks that nobody
// takes are deleted.
func (u *Update) snapshot(b statebackend.Batch) *core.Snapshot {
	old := u.rec.Snapshot
	snap := &core.Snapshot{Epoch: old.Epoch, LastBlock: old.LastBlock, Processing: old.Processing, Draining: old.Draining}
	for i, s := range u.to.Stages {
		out := core.StageSnapshot{
			ID: s.ID, Input: core.MinTime, Group: core.MinTime, Fired: core.MinTime, Event: core.MinTime, Output: core.MinTime,
			Sealed: make([]bool, len(s.SideInputs)), Shards: make([]core.ShardSnapshot, u.cfg.ShardsOf(s)),
		}
		queue, group := u.queues[i], u.groups[i]
		switch {
		case group >= 0:
			// Fired panes went on from the stage that had them, which is perhaps another.
			o := &old.Stages[group]
			out.Input, out.Group, out.Fired = o.Input, o.Group, o.Fired
			out.Event, out.Output = o.Event, o.Output
		case queue >= 0:
			o := &old.Stages[queue]
			out.Input, out.Group, out.Fired = o.Input, o.Group, o.Fired
			if u.from.Stages[queue].Input != nil && u.from.Stages[queue].Input.Grouping != nil {
				out.Input, out.Group = o.Fired, o.Fired
			}
			out.Event, out.Output = o.Event, o.Output
		case s.Kind == graph.Impulse:
			snap.LastBlock++
			b.Put(blockKey(snap.LastBlock), []byte{payloadNone})
			out.Shards[0].Ready = []core.QueuedBlock{{ID: int64(snap.LastBlock), Count: 1, Hold: core.MinTime}}
		}
		for k := range out.Shards {
			if queue >= 0 && k < len(old.Stages[queue].Shards) {
				out.Shards[k].Ready = old.Stages[queue].Shards[k].Ready
				out.Shards[k].Delayed = old.Stages[queue].Shards[k].Delayed
			}
			if group >= 0 && k < len(old.Stages[group].Shards) {
				out.Shards[k].Raw = old.Stages[group].Shards[k].Raw
			}
		}
		if s.Kind == graph.TestStream {
			out.Test = &core.TestSnapshot{Watermarks: slices.Repeat([]int64{core.MinTime}, len(s.Outputs))}
			if queue >= 0 {
				out.Test = old.Stages[queue].Test
			}
		}
		u.sideClocks(s, &out)
		snap.Stages = append(snap.Stages, out)
	}
	u.dropBlocks(snap, b)
	return snap
}

// sideClocks fills in how far the side inputs have come.
func (u *Update) sideClocks(s *graph.Stage, out *core.StageSnapshot) {
	byWindow := slices.ContainsFunc(s.SideInputs, func(in *graph.SideInput) bool { return in.Windows != nil })
	if byWindow {
		out.Sides = slices.Repeat([]int64{core.MinTime}, len(s.SideInputs))
	}
	for j, in := range s.SideInputs {
		out.Sealed[j] = in.Windows != nil
		k := u.sides[[2]int{s.Index, j}]
		if k == nil {
			continue
		}
		o := &u.rec.Snapshot.Stages[k.Stage]
		if in.Windows == nil && u.from.Stages[k.Stage].SideInputs[k.Side].Windows == nil {
			out.Sealed[j] = o.Sealed[k.Side]
		}
		if byWindow && o.Sides != nil {
			out.Sides[j] = o.Sides[k.Side]
		}
	}
}

func (u *Update) dropBlocks(snap *core.Snapshot, b statebackend.Batch) {
	live := make(map[int64]bool)
	for i := range snap.Stages {
		snap.Stages[i].Each(func(q *core.QueuedBlock) { live[q.ID] = true })
	}
	for i := range u.rec.Snapshot.Stages {
		u.rec.Snapshot.Stages[i].Each(func(q *core.QueuedBlock) {
			if !live[q.ID] {
				b.Delete(blockKey(uint64(q.ID)))
			}
		})
	}
}

// relabel gives committed metrics the new ids of their transforms and collections. Those of
// what is gone go.
func (u *Update) relabel(st statebackend.Reader, b statebackend.Batch) error {
	key := []byte{recoveryMark, recordMetrics}
	data, found, err := st.Get(nil, key)
	if err != nil || !found {
		return err
	}
	var m fnpb.ProcessBundleProgressResponse
	if err := proto.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("metrics: %w: %w", statebackend.ErrCorrupt, err)
	}
	ids := make(map[string]string)
	for id := range u.to.Pipeline.GetComponents().GetTransforms() {
		ids[u.to.UniqueName(id)] = id
	}
	kept := m.MonitoringInfos[:0]
	for _, info := range m.MonitoringInfos {
		old, ok := info.Labels["PTRANSFORM"]
		if !ok {
			continue // of a collection, whose name says nothing
		}
		if id, ok := ids[u.newName(u.from.UniqueName(old))]; ok {
			info.Labels["PTRANSFORM"] = id
			kept = append(kept, info)
		}
	}
	m.MonitoringInfos = kept
	if data, err = proto.Marshal(&m); err != nil {
		return err
	}
	b.Put(key, data)
	return nil
}

func (u *Update) newName(old string) string {
	if name, ok := u.renamed[old]; ok {
		return name
	}
	return old
}

// moveSlots gives the new plan's owners their slots and deletes what those had who are gone.
func (u *Update) moveSlots(st statebackend.Store) (Slots, error) {
	old := make(Slots)
	for _, s := range u.from.Stages {
		var of stageSlots
		was, is := make([]string, 0, 4), make([]string, 0, 4)
		of.owners(u.from.UniqueName, s, func(owner string, _ *int) { was = append(was, owner) })
		of.owners(func(id string) string { return u.newName(u.from.UniqueName(id)) }, s, func(owner string, _ *int) { is = append(is, owner) })
		for i := range was {
			n, ok := u.rec.Slots[was[i]]
			if !ok {
				return nil, fmt.Errorf("slots: %w: there is none for %q", statebackend.ErrCorrupt, was[i])
			}
			old[is[i]] = n
		}
	}
	slots, err := newSlots(u.to, old)
	if err != nil {
		return nil, err
	}
	for owner, n := range old {
		if _, ok := slots[owner]; !ok {
			if err := deleteSlot(st, n); err != nil {
				return nil, fmt.Errorf("dropping %s: %w", owner, err)
			}
		}
	}
	return slots, u.trim(st, slots)
}

// deleteSlot deletes all that is stored under a slot.
func deleteSlot(st statebackend.Store, slot int) error {
	b := st.NewBatch()
	defer b.Close()
	drop := func(prefix []byte) { b.DeleteRange(prefix, prefixEnd(string(prefix))) }
	for group := range KeyGroups {
		drop(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, uint16(group)), uint16(slot)))
	}
	for _, kind := range append(slices.Clone(timerRecords), recordSide) {
		drop(binary.BigEndian.AppendUint16([]byte{recoveryMark, kind}, uint16(slot)))
	}
	return st.Write(b, true)
}

// trim deletes states and timers that a transform no longer declares: under their ids
// something else may come one day.
func (u *Update) trim(st statebackend.Store, slots Slots) error {
	for _, s := range u.to.Stages {
		if s.Stateful && len(s.Transforms) > 0 && s.Expiry == nil {
			n := slots[stateOwner(u.to.UniqueName(s.Transforms[0]))]
			prefix := binary.BigEndian.AppendUint16([]byte{recoveryMark, recordExpiry}, uint16(n))
			if err := deleteWhere(st, prefix, func(_, _ []byte) bool { return true }); err != nil {
				return err
			}
		}
	}
	gone, err := graph.Compare(u.from, u.to, u.renamed)
	if err != nil {
		return err
	}
	for _, m := range gone {
		if m.New != nil {
			continue
		}
		n, ok := slots[stateOwner(u.newName(m.Old.Name))]
		if !ok {
			continue // deleted as a whole
		}
		switch m.Old.Kind {
		case graph.KeptState:
			for group := range KeyGroups {
				prefix := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, uint16(group)), uint16(n))
				if err := deleteWhere(st, prefix, func(k, _ []byte) bool { return cellID(string(k)) == m.Old.Detail }); err != nil {
					return err
				}
			}
		case graph.KeptTimers:
			if err := deleteTimers(st, n, m.Old.Detail); err != nil {
				return err
			}
		}
	}
	return nil
}

// deleteTimers deletes a family's timers.
func deleteTimers(st statebackend.Store, slot int, family string) error {
	for kind, id := range map[byte]func(rest, value []byte) []byte{
		recordTimer: func(rest, _ []byte) []byte { return rest[2:] }, // behind the shard
		recordDue: func(_, value []byte) []byte {
			id, _, _ := readPart(value)
			return id
		},
		recordHold: func(_, value []byte) []byte { return value },
	} {
		prefix := binary.BigEndian.AppendUint16([]byte{recoveryMark, kind}, uint16(slot))
		err := deleteWhere(st, prefix, func(k, v []byte) bool {
			f, _, _ := readPart(id(k[len(prefix):], v))
			return string(f) == family
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// cellID is the state id in a cell's key.
func cellID(cell string) string {
	rest := cell[4:]
	for range 2 { // window, key
		_, rest = cutPart(rest)
	}
	id, _ := cutPart(rest)
	return id
}

// deleteWhere deletes records under a prefix, in batches of bounded size.
func deleteWhere(st statebackend.Store, prefix []byte, gone func(key, value []byte) bool) error {
	const most = 10_000
	b := st.NewBatch()
	defer b.Close()
	for from := prefix; ; {
		full := false
		err := st.Scan(from, prefixEnd(string(prefix)), func(k, v []byte) bool {
			if gone(k, v) {
				b.Delete(k)
			}
			if full = b.Len() >= most; full {
				from = append(slices.Clone(k), 0)
			}
			return !full
		})
		if err != nil {
			return err
		}
		if b.Len() > 0 {
			if err := st.Write(b, false); err != nil {
				return err
			}
			b.Reset()
		}
		if !full {
			return nil
		}
	}
}
