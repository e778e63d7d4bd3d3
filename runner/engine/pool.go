package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// pool keeps one environment's worker: it is started by the first bundle that
// needs it and replaced when it is lost.
type pool struct {
	workers Workers
	info    *JobInfo
	env     string
	proto   *pipepb.Environment

	// startMu is held while a worker is being started, so that a crowd of bundles
	// starts one and not a crowd.
	startMu sync.Mutex

	currentMu sync.Mutex
	current   Worker
	started   int
	closed    bool
}

func newPool(w Workers, info *JobInfo, env string, e *pipepb.Environment) *pool {
	return &pool{workers: w, info: info, env: env, proto: e}
}

var errPoolClosed = errors.New("the job is over")

// get returns the worker, starting one if there is none.
func (p *pool) get(ctx context.Context) (Worker, error) {
	if w, err := p.have(); w != nil || err != nil {
		return w, err
	}
	p.startMu.Lock()
	defer p.startMu.Unlock()
	w, err := p.have()
	if w != nil || err != nil {
		return w, err
	}
	p.currentMu.Lock()
	p.started++
	id := fmt.Sprintf("%s-%s-%d", p.info.ID, p.env, p.started)
	p.currentMu.Unlock()
	w, err = p.workers.Start(ctx, p.info, id, p.env, p.proto)
	if err != nil {
		return nil, fmt.Errorf("environment %s: starting a worker: %w", p.env, err)
	}
	p.currentMu.Lock()
	if p.closed {
		p.currentMu.Unlock()
		_ = w.Close()
		return nil, errPoolClosed
	}
	p.current = w
	p.currentMu.Unlock()
	return w, nil
}

func (p *pool) have() (Worker, error) {
	p.currentMu.Lock()
	defer p.currentMu.Unlock()
	if p.closed {
		return nil, errPoolClosed
	}
	return p.current, nil
}

// lost drops a worker that is gone; the next get starts another. Many bundles
// report the same loss: only the first closes it.
func (p *pool) lost(w Worker) {
	p.currentMu.Lock()
	mine := p.current == w
	if mine {
		p.current = nil
	}
	p.currentMu.Unlock()
	if mine {
		_ = w.Close() // it is gone: there is nobody to tell
	}
}

func (p *pool) close() error {
	p.currentMu.Lock()
	w := p.current
	p.current, p.closed = nil, true
	p.currentMu.Unlock()
	if w == nil {
		return nil
	}
	return w.Close()
}
