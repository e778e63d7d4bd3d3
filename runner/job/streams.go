package job

import (
	"context"
	"fmt"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc/status"
)

// GetStateStream sends the current state and then every change up to the last.
func (js jobService) GetStateStream(req *jobpb.GetJobStateRequest, stream jobpb.JobService_GetStateStreamServer) error {
	j, err := js.s.job(req.GetJobId())
	if err != nil {
		return err
	}
	return j.history.follow(stream.Context(), j.history.current().num, func(e entry, _ int) error {
		if e.state == nil {
			return nil
		}
		return stream.Send(e.state)
	})
}

// GetMessageStream sends all that happened to the job from the beginning, state
// changes and messages in order, and ends with the last state.
func (js jobService) GetMessageStream(req *jobpb.JobMessagesRequest, stream jobpb.JobService_GetMessageStreamServer) error {
	j, err := js.s.job(req.GetJobId())
	if err != nil {
		return err
	}
	return j.history.follow(stream.Context(), 0, func(e entry, dropped int) error {
		if dropped > 0 {
			if err := stream.Send(droppedNote(dropped)); err != nil {
				return err
			}
		}
		return stream.Send(e.response)
	})
}

// follow calls send for each entry numbered from on, with the number of messages
// missing before it, until the history ends, send fails or ctx ends. It runs on
// the stream's own goroutine: when the client goes, ctx ends and nothing is left.
func (h *history) follow(ctx context.Context, from int, send func(e entry, dropped int) error) error {
	for {
		batch, ended, grown := h.read(from)
		if ended {
			return nil
		}
		for _, e := range batch {
			if err := send(e, e.num-from); err != nil {
				return err
			}
			from = e.num + 1
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
}

func droppedNote(n int) *jobpb.JobMessagesResponse {
	return &jobpb.JobMessagesResponse{Response: &jobpb.JobMessagesResponse_MessageResponse{
		MessageResponse: &jobpb.JobMessage{
			Importance:  jobpb.JobMessage_JOB_MESSAGE_BASIC,
			MessageText: fmt.Sprintf("(%d messages are left out here: a job's log keeps the newest)", n),
		},
	}}
}
