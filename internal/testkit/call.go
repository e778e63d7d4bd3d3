package testkit

import (
	"fmt"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"

	"github.com/summerbeam/summerbeam/internal/coders"
)

// Call is what a DoFn's script has while it is called, with an element or a timer: where its
// output goes, and the timers and bags of that key and window.
type Call struct {
	b                      *bundle
	transform, key, window string
	timestamp              int64
}

// Bundle tells apart the bundles, and the attempts at one.
func (c *Call) Bundle() string { return c.b.id }

// Emit puts an element into an output, by its local name; "" is the only one.
func (c *Call) Emit(output string, e Element) error {
	return c.b.emit(c.b.d.GetTransforms()[c.transform], output, e)
}

// Set sets or clears a timer of this key and window.
func (c *Call) Set(t Timer) error {
	f := family{c.transform, t.Family}
	if c.b.families[f] == nil {
		return fmt.Errorf("no timer family %q", t.Family)
	}
	c.b.set[f] = coders.AppendTimer(c.b.set[f], &coders.TimerElement{
		Key: []byte(c.key), Tag: []byte(t.Tag), Windows: []byte(c.window), NumWindows: 1,
		Clear: t.Clear, Fire: t.Fire, Hold: t.Hold,
	})
	return nil
}

// Read returns what is in a bag: its elements, one after the other.
func (c *Call) Read(bag string) (string, error) { return c.read(c.bag(bag)) }

// Side returns what is in an iterable side input's window, by the side input's local name.
func (c *Call) Side(local, window string) (string, error) {
	return c.read(&fnpb.StateKey{Type: &fnpb.StateKey_IterableSideInput_{IterableSideInput: &fnpb.StateKey_IterableSideInput{
		TransformId: c.transform, SideInputId: local, Window: []byte(window),
	}}})
}

func (c *Call) read(key *fnpb.StateKey) (string, error) {
	var all string
	var token []byte
	for {
		resp, err := c.b.w.ask(&fnpb.StateRequest{
			InstructionId: c.b.id, StateKey: key,
			Request: &fnpb.StateRequest_Get{Get: &fnpb.StateGetRequest{ContinuationToken: token}},
		})
		if err != nil {
			return "", err
		}
		all += string(resp.GetGet().GetData())
		if token = resp.GetGet().GetContinuationToken(); len(token) == 0 {
			return all, nil
		}
	}
}

// Append adds elements to a bag.
func (c *Call) Append(bag, elements string) error {
	_, err := c.b.w.ask(&fnpb.StateRequest{
		InstructionId: c.b.id, StateKey: c.bag(bag),
		Request: &fnpb.StateRequest_Append{Append: &fnpb.StateAppendRequest{Data: []byte(elements)}},
	})
	return err
}

// Clear empties a bag.
func (c *Call) Clear(bag string) error {
	_, err := c.b.w.ask(&fnpb.StateRequest{
		InstructionId: c.b.id, StateKey: c.bag(bag),
		Request: &fnpb.StateRequest_Clear{Clear: &fnpb.StateClearRequest{}},
	})
	return err
}

func (c *Call) bag(id string) *fnpb.StateKey {
	return &fnpb.StateKey{Type: &fnpb.StateKey_BagUserState_{BagUserState: &fnpb.StateKey_BagUserState{
		TransformId: c.transform, UserStateId: id, Key: []byte(c.key), Window: []byte(c.window),
	}}}
}
