package engine

import (
	"slices"
	"strings"

	"github.com/summerbeam/summerbeam/statebackend"
)

// When a window ends, a timer is due for each of its keys, and their values lie in the
// store side by side for each key group: to walk along them costs a fraction of looking
// each up.
const (
	// fetchLeast is how many values of a window and key group are worth a walk.
	fetchLeast = 8
	// fetchSpan bounds a walk, in records for each that is wanted: what is due may be a few
	// keys among many.
	fetchSpan = 4
)

// fetch reads values that no layer has and that are not remembered, many at a time. Keys
// are sorted; those it finds no good way for are left to be looked up.
func (r *reader) fetch(keys []string) error {
	keys = slices.DeleteFunc(keys, func(key string) bool {
		_, ok := r.knownValue(key)
		return ok
	})
	if len(keys) < fetchLeast {
		return nil
	}
	st, err := r.store()
	if err != nil || st == nil {
		return err
	}
	r.fetched = make(map[string][]byte, len(keys))
	for len(keys) > 0 {
		n := 1
		for beginning := windowOfCell(keys[0]); n < len(keys) && strings.HasPrefix(keys[n], beginning); n++ {
		}
		if n >= fetchLeast {
			if err := r.walk(st, keys[:n]); err != nil {
				return err
			}
		}
		keys = keys[n:]
	}
	return nil
}

// walk reads the values of keys along a range of the store.
func (r *reader) walk(st statebackend.Reader, keys []string) error {
	most := fetchSpan * len(keys)
	lo, hi := []byte(keys[0]), append([]byte(keys[len(keys)-1]), recordValue, 0)
	return st.Scan(lo, hi, func(k, v []byte) bool {
		if at := len(k) - 1; k[at] == recordValue {
			for len(keys) > 0 && keys[0] < string(k[:at]) {
				keys = keys[1:]
			}
			if len(keys) > 0 && keys[0] == string(k[:at]) {
				r.fetched[keys[0]] = slices.Clone(v)
				keys = keys[1:]
			}
		}
		most--
		return most > 0 && len(keys) > 0
	})
}

// windowOfCell is how all keys of cells begin that are of the same key group, owner and
// window as one.
func windowOfCell(key string) string {
	_, rest := cutPart(key[4:])
	return key[:len(key)-len(rest)]
}
