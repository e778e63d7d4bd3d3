package engine

// unwritten has the ids of what has changed since the last durable epoch.
type unwritten struct {
	count  map[string]int
	fresh  []string // of what is not committed
	epochs []epochIDs
}

// epochIDs are ids whose changes go into one epoch; an id may be there more than once.
type epochIDs struct {
	epoch uint64
	ids   []string
}

func newUnwritten() unwritten { return unwritten{count: make(map[string]int)} }

// note says that something has changed, in the bundle that runs now.
func (u *unwritten) note(id string) {
	u.count[id]++
	u.fresh = append(u.fresh, id)
}

// commit says that what was noted goes into an epoch. Epochs don't go back.
func (u *unwritten) commit(epoch uint64) {
	if len(u.fresh) > 0 {
		u.epochs = append(u.epochs, epochIDs{epoch, u.fresh})
		u.fresh = nil
	}
}

// settle forgets what is in durable epochs.
func (u *unwritten) settle(durable uint64) {
	for len(u.epochs) > 0 && u.epochs[0].epoch <= durable {
		for _, id := range u.epochs[0].ids {
			if u.count[id]--; u.count[id] == 0 {
				delete(u.count, id)
			}
		}
		u.epochs = u.epochs[1:]
	}
}

// has says that no durable epoch has the last change.
func (u *unwritten) has(id string) bool { return u.count[id] > 0 }
