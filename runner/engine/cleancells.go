package engine

import (
	"encoding/binary"
	"sync"

	"github.com/summerbeam/summerbeam/statebackend"
)

// cleanCells remembers, for one shard, what the store holds of bags that were read or
// written lately. It saves their next read a scan, and their next clear another one
// that looks for the records to delete. A cell that was never stored is remembered
// too: its first read is the most frequent of all.
//
// A cell here is as the epochs below the shard's layers have left it. So it changes in
// one step with the views: when a frozen layer is thawed, its cells come in. And
// what a bundle has read from the store is only learned if no layer went down
// meanwhile: it would be missing.
type cleanCells struct {
	// cellsMu guards all below, and the change of the shard's views by thaw.
	cellsMu sync.Mutex
	cells   map[string]cleanCell
	bytes   int64
	limit   int64
	// asked are values that were read from the store lately.
	asked doorkeeper
	// budget's memClean has bytes.
	mem *memory
}

// cleanShare is the limit for one shard: an eighth of the budget for a stage.
func cleanShare(mem *memory, shards int) int64 { return mem.share(8*int64(shards), 16<<10, 64<<20) }

// cleanCell is a bag's content and the epochs of its records: first and more, none
// if first is 0. (Epochs count from 1.)
type cleanCell struct {
	data  []byte
	first uint64
	more  []uint64
}

const cleanOverhead = 96

func (c *cleanCell) size(key string) int64 {
	return int64(len(key)+cap(c.data)+8*cap(c.more)) + cleanOverhead
}

func (c *cleanCell) note(epoch uint64) {
	if c.first == 0 {
		c.first = epoch
		return
	}
	c.more = append(c.more, epoch)
}

// put sets a cell. cellsMu is held.
func (cc *cleanCells) put(key string, c cleanCell) {
	if cc.limit <= 0 {
		return
	}
	if cc.cells == nil {
		cc.cells = make(map[string]cleanCell)
	}
	cc.drop(key)
	n := c.size(key)
	// Over the limit any other cell goes: the map gives them in no order.
	for k := range cc.cells {
		if cc.bytes+n <= cc.limit {
			break
		}
		cc.drop(k)
	}
	if n > cc.limit {
		return
	}
	cc.cells[key] = c
	cc.count(n)
}

// room says that a cell can come in without another's going. cellsMu is held.
func (cc *cleanCells) room(key string, c *cleanCell) bool { return cc.bytes+c.size(key) <= cc.limit }

// drop forgets a cell. cellsMu is held.
func (cc *cleanCells) drop(key string) {
	if c, ok := cc.cells[key]; ok {
		cc.count(-c.size(key))
		delete(cc.cells, key)
	}
}

func (cc *cleanCells) count(n int64) {
	cc.bytes += n
	cc.mem.add(memClean, n)
}

// clean returns what is known of a bag's records of epochs before below.
func (s *shardState) clean(below uint64, key string) (cleanCell, bool) {
	s.kept.cellsMu.Lock()
	defer s.kept.cellsMu.Unlock()
	if s.views.Load().below() != below {
		return cleanCell{}, false
	}
	c, ok := s.kept.cells[key]
	return c, ok
}

// learnValue is learn for values. When there is no room, others go only for one that was read
// before, not long ago.
func (s *shardState) learnValue(below uint64, key string, data []byte) {
	s.kept.cellsMu.Lock()
	defer s.kept.cellsMu.Unlock()
	if s.views.Load().below() == below {
		s.kept.admit(key, cleanCell{data: data})
	}
}

// admit is learnValue's rule. cellsMu is held.
func (cc *cleanCells) admit(key string, c cleanCell) {
	if again := cc.asked.again(key, cc.limit); again || cc.room(key, &c) {
		cc.put(key, c)
	}
}

// learn keeps what a reader has found in the store, of epochs before below.
func (s *shardState) learn(below uint64, key string, c cleanCell) {
	s.kept.cellsMu.Lock()
	defer s.kept.cellsMu.Unlock()
	if s.views.Load().below() == below {
		s.kept.put(key, c)
	}
}

// thaw drops the frozen layer once the store has it.
func (s *shardState) thaw() {
	s.kept.cellsMu.Lock()
	defer s.kept.cellsMu.Unlock()
	v := s.views.Load()
	if v.frozen != nil {
		for key, c := range v.frozen.cells {
			s.kept.settle(key, c, v.frozen.epoch)
		}
		s.kept.settleValues(v.frozen)
		s.kept.mem.add(memState, -v.frozen.size())
	}
	s.views.Store(&views{dirty: v.dirty})
}

// settle takes in a cell that was written. cellsMu is held.
func (cc *cleanCells) settle(key string, c *cell, epoch uint64) {
	if c.sub != nil || c.list != nil || c.gone != nil {
		cc.drop(key)
		return
	}
	var k cleanCell
	if c.cleared {
		k.data = c.bag[:len(c.bag):len(c.bag)]
	} else {
		var ok bool
		if k, ok = cc.cells[key]; !ok {
			return
		}
		if len(k.more) > 1 {
			// Appended again and again, and hardly read: not worth its copies.
			cc.drop(key)
			return
		}
		cc.drop(key)
		k.more = append([]uint64(nil), k.more...)
		k.data = append(k.data[:len(k.data):len(k.data)], c.bag...)
	}
	if len(c.bag) > 0 {
		k.note(epoch)
	}
	cc.put(key, k)
}

// deleteCell deletes a cell's records: those that are known, or all that are found.
func (s *shardState) deleteCell(b statebackend.Batch, st statebackend.Reader, key string) error {
	s.kept.cellsMu.Lock()
	c, ok := s.kept.cells[key]
	s.kept.cellsMu.Unlock()
	if !ok {
		return deletePrefix(b, st, key)
	}
	if c.first == 0 {
		return nil
	}
	k := append(append(make([]byte, 0, len(key)+9), key...), recordBag)
	b.Delete(binary.BigEndian.AppendUint64(k, c.first))
	for _, e := range c.more {
		b.Delete(binary.BigEndian.AppendUint64(k, e))
	}
	return nil
}
