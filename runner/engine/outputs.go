package engine

import (
	"context"
	"fmt"
	"sync"

	"github.com/summerbeam/summerbeam/runner/engine/core"
)

// outputs gathers what a bundle writes. The goroutine that reads from the worker
// serves other bundles too, so take is quick: it puts the chunk on a list, or on
// disk if memory is short. A small output is walked when the bundle has ended. A
// large one is walked as it comes, in a goroutine of the bundle's own, so that
// what a bundle writes may exceed all memory: what that goroutine makes are blocks,
// which go to disk by themselves.
type outputs struct {
	routes *routes
	stage  int
	lim    limits
	keep   *keeper
	// spillAt is how much the list holds before memory's shortness is its business:
	// a small output goes to disk once, as blocks, and not twice.
	spillAt int

	listMu  sync.Mutex
	list    []chunk
	pending int // bytes in list that are in memory
	// walking is closed when the goroutine that walks the list has ended; nil if
	// there is none.
	walking chan struct{}
	// crowded is closed when that goroutine has taken a list to which a chunk was added that
	// the disk had no room for; nil if there is none.
	crowded chan struct{}
	err     error

	// sample sees the keys of lifted outputs; nil if nobody wants to know.
	sample *keySample

	// routers by output. They are the walking goroutine's, or of the bundle's own if
	// there is none.
	routers []*router
}

// chunk is some bytes of one output, in memory or on disk.
type chunk struct {
	output int
	data   []byte
	disk   *spilled
}

// walkAt is how much of a bundle's output waits before it is walked while the
// bundle runs.
const walkAt = 4 << 20

func newOutputs(st *stageRun, lim limits, keep *keeper) *outputs {
	o := &outputs{routes: st.routes, stage: st.index, lim: lim, keep: keep, spillAt: walkAt / 4}
	if keep != nil {
		o.spillAt = int(keep.mem.share(256, 256, walkAt/4))
	}
	return o
}

func (o *outputs) take(sink string, data []byte) error {
	i, ok := o.routes.bySink[sink]
	if !ok {
		return fmt.Errorf("output for %q, which is no sink of the bundle's descriptor", sink)
	}
	return o.add(i, data)
}

// add takes a chunk of an output. Calls for one output come in order.
func (o *outputs) add(output int, data []byte) error {
	if len(o.routes.outputs[output].targets) == 0 || len(data) == 0 {
		return nil
	}
	c := chunk{output: output, data: data}
	o.listMu.Lock()
	err, short := o.err, o.pending+len(data) > o.spillAt
	o.listMu.Unlock()
	if err != nil {
		return err
	}
	noPlace := false
	if short && o.keep != nil && o.keep.mem.full() {
		switch c.disk, err = o.keep.disk.offer(o.stage, data); {
		case noRoom(err):
			noPlace = true // nor any time to wait for it; see await
		case err != nil:
			return o.fail(err)
		default:
			c.data = nil
		}
	}
	o.listMu.Lock()
	defer o.listMu.Unlock()
	o.list = append(o.list, c)
	o.pending += len(c.data)
	o.keep.count(memOutputs, int64(len(c.data)))
	if noPlace && o.crowded == nil {
		o.crowded = make(chan struct{})
	}
	if o.walking == nil && (o.pending >= walkAt || c.disk != nil || noPlace) {
		done := make(chan struct{})
		o.walking = done
		go o.walk(done)
	}
	return nil
}

// await waits as long as neither memory nor disk has a place for more: until the walking
// goroutine, which waits for room on the disk if there is none, has taken what is here, or
// ctx ends. Who calls it before each add has two chunks in memory at most.
func (o *outputs) await(ctx context.Context) error {
	o.listMu.Lock()
	crowded := o.crowded
	o.listMu.Unlock()
	if crowded == nil {
		return nil
	}
	select {
	case <-crowded:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// fail keeps the first error. It is kept and not only returned since SDKs make a
// new error, or none, of what their streams return.
func (o *outputs) fail(err error) error {
	o.listMu.Lock()
	defer o.listMu.Unlock()
	if o.err == nil {
		o.err = err
	}
	return o.err
}

// walk routes what is on the list until it is empty.
func (o *outputs) walk(done chan struct{}) {
	for {
		o.listMu.Lock()
		list := o.list
		o.list, o.pending = nil, 0
		if o.crowded != nil {
			close(o.crowded)
			o.crowded = nil
		}
		if len(list) == 0 || o.err != nil {
			// In one go with the look at the list: whoever adds to it now starts a new walk.
			o.list, o.walking = list, nil
			o.listMu.Unlock()
			close(done)
			return
		}
		o.listMu.Unlock()
		if err := guard(func() error { return o.route(list) }); err != nil {
			_ = o.fail(err) // finish returns it
		}
	}
}

// route feeds chunks to their routers. Those it did not come to are dropped if it fails.
func (o *outputs) route(list []chunk) (err error) {
	if o.routers == nil {
		o.routers = make([]*router, len(o.routes.outputs))
	}
	for i, c := range list {
		if o.routers[c.output] == nil {
			total := 0
			for _, l := range list[i:] {
				if l.output == c.output {
					total += l.size()
				}
			}
			t := newRouter(c.output, &o.routes.outputs[c.output], o.lim, o.keep, total)
			if t.r.lifted && o.sample != nil {
				t.cutters[0].sample = o.sample
			}
			o.routers[c.output] = t
		}
		data := c.data
		if c.disk != nil {
			if data, err = c.disk.read(); err != nil {
				o.dropChunks(list[i:])
				return err
			}
		}
		err = o.routers[c.output].feed(data)
		o.dropChunks(list[i : i+1])
		if err != nil {
			o.dropChunks(list[i+1:])
			return err
		}
	}
	return nil
}

func (c *chunk) size() int {
	if c.disk != nil {
		return c.disk.n
	}
	return len(c.data)
}

func (o *outputs) dropChunks(list []chunk) {
	for i := range list {
		o.keep.count(memOutputs, -int64(len(list[i].data)))
		if list[i].disk != nil {
			list[i].disk.free()
		}
		list[i] = chunk{}
	}
}

// wait waits for the walking goroutine, which nobody can start any more: the
// bundle is over.
func (o *outputs) wait() {
	o.listMu.Lock()
	walking := o.walking
	o.listMu.Unlock()
	if walking != nil {
		<-walking
	}
}

// finish returns all that the bundle has written, as blocks.
func (o *outputs) finish() ([]core.Routed, error) {
	o.wait()
	if o.err != nil {
		return nil, o.err
	}
	list := o.list
	o.list = nil
	if err := o.route(list); err != nil {
		return nil, err
	}
	for _, r := range o.routers {
		if r != nil {
			if err := r.end(); err != nil {
				return nil, err
			}
		}
	}
	var all []core.Routed
	for _, r := range o.routers {
		switch {
		case r == nil:
		case all == nil:
			all = r.out
		default:
			all = append(all, r.out...)
		}
	}
	return all, nil
}

// drop lets go of everything: the bundle has failed.
func (o *outputs) drop() {
	o.wait()
	o.dropChunks(o.list)
	o.list = nil
	for _, r := range o.routers {
		if r != nil {
			r.drop()
		}
	}
}
