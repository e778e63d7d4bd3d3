package fnapi

import (
	"context"
	"errors"
	"slices"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc"
)

const (
	// messageSize is what a data message is filled up to.
	messageSize = 1 << 20
	// evenMessages is how many messages have that size. From then on each is twice
	// the one before: the Go harness stops reading its data stream, for all bundles,
	// when one bundle has 20 unread messages. The input's size is not known
	// beforehand; this way 16 messages hold half a gigabyte.
	evenMessages = 8
	// maxMessageSize keeps clear of the 2 GiB that a protocol buffer can have.
	maxMessageSize = 256 << 20
)

// embedLimit is up to what size a bundle's whole input travels in the message that
// starts it, where the SDK can take it there: no second stream to wait for.
const embedLimit = 64 << 10

// feed starts the bundle on the worker and sends its input.
func (r *run) feed() {
	p := &packer{run: r, embeds: r.w.embeds && r.b.Timers == nil}
	err := p.sendAll()
	if err == nil {
		return
	}
	if errors.Is(err, errStopped) {
		err = context.Cause(r.ctx)
	}
	if !p.begun {
		// It never reached the worker: there will be no answer to wait for.
		r.outMu.Lock()
		if !r.hasAnswer() {
			close(r.answered)
			r.w.gate.leave()
		}
		r.finish(err)
		r.outMu.Unlock()
		r.w.removeRun(r)
		return
	}
	r.fail(err)
	// The worker waits for the rest of its input. It can't be told to give up, so
	// the input ends here, and what comes of it is dropped.
	end := &packer{run: r, stream: p.stream}
	go func() { _ = end.push(r.answered, r.ends()) }()
}

// ends is the message that ends the bundle's input.
func (r *run) ends() *fnpb.Elements {
	e := &fnpb.Elements{}
	for _, d := range r.d.ends.GetData() {
		e.Data = append(e.Data, &fnpb.Elements_Data{InstructionId: r.id, TransformId: d.GetTransformId(), IsLast: true})
	}
	for _, t := range r.d.ends.GetTimers() {
		e.Timers = append(e.Timers, &fnpb.Elements_Timers{
			InstructionId: r.id, TransformId: t.GetTransformId(), TimerFamilyId: t.GetTimerFamilyId(), IsLast: t.GetIsLast(),
		})
	}
	return e
}

// packer fills messages with the chunks of a bundle's input.
type packer struct {
	run *run
	// embeds says that the input may go along with the request. While it is not known
	// whether it is small enough, the bundle has not begun.
	embeds, begun bool

	stream *dataStream
	chunks [][]byte
	size   int
	sent   int
	joined []byte
}

// begin sends the request that starts the bundle, with its whole input or with none
// of it (nil).
func (p *packer) begin(all *fnpb.Elements) error {
	r := p.run
	if all != nil {
		r.fed.Store(true)
	}
	err := r.w.send(r.ctx, &fnpb.InstructionRequest{
		InstructionId: r.id,
		Request: &fnpb.InstructionRequest_ProcessBundle{ProcessBundle: &fnpb.ProcessBundleRequest{
			ProcessBundleDescriptorId: r.d.proto.GetId(),
			CacheTokens:               r.b.CacheTokens,
			Elements:                  all,
		}},
	})
	p.begun = err == nil
	return err
}

