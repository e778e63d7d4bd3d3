package engine

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// TestWindowSet: a set that holds few, and goes on from a count alone, never denies a window
// that is there, and denies others as soon as it has all.
func TestWindowSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := windowSet{ids: idSet{limit: rapid.IntRange(0, 6).Draw(t, "limit")}}
		there := make(map[string]bool)
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			id := fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "id"))
			switch {
			case rapid.IntRange(0, 20).Draw(t, "restart") == 0:
				s.ids = idSet{limit: s.ids.limit}
			case there[id]:
				s.remove(id)
				delete(there, id)
			default:
				s.add(id)
				there[id] = true
			}
			if s.total != len(there) {
				t.Fatalf("%d windows, want %d", s.total, len(there))
			}
			for i := range 10 {
				id := fmt.Sprint(i)
				if may := s.may([]byte(id)); there[id] && !may || !there[id] && may && s.ids.n == s.total {
					t.Fatalf("window %s: may be there: %v, is there: %v", id, may, there[id])
				}
			}
		}
	})
}
