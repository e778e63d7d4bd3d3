package engine

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/statebackend"
	"google.golang.org/protobuf/proto"
)

// notBegun is why a job could not go on from what is stored.
type notBegun struct{ err error }

func (e *notBegun) Error() string { return e.err.Error() }
func (e *notBegun) Unwrap() error { return e.err }

// NotBegun says that a job's Run has returned err before it did anything.
func NotBegun(err error) bool {
	var e *notBegun
	return errors.As(err, &e)
}

// recover reads the job's last epoch back, if its store has one. The job has not
// begun: nothing else runs.
func (j *Job) recover() error {
	j.durable = newDurability()
	if j.cfg.Core.ByStage {
		j.durable.segs, j.durable.places = j.keep.disk, make(map[uint64]*spilled)
	}
	st, err := j.store.opened()
	if err != nil {
		return err
	}
	data, found, err := st.Get(nil, []byte{recoveryMark, recordCore})
	if err != nil {
		return err
	}
	if err := j.restoreLetters(st); err != nil {
		return err
	}
	if !found {
		j.storeTimers()
	} else if err := j.restore(st, data); err != nil {
		return fmt.Errorf("going on from the last epoch: %w", err)
	}
	if j.durable.segs != nil {
		if err := j.durable.segs.sweep(); err != nil {
			return fmt.Errorf("segment files of an earlier process: %w", err)
		}
	}
	return nil
}

// storeTimers lets all stages keep their timers in the store, by the slots that they have.
func (j *Job) storeTimers() {
	for _, r := range j.stages {
		r.storeTimers(j.store.reader, &j.durable.written, j.keep.mem)
	}
}

func readCoreRecord(data []byte) (rec coreRecord, err error) {
	if err := json.Unmarshal(data, &rec); err != nil {
		return rec, fmt.Errorf("snapshot: %w: %w", statebackend.ErrCorrupt, err)
	}
	if rec.Version != recoveryVersion {
		return rec, fmt.Errorf("it was written in format %d, this program reads format %d: go on with the version that wrote it", rec.Version, recoveryVersion)
	}
	return rec, nil
}

func (j *Job) restore(st statebackend.Store, data []byte) error {
	rec, err := readCoreRecord(data)
	if err != nil {
		return err
	}
	snap := rec.Snapshot
	if snap == nil || len(snap.Stages) != len(j.stages) {
		return fmt.Errorf("snapshot: %w: it is not of this pipeline", statebackend.ErrCorrupt)
	}
	if err := j.takeSlots(rec.Slots); err != nil {
		return err
	}
	j.storeTimers()
	j.durable.next = snap.Epoch + 1
	blocks := 0
	for i, r := range j.stages {
		if err := r.restoreTimers(st); err != nil {
			return err
		}
		for _, sh := range r.allShards() {
			sh.begin(snap.Epoch)
		}
		s := &snap.Stages[i]
		for k := range s.Shards {
			if k < len(r.timers) {
				s.Shards[k].Timers = r.timers[k].summary()
			}
			if r.held != nil && k < len(r.held.timers) {
				s.Shards[k].Triggers = r.held.timers[k].summary()
			}
		}
		var err error
		s.Each(func(q *core.QueuedBlock) {
			blocks++
			if err == nil {
				err = j.restoreBlock(st, i, q)
			}
		})
		if err != nil {
			return fmt.Errorf("stage %s: %w", r.plan.ID, err)
		}
		if err := j.restoreSides(st, r); err != nil {
			return fmt.Errorf("stage %s: %w", r.plan.ID, err)
		}
	}
	if j.core, err = core.Restore(j.plan, j.cfg.Core, snap); err != nil {
		return err
	}
	if err := j.restoreMetrics(st); err != nil {
		return err
	}
	j.info.Log.Info("goes on from its last epoch", "epoch", snap.Epoch, "blocks", blocks, "stages_done", snap.Over(), "stages", len(snap.Stages))
	return nil
}

func (j *Job) restoreBlock(st statebackend.Store, stage int, q *core.QueuedBlock) error {
	data, found, err := st.Get(nil, blockKey(uint64(q.ID)))
	if err == nil && !found {
		err = statebackend.ErrCorrupt
	}
	if err == nil {
		q.Payload, err = readPayload(data, j.durable.segs, stage)
	}
	if at, ok := q.Payload.(*spilled); ok && err == nil {
		at.pin() // once for the block, once for the epoch
		j.durable.places[uint64(q.ID)] = at
		j.keep.count(memQueue, blockOverhead)
	}
	if data, ok := q.Payload.([]byte); ok && err == nil {
		q.Payload, _, err = j.keep.keep(stage, data, false)
	}
	if err != nil {
		return fmt.Errorf("block %d: %w", q.ID, err)
	}
	j.durable.stored[uint64(q.ID)] = true
	return nil
}

// restoreSides gives a stage's side inputs what they had.
func (j *Job) restoreSides(st statebackend.Store, r *stageRun) error {
	for i, side := range r.sideList {
		prefix := sidePrefix(r.slots.sides[i])
		var bad error
		err := st.Scan(prefix, prefixEnd(string(prefix)), func(k, v []byte) bool {
			var b core.Block
			if b, bad = readSideRecord(v, j.durable.segs, r.index); bad == nil {
				switch data := b.Payload.(type) {
				case []byte:
					b.Payload, _, bad = j.keep.keep(r.index, data, true)
				case *spilled:
					data.pin() // for the epoch, for good
					j.keep.count(memQueue, blockOverhead)
				}
			}
			if bad == nil {
				side.add(b)
				j.durable.sideCount[[2]int{r.index, i}] = binary.BigEndian.Uint64(k[len(prefix):]) + 1
			}
			return bad == nil
		})
		if err == nil {
			err = bad
		}
		if err != nil {
			return fmt.Errorf("%s: %w", side.name, err)
		}
	}
	return nil
}

func readSideRecord(v []byte, segs *segments, stage int) (b core.Block, err error) {
	var n, m int
	if b.Hold, n = binary.Varint(v); n <= 0 {
		return b, statebackend.ErrCorrupt
	}
	if b.Count, m = binary.Varint(v[n:]); m <= 0 {
		return b, statebackend.ErrCorrupt
	}
	if b.Payload, err = readPayload(v[n+m:], segs, stage); err != nil {
		return b, err
	}
	switch data := b.Payload.(type) {
	case []byte:
		b.Bytes = int64(len(data))
	case *spilled:
		b.Bytes = int64(data.n)
	}
	return b, nil
}

func (j *Job) restoreMetrics(st statebackend.Store) error {
	data, found, err := st.Get(nil, []byte{recoveryMark, recordMetrics})
	if err != nil || !found {
		return err
	}
	var m fnpb.ProcessBundleProgressResponse
	if err := proto.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("metrics: %w: %w", statebackend.ErrCorrupt, err)
	}
	return j.metrics.BundleDone("before the restart", m.GetMonitoringInfos())
}
