package kafkaio

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/log"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
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
		if err == nil || !away(err) || time.Since(began) > patience {
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

// away says that an error is of brokers that are not there at the moment.
func away(err error) bool {
	var op *net.OpError
	var first *kgo.ErrFirstReadEOF
	return errors.As(err, &op) || errors.As(err, &first) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, kgo.ErrRecordTimeout) || kerr.IsRetriable(err)
}
