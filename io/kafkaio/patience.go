package kafkaio

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/log"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
)

// patience is how long a broker may be away before a bundle fails for it. A broker that is
// restarted is back within seconds; runners run a failed bundle again at once, and
// give up after a few times.
const patience = 5 * time.Minute

// patiently does something that asks brokers until it is done, or fails for another reason
// than that they are away.
func patiently(ctx context.Context, what string, do func() error) error {
	wait, told := 100*time.Millisecond, false
	for began := time.Now(); ; {
		err := do()
		// The time that runs out is the client's own, while it calls, if it isn't the bundle's.
		late := errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil
		if err == nil || !away(err) && !late || time.Since(began) > patience {
			return err
		}
		if !told && time.Since(began) > time.Second {
			told = true
			log.Warnf(ctx, "kafkaio: %s: %v; waiting for the broker for up to %v", what, err, patience)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		}
		wait = min(2*wait, 5*time.Second)
	}
}

// away says that an error is of brokers, or a registry, that are not there at the moment.
func away(err error) bool {
	var op *net.OpError
	var first *kgo.ErrFirstReadEOF
	var answer *sr.ResponseError // of a schema registry
	if errors.As(err, &answer) {
		return answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests
	}
	return errors.As(err, &op) || errors.As(err, &first) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, kgo.ErrRecordTimeout) || kerr.IsRetriable(err)
}
