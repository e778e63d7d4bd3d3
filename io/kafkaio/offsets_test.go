package kafkaio

import (
	"math"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
)

// TestOffsets: claims end with the range, however many they ask for; what is split off is
// what isn't claimed; what remains of a range without an end is the backlog.
func TestOffsets(t *testing.T) {
	o := newOffsets(offsetrange.Restriction{Start: 10, End: 100}, 0)
	if got := o.claim(29); got != 30 {
		t.Errorf("claimed up to %d, want 30", got)
	}
	if _, residual, _ := o.TrySplit(0.5); residual != (offsetrange.Restriction{Start: 65, End: 100}) {
		t.Errorf("split off %v, want [65, 100)", residual)
	}
	if got := o.claim(70); got != 65 || !o.IsDone() {
		t.Errorf("claimed up to %d, done %v; the range ends at 65", got, o.IsDone())
	}
	if o.claim(71); o.GetError() == nil {
		t.Error("a claim behind the end is no error")
	}

	o = newOffsets(offsetrange.Restriction{Start: 10, End: math.MaxInt64}, 0)
	o.claim(19)
	o.grow(50)
	if done, remaining := o.GetProgress(); done != 10 || remaining != 30 {
		t.Errorf("progress %v of which %v remain, want 10 and 30", done, remaining)
	}
	if _, residual, _ := o.TrySplit(0.5); residual != nil {
		t.Errorf("split off %v in the middle of a range without an end", residual)
	}
	if _, residual, _ := o.TrySplit(0); residual != (offsetrange.Restriction{Start: 20, End: math.MaxInt64}) || !o.IsDone() {
		t.Errorf("cut off %v, done %v; want all from 20 on", residual, o.IsDone())
	}
}
