package testkit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"github.com/summerbeam/summerbeam/internal/coders"
)

// bundle runs a descriptor's transforms over the elements of one bundle.
type bundle struct {
	w  *worker
	id string
	d  *fnpb.ProcessBundleDescriptor

	source   *coders.Windowed
	from     string // the collection that the source gives
	families map[family]*coders.Timers
	// sent are the bytes for each sink, set those for each family.
	sent map[string][]byte
	set  map[family][]byte
}

type family struct{ transform, name string }

func newBundle(w *worker, id string, d *fnpb.ProcessBundleDescriptor) (*bundle, error) {
	b := &bundle{
		w: w, id: id, d: d,
		families: make(map[family]*coders.Timers), sent: make(map[string][]byte), set: make(map[family][]byte),
	}
	for _, t := range slices.Sorted(maps.Keys(d.GetTransforms())) {
		if err := b.add(t, d.GetTransforms()[t]); err != nil {
			return nil, fmt.Errorf("transform %s: %w", t, err)
		}
	}
	if b.source == nil {
		return nil, errors.New("the descriptor has no source")
	}
	return b, nil
}

func (b *bundle) add(id string, t *pipepb.PTransform) error {
	switch t.GetSpec().GetUrn() {
	case "beam:runner:source:v1":
		c, err := port(t.GetSpec().GetPayload())
		if err != nil {
			return err
		}
		b.from = only(t.GetOutputs())
		b.source, err = coders.CompileWindowed(b.d.GetCoders(), c)
		return err
	case "beam:runner:sink:v1":
		b.sent[id] = nil
	case "beam:transform:pardo:v1":
		var p pipepb.ParDoPayload
		if err := proto.Unmarshal(t.GetSpec().GetPayload(), &p); err != nil {
			return err
		}
		for name, spec := range p.GetTimerFamilySpecs() {
			c, err := coders.CompileTimer(b.d.GetCoders(), spec.GetTimerFamilyCoderId())
			if err != nil {
				return err
			}
			b.families[family{id, name}] = c
		}
	}
	return nil
}

// take processes what a message of the data stream has.
func (b *bundle) take(m *fnpb.Elements) error {
	for _, d := range m.GetData() {
		var e coders.Element
		for data := d.GetData(); len(data) > 0; {
			n, err := b.source.Next(data, &e)
			if err != nil {
				return err
			}
			data = data[n:]
			one := Element{Key: string(e.Key), Value: string(e.Value), Pane: string(e.Pane), Timestamp: e.Timestamp}
			windows := e.Windows
			for range e.NumWindows {
				n, err := b.source.NextWindow(windows)
				if err != nil {
					return err
				}
				one.Window, windows = string(windows[:n]), windows[n:]
				if err := b.deliver(b.from, one); err != nil {
					return err
				}
			}
		}
	}
	for _, t := range m.GetTimers() {
		if err := b.fire(family{t.GetTransformId(), t.GetTimerFamilyId()}, t.GetTimers()); err != nil {
			return err
		}
	}
	return nil
}

func (b *bundle) fire(f family, data []byte) error {
	var e coders.TimerElement
	for len(data) > 0 {
		n, err := b.families[f].Next(data, &e)
		if err != nil {
			return err
		}
		data = data[n:]
		t := Timer{Family: f.name, Tag: string(e.Tag), Key: string(e.Key), Window: string(e.Windows), Fire: e.Fire, Hold: e.Hold}
		fn, err := b.doFn(b.d.GetTransforms()[f.transform])
		if err != nil {
			return err
		}
		if err := fn.Timer(&Call{b: b, transform: f.transform, key: t.Key, window: t.Window, timestamp: t.Hold}, t); err != nil {
			return err
		}
	}
	return nil
}

// deliver gives an element to all that read its collection.
func (b *bundle) deliver(collection string, e Element) error {
	for _, id := range slices.Sorted(maps.Keys(b.d.GetTransforms())) {
		t := b.d.GetTransforms()[id]
		reads := false
		for _, in := range t.GetInputs() {
			reads = reads || in == collection
		}
		if !reads {
			continue
		}
		if err := b.run(id, t, e); err != nil {
			return fmt.Errorf("transform %s: %w", id, err)
		}
	}
	return nil
}

