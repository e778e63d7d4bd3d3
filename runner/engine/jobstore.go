package engine

import (
	"encoding/binary"
	"errors"
	"sync"

	"github.com/summerbeam/summerbeam/statebackend"
)

// jobStore opens the job's store when it is first written to: most jobs have no
// state, and need none.
type jobStore struct {
	open    func() (statebackend.Store, error)
	letters letterFile

	storeMu sync.Mutex
	store   statebackend.Store
}

// reader returns the store, or nil as long as nothing has been written.
func (s *jobStore) reader() (statebackend.Reader, error) {
	s.storeMu.Lock()
	defer s.storeMu.Unlock()
	if s.store == nil {
		return nil, nil
	}
	return s.store, nil
}

// write puts the shards' frozen layers, and the cut if there is one, down as one
// atomic, synced batch, and returns the batch's size.
func (s *jobStore) write(shards []*shardState, frozen []*layer, c *cut) (bytes int, err error) {
	changed := c != nil
	for _, l := range frozen {
		changed = changed || !l.empty()
	}
	if !changed {
		return 0, nil
	}
	st, err := s.opened()
	if err != nil {
		return 0, err
	}
	b := st.NewBatch()
	defer b.Close()
	room := 64 << 10 // for the cut
	for _, l := range frozen {
		room += l.recordBytes()
	}
	b.Grow(room + room/8)
	for i, l := range frozen {
		if err := shards[i].writeLayer(b, st, l); err != nil {
			return 0, err
		}
	}
	if c != nil {
		if err := c.put(b); err != nil {
			return 0, err
		}
		if len(c.letters) > 0 {
			// Before the batch: a file that is longer than the epoch says is cut when the job
			// goes on from it.
			n, err := s.letters.append(c.letters)
			if err != nil {
				return 0, err
			}
			b.Put([]byte{recoveryMark, recordLetters}, binary.AppendUvarint(nil, uint64(n)))
		}
	}
	return b.Bytes(), st.Write(b, true)
}

func (s *jobStore) opened() (statebackend.Store, error) {
	s.storeMu.Lock()
	defer s.storeMu.Unlock()
	if s.store != nil {
		return s.store, nil
	}
	st, err := s.open()
	if err != nil {
		return nil, err
	}
	s.store = st
	return st, nil
}

func (s *jobStore) close() error {
	s.storeMu.Lock()
	defer s.storeMu.Unlock()
	err := s.letters.close()
	if s.store == nil {
		return err
	}
	st := s.store
	s.store = nil
	return errors.Join(st.Close(), err)
}
