package fnapi

import (
	"context"
	"errors"
	"fmt"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/summerbeam/summerbeam/internal/rpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// external asks a worker pool for a worker. LOOPBACK is a pool too: the program
// that submits the job runs one.
func external(p *pipepb.ExternalPayload) launcher {
	return func(ctx context.Context, w *worker) (string, error) {
		addr := p.GetEndpoint().GetUrl()
		conn, err := rpc.Connect(addr)
		if err != nil {
			return "", fmt.Errorf("worker pool at %s: %w", addr, err)
		}
		pool := fnpb.NewBeamFnExternalWorkerPoolClient(conn)
		stop := func() {
			defer conn.Close()
			ctx, cancel := context.WithTimeout(context.Background(), w.s.opts.StopTimeout)
			defer cancel()
			resp, err := pool.StopWorker(ctx, &fnpb.StopWorkerRequest{WorkerId: w.id})
			if e := resp.GetError(); err != nil || e != "" {
				w.log.Debug("worker pool did not stop the worker", "pool", addr, "error", err, "answer", e)
			}
		}
		w.setStop(func() {
			if errors.Is(w.lostErr(), errClosed) {
				stop()
				return
			}
			// It is gone by itself, and perhaps the pool with it. Whoever gives it up wants another,
			// or to make room for another job, and need not wait for the answer.
			go stop()
		})
		api := &pipepb.ApiServiceDescriptor{Url: w.endpoint}
		resp, err := pool.StartWorker(ctx, &fnpb.StartWorkerRequest{
			WorkerId:          w.id,
			ControlEndpoint:   api,
			LoggingEndpoint:   api,
			ArtifactEndpoint:  api,
			ProvisionEndpoint: api,
			Params:            p.GetParams(),
		})
		if err != nil {
			if status.Code(err) == codes.Unavailable {
				w.setStop(func() { conn.Close() }) // nobody is there to stop it
			}
			if cause := context.Cause(ctx); cause != nil {
				err = fmt.Errorf("%w (%w)", cause, err)
			}
			return "", fmt.Errorf("worker pool at %s: %w; is it running, and for LOOPBACK, does the program that submitted the job still run?", addr, err)
		}
		if e := resp.GetError(); e != "" {
			return "", fmt.Errorf("worker pool at %s could not start it: %s", addr, e)
		}
		return fmt.Sprintf("the worker pool at %s says that it has started it", addr), nil
	}
}
