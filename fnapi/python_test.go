package fnapi_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/fnapi"
	"github.com/summerbeam/summerbeam/runner/engine"
	"google.golang.org/protobuf/proto"
)

// pythonPool serves a worker pool and writes its address and a pipeline.
const pythonPool = `
import logging, sys, time
import apache_beam as beam
from apache_beam.coders import BytesCoder, StrUtf8Coder
from apache_beam.runners.worker import worker_pool_main
from apache_beam.transforms import userstate
from apache_beam.transforms.timeutil import TimeDomain

class Remembering(beam.DoFn):
  BAG = userstate.BagStateSpec('bag', BytesCoder())
  FIRST = userstate.TimerSpec('first', TimeDomain.WATERMARK)
  SECOND = userstate.TimerSpec('second', TimeDomain.WATERMARK)
  def process(self, kv, bag=beam.DoFn.StateParam(BAG), first=beam.DoFn.TimerParam(FIRST)):
    if kv[1] == b'fail':
      raise ValueError('cannot stomach it')
    logging.warning('seen %r', kv[1])
    bag.add(kv[1])
    first.set(1)
    yield b'got ' + kv[1]
  @userstate.on_timer(FIRST)
  def on_first(self, bag=beam.DoFn.StateParam(BAG), second=beam.DoFn.TimerParam(SECOND)):
    yield b'fired ' + b','.join(bag.read())
    second.set(2)
  @userstate.on_timer(SECOND)
  def on_second(self):
    yield b'fired second'

p = beam.Pipeline()
(p | beam.Impulse()
   | beam.Map(lambda b: ('k', b)).with_output_types(tuple[str, bytes])
   | beam.ParDo(Remembering()).with_output_types(bytes))
address, server = worker_pool_main.BeamFnExternalWorkerPoolServicer.start()
print(address, p.to_runner_api().SerializeToString().hex(), flush=True)
sys.stdin.read()
`

// TestPython runs bundles on Python's harness. SUMMERBEAM_PYTHON names a python
// that has apache_beam; without it there is nothing to test with.
func TestPython(t *testing.T) {
	python := os.Getenv("SUMMERBEAM_PYTHON")
	if python == "" {
		t.Skip("SUMMERBEAM_PYTHON is not set")
	}
	cmd := exec.Command(python, "-c", pythonPool)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReaderSize(stdout, 1<<20).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	addr, text, _ := strings.Cut(strings.TrimSpace(line), " ")
	var raw []byte
	if _, err := fmt.Sscanf(text, "%x", &raw); err != nil {
		t.Fatal(err)
	}
	pipe := &pipepb.Pipeline{}
	if err := proto.Unmarshal(raw, pipe); err != nil {
		t.Fatal(err)
	}
	d := descriptorOf(t, pipe)
	payload, err := proto.Marshal(&pipepb.ExternalPayload{Endpoint: &pipepb.ApiServiceDescriptor{Url: addr}})
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, fnapi.Options{})
	w, err := s.Start(t.Context(), &engine.JobInfo{ID: "j"}, "w1", "python", &pipepb.Environment{
		Urn: "beam:env:external:v1", Payload: payload, Capabilities: []string{"beam:version:sdk_base:apache/beam_python3.11_sdk:2.77.0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	families := timerFamilies(t, d)
	if len(families) != 2 {
		t.Fatalf("timer families %v", families)
	}
	state := &fakeState{}
	for round := range 3 {
		b, out := bundle(fmt.Sprint("set", round), d, windowed(t, []byte("a"), []byte("b")))
		b.State, b.TimerFamilies = state, families
		res, err := w.Run(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Metrics) == 0 || res.Metrics[0].GetUrn() == "" {
			t.Errorf("metrics %v", res.Metrics)
		}
		if got := string(out.get("sink")); !strings.Contains(got, "got a") || !strings.Contains(got, "got b") {
			t.Errorf("output %q", got)
		}
		for _, want := range []string{"fired a,b", "fired second"} {
			var set []engine.TimerChunk
			for _, f := range families {
				if data := out.get(f.Transform + "/" + f.Family); len(data) > 0 {
					set = append(set, engine.TimerChunk{TimerFamily: f, Data: data})
				}
			}
			if len(set) != 1 {
				t.Fatalf("timers set: %v", set)
			}
			b, out = bundle(fmt.Sprint(want, round), d)
			b.State, b.TimerFamilies, b.Timers = state, families, seq(set)
			if _, err := w.Run(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if got := string(out.get("sink")); !strings.Contains(got, want) {
				t.Errorf("output %q lacks %q", got, want)
			}
		}
		state.mu.Lock()
		state.bags = nil
		state.mu.Unlock()
	}
	b, _ := bundle("failing", d, windowed(t, []byte("fail")))
	b.State, b.TimerFamilies = state, families
	if _, err := w.Run(t.Context(), b); err == nil || !strings.Contains(err.Error(), "Traceback") || !strings.Contains(err.Error(), "cannot stomach it") {
		t.Errorf("got %v", err)
	}
}
