package fnapi

import (
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc"
)

// dataStream is the worker's data stream: all bundles share it. Its handler
// writes what comes over out.
type dataStream struct {
	grpc fnpb.BeamFnData_DataServer
	out  chan *grpc.PreparedMsg
}

// Data carries elements and timers, both ways.
func (sv *services) Data(stream fnpb.BeamFnData_DataServer) error {
	w, err := sv.s.caller(stream.Context())
	if err != nil {
		return err
	}
	s := &dataStream{grpc: stream, out: make(chan *grpc.PreparedMsg)}
	w.setData(s)
	go func() {
		for {
			e, err := stream.Recv()
			if err != nil {
				w.broke("data", err)
				return
			}
			w.deliver(e)
		}
	}()
	for {
		select {
		case m := <-s.out:
			if err := stream.SendMsg(m); err != nil {
				w.broke("data", err)
				<-w.gone
				return err
			}
		case <-w.gone:
			return w.farewell()
		}
	}
}

// setData makes s the stream that is written to. SDKs open theirs when the first
// bundle needs it.
func (w *worker) setData(s *dataStream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.data == nil {
		close(w.dataReady)
	}
	w.data = s
}

// waitData returns the stream to write to, once there is one.
func (w *worker) waitData(stop <-chan struct{}) (*dataStream, error) {
	select {
	case <-w.dataReady:
	case <-w.gone:
		return nil, w.lostErr()
	case <-stop:
		return nil, errStopped
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.data, nil
}

// deliver hands a message's blocks to their bundles. Blocks of bundles that are
// over are dropped.
func (w *worker) deliver(e *fnpb.Elements) {
	for _, d := range e.GetData() {
		if r := w.run(d.GetInstructionId()); r != nil {
			r.receive(output{transform: d.GetTransformId()}, d.GetData(), d.GetIsLast())
		}
	}
	for _, t := range e.GetTimers() {
		if r := w.run(t.GetInstructionId()); r != nil {
			r.receive(output{t.GetTransformId(), t.GetTimerFamilyId(), true}, t.GetTimers(), t.GetIsLast())
		}
	}
}
