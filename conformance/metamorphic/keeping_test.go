package metamorphic

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/testkit"
)

// keeping is the model of a stateful DoFn that keeps what it gets in a window, and puts out
// the sum when it hears that the window expires. The Go SDK has no word for that.
type keeping struct {
	lateness int64
	in, out  int64
	kept     []item // the sum of each key and window; at is the window's end
	output   []item
}

func (k *keeping) expiry(w window) int64 {
	return min(w.max()+k.lateness, mtime.EndOfGlobalWindowTime.Milliseconds())
}

func (k *keeping) take(it item) {
	if k.in > k.expiry(it.window) {
		return
	}
	i := slices.IndexFunc(k.kept, func(o item) bool { return o.key == it.key && o.window == it.window })
	if i < 0 {
		i = len(k.kept)
		k.kept = append(k.kept, item{key: it.key, window: it.window, at: it.window.max()})
	}
	k.kept[i].value += it.value
	k.advance(k.in)
}

func (k *keeping) advance(to int64) {
	k.in = max(k.in, to)
	k.kept = slices.DeleteFunc(k.kept, func(o item) bool {
		if k.in <= k.expiry(o.window) {
			return false
		}
		k.output = append(k.output, o)
		return true
	})
	// What is kept holds the watermark for what will be put out.
	out := k.in
	for _, o := range k.kept {
		out = min(out, o.at)
	}
	k.out = max(k.out, out)
}

func (k *keeping) pass(int64) {}

func (k *keeping) sent() []item {
	out := k.output
	k.output = nil
	return out
}

func (k *keeping) watermark() int64 { return k.out }

func (k *keeping) next() int64 { return never }

// keep is the DoFn as a script.
var keep = testkit.DoFn{
	Process: func(c *testkit.Call, e testkit.Element) error { return c.Append("kept", e.Value) },
	Timer: func(c *testkit.Call, t testkit.Timer) error {
		kept, err := c.Read("kept")
		if err != nil {
			return err
		}
		sum := int64(0)
		for _, text := range testkit.Strs(kept) {
			v, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return err
			}
			sum += v
		}
		return c.Emit("", testkit.Element{Key: t.Key, Value: testkit.Str(fmt.Sprint(sum)), Window: t.Window, Timestamp: t.Hold})
	},
}

// addKeep adds it to a pipeline, and returns the collection that it puts out.
func addKeep(b *testkit.Builder, in string) string {
	b.ParDo("keep", in, func(p *pipepb.ParDoPayload) {
		b.Bag(p, "kept")
		b.Timer(p, "expired", "interval_window", pipepb.TimeDomain_EVENT_TIME)
		p.OnWindowExpirationTimerFamilySpec = "expired"
	}, "~kept:kv<string,string>@strategy0")
	return "kept"
}