// sendAll starts the bundle and sends the input, the timers and the streams' ends.
//
// An SDK reads a message's timers before its data, so timers never share a message
// with the data that they follow. The ends are blocks of their own even where
// they share the last message: Python drops what stands in a block that is an end.
func (p *packer) sendAll() (err error) {
	defer recoverTo(&err)
	r := p.run
	if !p.embeds {
		if err := p.begin(nil); err != nil {
			return err
		}
	}
	if r.b.Input != nil {
		for chunk, err := range r.b.Input {
			if err != nil {
				return err
			}
			if err := p.add(chunk); err != nil {
				return err
			}
		}
	}
	end := r.ends()
	if r.b.Timers != nil {
		timers := &fnpb.Elements{}
		size := 0
		for t, err := range r.b.Timers {
			if err != nil {
				return err
			}
			if len(p.chunks) > 0 {
				if err := p.flush(&fnpb.Elements{}); err != nil {
					return err
				}
			}
			last := len(timers.Timers) - 1
			if last >= 0 && timers.Timers[last].TransformId == t.Transform && timers.Timers[last].TimerFamilyId == t.Family {
				timers.Timers[last].Timers = append(timers.Timers[last].Timers, t.Data...)
			} else {
				timers.Timers = append(timers.Timers, &fnpb.Elements_Timers{
					InstructionId: r.id, TransformId: t.Transform, TimerFamilyId: t.Family,
					Timers: t.Data[:len(t.Data):len(t.Data)], // an append must copy
				})
			}
			if size += len(t.Data); size >= p.target() {
				if err := p.flush(timers); err != nil {
					return err
				}
				timers, size = &fnpb.Elements{}, 0
			}
		}
		end.Timers = append(timers.Timers, end.Timers...)
	}
	if !p.begun {
		return p.begin(p.join(end))
	}
	r.fed.Store(true)
	return p.flush(end)
}

// target is the size to which the next message is filled.
func (p *packer) target() int {
	size := messageSize
	if over := p.sent - evenMessages + 1; over > 0 {
		size <<= min(over, 16)
	}
	return min(size, maxMessageSize)
}

func (p *packer) add(chunk []byte) error {
	if len(chunk) == 0 {
		return nil
	}
	if len(p.chunks) > 0 && p.size+len(chunk) > p.target() {
		if err := p.flush(&fnpb.Elements{}); err != nil {
			return err
		}
	}
	p.chunks = append(p.chunks, chunk)
	p.size += len(chunk)
	if p.embeds && !p.begun && p.size > embedLimit {
		if err := p.begin(nil); err != nil {
			return err
		}
	}
	if p.size < p.target() {
		return nil
	}
	return p.flush(&fnpb.Elements{})
}

// flush sends the chunks at hand as one block at the head of e.
func (p *packer) flush(e *fnpb.Elements) error {
	p.sent++
	return p.push(p.run.ctx.Done(), p.join(e))
}

// join puts the chunks at hand as one block at the head of e. What has not begun is
// sent by another goroutine, perhaps after Run has returned, so it must be a copy.
func (p *packer) join(e *fnpb.Elements) *fnpb.Elements {
	if len(p.chunks) == 0 {
		return e
	}
	data := p.chunks[0]
	if len(p.chunks) > 1 || !p.begun {
		p.joined = slices.Grow(p.joined[:0], p.size)
		for _, c := range p.chunks {
			p.joined = append(p.joined, c...)
		}
		data = p.joined
	}
	block := &fnpb.Elements_Data{InstructionId: p.run.id, TransformId: p.run.source, Data: data}
	e.Data = append([]*fnpb.Elements_Data{block}, e.Data...)
	p.chunks, p.size = p.chunks[:0], 0
	return e
}

// push encodes a message and hands it to the data stream. Once it is encoded
// nothing refers to the bundle's memory any more, however long the stream is
// blocked by a worker that doesn't read.
func (p *packer) push(stop <-chan struct{}, e *fnpb.Elements) error {
	w := p.run.w
	if p.stream == nil {
		s, err := w.waitData(stop)
		if err != nil {
			return err
		}
		p.stream = s
	}
	m := &grpc.PreparedMsg{}
	if err := m.Encode(p.stream.grpc, e); err != nil {
		return err
	}
	select {
	case p.stream.out <- m:
		return nil
	case <-w.gone:
		return w.lostErr()
	case <-stop:
		return errStopped
	}
}

// errStopped says that the bundle ended while its feeder waited.
var errStopped = errors.New("stopped")
