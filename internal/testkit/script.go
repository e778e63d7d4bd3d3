package testkit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"
)

// NewScript makes a pipeline for a scripted SDK, whose environment is called "sdk".
func NewScript(env *pipepb.Environment) *Builder {
	b := NewBuilder()
	b.P.Components.Environments["sdk"] = env
	return b
}

// TestStream adds one that plays events.
func (b *Builder) TestStream(output string, events ...*pipepb.TestStreamPayload_Event) {
	id := b.Collection(output)
	b.Add("stream", "beam:transform:teststream:v1", "", &pipepb.TestStreamPayload{
		CoderId: b.P.Components.Pcollections[id].CoderId, Events: events,
	}, nil, []string{output})
}

// ParDo adds one of the SDK's DoFns. edit, which may be nil, completes the payload.
func (b *Builder) ParDo(doFn, input string, edit func(*pipepb.ParDoPayload), outputs ...string) {
	p := &pipepb.ParDoPayload{
		DoFn:             &pipepb.FunctionSpec{Urn: "test:dofn:v1", Payload: []byte(doFn)},
		StateSpecs:       make(map[string]*pipepb.StateSpec),
		TimerFamilySpecs: make(map[string]*pipepb.TimerFamilySpec),
	}
	if edit != nil {
		edit(p)
	}
	b.Add(doFn, "beam:transform:pardo:v1", "sdk", p, []string{input}, outputs)
}

// Bag declares a bag in a ParDo's payload.
func (b *Builder) Bag(p *pipepb.ParDoPayload, name string) {
	p.StateSpecs[name] = &pipepb.StateSpec{
		Spec:     &pipepb.StateSpec_BagSpec{BagSpec: &pipepb.BagStateSpec{ElementCoderId: b.Coder("string")}},
		Protocol: &pipepb.FunctionSpec{Urn: "beam:user_state:bag:v1"},
	}
}

// Timer declares a timer family in a ParDo's payload, for keys that are strings.
func (b *Builder) Timer(p *pipepb.ParDoPayload, name, windowCoder string, domain pipepb.TimeDomain_Enum) {
	p.TimerFamilySpecs[name] = &pipepb.TimerFamilySpec{
		TimeDomain: domain, TimerFamilyCoderId: b.Coder("timer<string," + windowCoder + ">"),
	}
}

// WindowInto adds a transform that assigns the windows of the strategy named, by the SDK.
func (b *Builder) WindowInto(id, input, output, strategy string) {
	fn := b.P.Components.WindowingStrategies[strategy].GetWindowFn()
	b.Add(id, "beam:transform:window_into:v1", "sdk", &pipepb.WindowIntoPayload{WindowFn: fn}, []string{input}, []string{output + "@" + strategy})
}

// Strategy adds a windowing strategy of one of the SDK's WindowFns, with what a strategy must
// have; edit completes it.
func (b *Builder) Strategy(id, windowFn, windowCoder string, edit func(*pipepb.WindowingStrategy)) {
	s := &pipepb.WindowingStrategy{
		WindowFn:         &pipepb.FunctionSpec{Urn: "test:window_fn:v1", Payload: []byte(windowFn)},
		WindowCoderId:    b.Coder(windowCoder),
		Trigger:          &pipepb.Trigger{Trigger: &pipepb.Trigger_Default_{Default: &pipepb.Trigger_Default{}}},
		AccumulationMode: pipepb.AccumulationMode_DISCARDING,
		OutputTime:       pipepb.OutputTime_END_OF_WINDOW,
		ClosingBehavior:  pipepb.ClosingBehavior_EMIT_IF_NONEMPTY,
		OnTimeBehavior:   pipepb.OnTimeBehavior_FIRE_IF_NONEMPTY,
		EnvironmentId:    "sdk",
	}
	if edit != nil {
		edit(s)
	}
	b.P.Components.WindowingStrategies[id] = s
}

// At is an element of a TestStream of kv<string,string>.
func At(millis int64, key, value string) *pipepb.TestStreamPayload_TimestampedElement {
	// A TestStream's elements are encoded as such, so the last part has no length.
	return &pipepb.TestStreamPayload_TimestampedElement{EncodedElement: []byte(Str(key) + value), Timestamp: millis}
}

// Elements brings elements.
func Elements(all ...*pipepb.TestStreamPayload_TimestampedElement) *pipepb.TestStreamPayload_Event {
	return &pipepb.TestStreamPayload_Event{Event: &pipepb.TestStreamPayload_Event_ElementEvent{
		ElementEvent: &pipepb.TestStreamPayload_Event_AddElements{Elements: all}}}
}

// Watermark moves the watermark on, to a time in ms.
func Watermark(millis int64) *pipepb.TestStreamPayload_Event {
	return &pipepb.TestStreamPayload_Event{Event: &pipepb.TestStreamPayload_Event_WatermarkEvent{
		WatermarkEvent: &pipepb.TestStreamPayload_Event_AdvanceWatermark{NewWatermark: millis}}}
}

// Passes moves the processing time on, by ms.
func Passes(millis int64) *pipepb.TestStreamPayload_Event {
	return &pipepb.TestStreamPayload_Event{Event: &pipepb.TestStreamPayload_Event_ProcessingTimeEvent{
		ProcessingTimeEvent: &pipepb.TestStreamPayload_Event_AdvanceProcessingTime{AdvanceDuration: millis}}}
}

// Submit starts a pipeline on the server behind conn, and returns the job's id.
func Submit(ctx context.Context, conn *grpc.ClientConn, name string, p *pipepb.Pipeline, options map[string]any) (id string, err error) {
	opts, err := structpb.NewStruct(options)
	if err != nil {
		return "", err
	}
	c := jobpb.NewJobServiceClient(conn)
	prepared, err := c.Prepare(ctx, &jobpb.PrepareJobRequest{JobName: name, Pipeline: p, PipelineOptions: opts})
	if err != nil {
		return "", err
	}
	run, err := c.Run(ctx, &jobpb.RunJobRequest{PreparationId: prepared.GetPreparationId()})
	return run.GetJobId(), err
}

// Await waits for a job's end. If it is not DONE, the error has the job's messages.
func Await(ctx context.Context, conn *grpc.ClientConn, id string) error {
	stream, err := jobpb.NewJobServiceClient(conn).GetMessageStream(ctx, &jobpb.JobMessagesRequest{JobId: id})
	if err != nil {
		return err
	}
	var said []string
	for {
		resp, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("job %s: %w\n%s", id, err, strings.Join(said, "\n"))
		}
		if m := resp.GetMessageResponse(); m != nil {
			said = append(said, m.GetMessageText())
		}
		switch s := resp.GetStateResponse().GetState(); s {
		case jobpb.JobState_DONE:
			return nil
		case jobpb.JobState_FAILED, jobpb.JobState_CANCELLED, jobpb.JobState_UPDATED, jobpb.JobState_DRAINED:
			return errors.New(s.String() + ": " + strings.Join(said, "\n"))
		}
	}
}
