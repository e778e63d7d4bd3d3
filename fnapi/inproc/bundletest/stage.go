// Package bundletest scripts bundles of real Go pipelines for the tests of
// workers. Every worker must pass Run, whatever carries its bundles.
package bundletest

import (
	"bytes"
	"context"
	"fmt"
	"sort"
	"sync/atomic"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/coder"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/exec"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/typex"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"github.com/summerbeam/summerbeam/runner/engine"
)

// Stage is one ParDo of a pipeline, ready for a worker.
type Stage struct {
	Descriptor *fnpb.ProcessBundleDescriptor
	Source     string
	// Sink is the sink of the ParDo's first output, empty if it has none.
	Sink string
	// Transform is the ParDo's id.
	Transform string
	Families  []engine.TimerFamily
	// Env is the pipeline's environment.
	Env *pipepb.Environment
}

var descriptors atomic.Int64

// NewStage builds a pipeline and takes its last ParDo apart from the rest. If
// sdf, it is the processing half of a splittable ParDo, whose elements are
// sized restrictions.
func NewStage(build func(s beam.Scope), sdf bool) (*Stage, error) {
	p, s := beam.NewPipelineWithRoot()
	build(s)
	edges, _, err := p.Build()
	if err != nil {
		return nil, err
	}
	env, err := graphx.CreateEnvironment(context.Background(), "beam:env:external:v1", func(context.Context) string { return "" })
	if err != nil {
		return nil, err
	}
	pipe, err := graphx.Marshal(edges, &graphx.Options{Environment: env})
	if err != nil {
		return nil, err
	}
	return cut(pipe, env, sdf)
}

func cut(pipe *pipepb.Pipeline, env *pipepb.Environment, sdf bool) (*Stage, error) {
	c := proto.Clone(pipe.GetComponents()).(*pipepb.Components)
	id, err := lastParDo(c)
	if err != nil {
		return nil, err
	}
	st := &Stage{Transform: id, Source: "source", Env: env}
	t := c.GetTransforms()[id]
	var payload pipepb.ParDoPayload
	if err := proto.Unmarshal(t.GetSpec().GetPayload(), &payload); err != nil {
		return nil, err
	}
	d := &fnpb.ProcessBundleDescriptor{
		Id:                  fmt.Sprintf("stage-%d", descriptors.Add(1)),
		Transforms:          map[string]*pipepb.PTransform{id: t},
		Pcollections:        c.GetPcollections(),
		WindowingStrategies: c.GetWindowingStrategies(),
		Coders:              c.GetCoders(),
		Environments:        c.GetEnvironments(),
	}
	st.Descriptor = d
	var main string
	for local, pc := range t.GetInputs() {
		if _, side := payload.GetSideInputs()[local]; !side {
			main = pc
		}
	}
	if sdf {
		main = sized(c, t, &payload)
	}
	windowed := func(pc string) string {
		col := c.GetPcollections()[pc]
		ws := c.GetWindowingStrategies()[col.GetWindowingStrategyId()]
		id := "windowed_" + pc
		c.Coders[id] = &pipepb.Coder{Spec: &pipepb.FunctionSpec{Urn: "beam:coder:windowed_value:v1"},
			ComponentCoderIds: []string{col.GetCoderId(), ws.GetWindowCoderId()}}
		return id
	}
	// Side inputs and timers are read with the coders of their collections.
	port := func(pc string) []byte {
		b, err := proto.Marshal(&fnpb.RemoteGrpcPort{CoderId: windowed(pc)})
		if err != nil {
			panic(err)
		}
		return b
	}
	d.Transforms["source"] = &pipepb.PTransform{UniqueName: "source",
		Spec:    &pipepb.FunctionSpec{Urn: "beam:runner:source:v1", Payload: port(main)},
		Outputs: map[string]string{"out": main}}
	var outs []string
	for local := range t.GetOutputs() {
		outs = append(outs, local)
	}
	sort.Strings(outs)
	for i, local := range outs {
		pc := t.GetOutputs()[local]
		sink := fmt.Sprintf("sink%d", i)
		if i == 0 {
			st.Sink = sink
		}
		d.Transforms[sink] = &pipepb.PTransform{UniqueName: sink,
			Spec:   &pipepb.FunctionSpec{Urn: "beam:runner:sink:v1", Payload: port(pc)},
			Inputs: map[string]string{"in": pc}}
	}
	for family := range payload.GetTimerFamilySpecs() {
		st.Families = append(st.Families, engine.TimerFamily{Transform: id, Family: family})
	}
	sort.Slice(st.Families, func(i, j int) bool { return st.Families[i].Family < st.Families[j].Family })
	return st, nil
}

