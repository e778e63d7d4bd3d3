package engine

import "sync"

// lifting chooses, for a stage that combines before a grouping, whether its bundles
// do that or send each input on as an accumulator of its own. SDKs precombine in
// a small cache; where a key seldom comes again while it is in there, they pay for the
// cache and send as much as before.
//
// Bundles are lifted until a sample says that it doesn't pay: a scout, one bundle at a
// time, runs unlifted, and what it writes shows how often a cache would have had the
// key. Only a scout is worse off if keys are few. From time to time another one goes
// to see whether that still holds.
//
// It is safe for concurrent use.
type lifting struct {
	sampleMu sync.Mutex
	scouting bool
	// since is how many bundles have run since the last scout.
	since int
	// hits of the elements seen, of all scouts so far; older ones count less.
	hits, seen int64
}

const (
	// cacheKeys is what SDKs keep: 2,000 in Go, as many as fit elsewhere.
	cacheKeys = 2048
	// sampleElements is how many elements of a bundle are looked at, and how many in
	// all are too few to judge by.
	sampleElements, fewElements = 20_000, 500
	// lookAgain is how many bundles run between two scouts.
	lookAgain = 32
	// A cache pays if it has the key this often, in percent.
	worthwhile = 50
)

// lift decides for the next bundle. A scout must be told of by learn.
func (l *lifting) lift() (lifted, scout bool) {
	l.sampleMu.Lock()
	defer l.sampleMu.Unlock()
	unknown := l.seen < fewElements
	if l.since++; !l.scouting && (unknown || l.since > lookAgain) {
		l.scouting, l.since = true, 0
		return false, true
	}
	return unknown || l.hits*100 >= l.seen*worthwhile, false
}

// learn takes in what a scout has seen, nothing if it failed.
func (l *lifting) learn(s *keySample) {
	l.sampleMu.Lock()
	defer l.sampleMu.Unlock()
	l.scouting = false
	if l.seen >= fewElements {
		l.hits, l.seen = l.hits/2, l.seen/2
	}
	l.hits, l.seen = l.hits+s.hits, l.seen+s.seen
}

// keySample is how often a cache of keys would have had one. For one goroutine.
type keySample struct {
	last       [cacheKeys]uint64
	hits, seen int64
}

func (s *keySample) see(hash uint64) {
	if s.seen >= sampleElements {
		return
	}
	s.seen++
	// One place a key: a cache of this size that throws out at random does about as well.
	p := &s.last[hash>>48%cacheKeys]
	if *p == hash {
		s.hits++
	}
	*p = hash
}