func (b *bundle) run(id string, t *pipepb.PTransform, e Element) error {
	payload := t.GetSpec().GetPayload()
	switch urn := t.GetSpec().GetUrn(); urn {
	case "beam:runner:sink:v1":
		b.sent[id] = appendElement(b.sent[id], e)
		return nil
	case "beam:transform:pardo:v1":
		fn, err := b.doFn(t)
		if err != nil {
			return err
		}
		return fn.Process(&Call{b: b, transform: id, key: e.Key, window: e.Window, timestamp: e.Timestamp}, e)
	case "beam:transform:window_into:v1":
		var p pipepb.WindowIntoPayload
		fn, err := b.windowFn(payload, &p, p.GetWindowFn)
		if err != nil {
			return err
		}
		for _, w := range fn.Assign(e) {
			e.Window = w
			if err := b.emit(t, "", e); err != nil {
				return err
			}
		}
		return nil
	case "beam:transform:merge_windows:v1", "beam:transform:map_windows:v1":
		var p pipepb.FunctionSpec
		fn, err := b.windowFn(payload, &p, func() *pipepb.FunctionSpec { return &p })
		if err != nil {
			return err
		}
		if urn == "beam:transform:map_windows:v1" {
			e.Value = fn.Map(e.Value)
		} else if e.Value, err = b.merge(t, fn, e.Value); err != nil {
			return err
		}
		return b.emit(t, "", e)
	default:
		return fmt.Errorf("a scripted worker can't run %s", urn)
	}
}

// merge answers how windows merge: the question is an iterable of windows, the answer those
// that stay, and those that are new or that others merge into.
func (b *bundle) merge(t *pipepb.PTransform, fn WindowFn, question string) (answer string, err error) {
	id := b.d.GetPcollections()[only(t.GetInputs())].GetCoderId()
	for _, part := range []int{1, 0} { // of the KV, and of the iterable in there
		id = b.d.GetCoders()[id].GetComponentCoderIds()[part]
	}
	c, err := coders.CompileWindow(b.d.GetCoders(), id)
	if err != nil {
		return "", err
	}
	var windows []string
	for data := []byte(question[4:]); len(data) > 0; {
		n, err := c.Next(data)
		if err != nil {
			return "", err
		}
		windows, data = append(windows, string(data[:n])), data[n:]
	}
	merged := fn.Merge(windows)
	stay := slices.DeleteFunc(windows, func(w string) bool {
		for _, from := range merged {
			if slices.Contains(from, w) {
				return true
			}
		}
		return false
	})
	out := Iterable(stay...)
	out += string(binary.BigEndian.AppendUint32(nil, uint32(len(merged))))
	for _, into := range slices.Sorted(maps.Keys(merged)) {
		out += into + Iterable(merged[into]...)
	}
	return out, nil
}

func (b *bundle) doFn(t *pipepb.PTransform) (DoFn, error) {
	var p pipepb.ParDoPayload
	if err := proto.Unmarshal(t.GetSpec().GetPayload(), &p); err != nil {
		return DoFn{}, err
	}
	fn, ok := b.w.sdk.DoFns[string(p.GetDoFn().GetPayload())]
	if !ok {
		return fn, fmt.Errorf("no DoFn %q", p.GetDoFn().GetPayload())
	}
	return fn, nil
}

func (b *bundle) windowFn(payload []byte, m proto.Message, spec func() *pipepb.FunctionSpec) (WindowFn, error) {
	if err := proto.Unmarshal(payload, m); err != nil {
		return WindowFn{}, err
	}
	fn, ok := b.w.sdk.Windows[string(spec().GetPayload())]
	if !ok {
		return fn, fmt.Errorf("no WindowFn %q", spec().GetPayload())
	}
	return fn, nil
}

// emit puts an element into an output of a transform: the only one if its name is empty.
func (b *bundle) emit(t *pipepb.PTransform, output string, e Element) error {
	for local, collection := range t.GetOutputs() {
		if output == "" || local == output {
			return b.deliver(collection, e)
		}
	}
	return nil
}

// only returns the value of a map that has one.
func only(m map[string]string) string {
	for _, v := range m {
		return v
	}
	return ""
}

// output is the message with all that the bundle puts out.
func (b *bundle) output() *fnpb.Elements {
	e := &fnpb.Elements{}
	for sink, data := range b.sent {
		e.Data = append(e.Data,
			&fnpb.Elements_Data{InstructionId: b.id, TransformId: sink, Data: data},
			&fnpb.Elements_Data{InstructionId: b.id, TransformId: sink, IsLast: true})
	}
	for f := range b.families {
		e.Timers = append(e.Timers,
			&fnpb.Elements_Timers{InstructionId: b.id, TransformId: f.transform, TimerFamilyId: f.name, Timers: b.set[f]},
			&fnpb.Elements_Timers{InstructionId: b.id, TransformId: f.transform, TimerFamilyId: f.name, IsLast: true})
	}
	return e
}
