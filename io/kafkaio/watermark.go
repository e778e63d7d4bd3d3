package kafkaio

import (
	"sync"
	"time"
)

// watermark is an estimator that its DoFn sets. It has a lock, which the SDK's own does
// not: a bundle that is split reads it while the DoFn writes.
type watermark struct {
	millisMu sync.Mutex
	millis   int64
}

// CurrentWatermark implements sdf.WatermarkEstimator.
func (w *watermark) CurrentWatermark() time.Time { return time.UnixMilli(w.now()) }

func (w *watermark) now() int64 {
	w.millisMu.Lock()
	defer w.millisMu.Unlock()
	return w.millis
}

// advance moves it forward, never back.
func (w *watermark) advance(ms int64) {
	w.millisMu.Lock()
	defer w.millisMu.Unlock()
	w.millis = max(w.millis, ms)
}
