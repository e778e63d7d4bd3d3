package graph

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/exec"
	"github.com/summerbeam/summerbeam/internal/coders"
)

// TestRecode runs stages that change nothing but the coder in the Go SDK: a source
// right before a sink is unusual, and below a GroupByKey the SDK guesses what the
// iterable is from the consumer.
func TestRecode(t *testing.T) {
	header := coders.AppendHeader(nil, 0, nil, 1, []byte{0x0f})
	for _, test := range []struct{ name, script, in, out string }{
		{
			name:   "impulse",
			script: "impulse i -> a\nflatten m a a -> b:lp<bytes>\npardo f b -> c",
			in:     "\x00", out: "\x01\x00",
		},
		{
			name: "group",
			script: "impulse i -> a\npardo f a -> b:kv<string,varint>\ngbk k b -> c:kv<string,iterable<varint>>\n" +
				"flatten m c -> d:kv<string,iterable<lp<varint>>>\npardo g d -> e",
			in:  "\x01k\x00\x00\x00\x02\x05\x06",
			out: "\x01k\x00\x00\x00\x02\x01\x05\x01\x06",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, err := Compile(runScript(t, test.script))
			if err != nil {
				t.Fatal(err)
			}
			ran := false
			for _, s := range plan.Stages {
				if s.Kind != SDK || len(s.Transforms) > 0 {
					continue
				}
				ran = true
				p, err := exec.UnmarshalPlan(s.Descriptor, nil)
				if err != nil {
					t.Fatal(err)
				}
				data := &memoryData{in: append(bytes.Clone(header), test.in...)}
				if err := p.Execute(context.Background(), "1", exec.DataContext{Data: data}); err != nil {
					t.Fatal(err)
				}
				if want := append(bytes.Clone(header), test.out...); !bytes.Equal(data.out.Bytes(), want) {
					t.Errorf("got %q, want %q", data.out.Bytes(), want)
				}
			}
			if !ran {
				t.Fatalf("no stage recodes:\n%s", plan)
			}
		})
	}
}

// memoryData is a bundle's data: one source, one sink.
type memoryData struct {
	in  []byte
	out bytes.Buffer
}

func (d *memoryData) OpenElementChan(context.Context, exec.StreamID, []string) (<-chan exec.Elements, error) {
	c := make(chan exec.Elements, 1)
	c <- exec.Elements{Data: d.in}
	close(c)
	return c, nil
}

func (d *memoryData) OpenWrite(context.Context, exec.StreamID) (io.WriteCloser, error) {
	return nopCloser{&d.out}, nil
}

func (d *memoryData) OpenTimerWrite(context.Context, exec.StreamID, string) (io.WriteCloser, error) {
	return nopCloser{io.Discard}, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