// lastParDo finds the ParDo whose outputs nobody reads.
func lastParDo(c *pipepb.Components) (string, error) {
	read := map[string]bool{}
	for _, t := range c.GetTransforms() {
		if len(t.GetSubtransforms()) > 0 {
			continue
		}
		for _, pc := range t.GetInputs() {
			read[pc] = true
		}
	}
	var ids []string
	for id, t := range c.GetTransforms() {
		if t.GetSpec().GetUrn() != "beam:transform:pardo:v1" || len(t.GetSubtransforms()) > 0 {
			continue
		}
		leaf := true
		for _, pc := range t.GetOutputs() {
			leaf = leaf && !read[pc]
		}
		if leaf {
			ids = append(ids, id)
		}
	}
	if len(ids) != 1 {
		return "", fmt.Errorf("want one last ParDo, have %q", ids)
	}
	return ids[0], nil
}

// sized makes the ParDo the last third of an expanded splittable DoFn and returns
// its new input, of KV<KV<element, KV<restriction, estimator state>>, size>.
func sized(c *pipepb.Components, t *pipepb.PTransform, payload *pipepb.ParDoPayload) string {
	add := func(id, urn string, parts ...string) string {
		c.Coders[id] = &pipepb.Coder{Spec: &pipepb.FunctionSpec{Urn: urn}, ComponentCoderIds: parts}
		return id
	}
	for local, pc := range t.GetInputs() {
		old := c.GetPcollections()[pc]
		// The Go SDK's restriction coder is of KV<restriction, estimator state> already.
		coder := add("sized", "beam:coder:kv:v1",
			add("el_rest", "beam:coder:kv:v1", old.GetCoderId(), payload.GetRestrictionCoderId()),
			add("size", "beam:coder:double:v1"))
		id := pc + "_sized"
		c.Pcollections[id] = &pipepb.PCollection{UniqueName: id, CoderId: coder,
			WindowingStrategyId: old.GetWindowingStrategyId(), IsBounded: old.GetIsBounded()}
		t.Inputs[local] = id
		t.Spec.Urn = "beam:transform:sdf_process_sized_element_and_restrictions:v1"
		return id
	}
	panic("no input")
}

// Element encodes a value in the global window at time 0, as the stages' sources
// expect it.
func Element(value ...[]byte) []byte {
	var b bytes.Buffer
	wc := exec.MakeWindowEncoder(coder.NewGlobalWindow())
	if err := exec.EncodeWindowedValueHeader(wc, window.SingleGlobalWindow, mtime.ZeroTimestamp, typex.NoFiringPane(), &b); err != nil {
		panic(err)
	}
	for _, v := range value {
		b.Write(v)
	}
	return b.Bytes()
}

// Bytes encodes a byte string or a string inside another coder.
func Bytes(s string) []byte { return append(Varint(int64(len(s))), s...) }

// Varint encodes an integer.
func Varint(n int64) []byte {
	var b bytes.Buffer
	if err := coder.EncodeVarInt(n, &b); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// KV encodes an element of two byte strings or strings.
func KV(k, v string) []byte { return Element(Bytes(k), Bytes(v)) }

// Restriction encodes an element of a splittable stage: the byte string el with
// the offsets from start to end.
func (st *Stage) Restriction(el string, start, end int64) []byte {
	cs, err := graphx.UnmarshalCoders([]string{"sized"}, st.Descriptor.GetCoders())
	if err != nil {
		panic(err)
	}
	var b bytes.Buffer
	fv := &exec.FullValue{
		Elm: &exec.FullValue{
			Elm:  []byte(el),
			Elm2: &exec.FullValue{Elm: offsetrange.Restriction{Start: start, End: end}, Elm2: false},
		},
		Elm2: float64(end - start),
	}
	if err := exec.MakeElementEncoder(cs[0]).Encode(fv, &b); err != nil {
		panic(err)
	}
	return Element(b.Bytes())
}
