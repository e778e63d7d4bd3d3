package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/timers"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/x/beamx"
)

// How long does a job with much state take to go on? It has a value and a timer for each of
// many keys; then single elements come, for keys here and there. It is killed and started
// again, and what counts is the time until it has put out something, for which it has read a
// value that was there before.

func init() {
	beam.RegisterDoFn(&loader{})
	register.Emitter2[int64, int64]()
	beam.RegisterDoFn(&holder{})
	register.Emitter1[int64]()
	beam.RegisterDoFn(&teller{})
}

// loader emits each of Keys keys once, as fast as they are taken, and then one every 20 ms.
type loader struct{ Keys int64 }

func (f *loader) CreateInitialRestriction([]byte) offsetrange.Restriction {
	return offsetrange.Restriction{End: math.MaxInt64 / 2}
}

func (f *loader) SplitRestriction(_ []byte, r offsetrange.Restriction) []offsetrange.Restriction {
	return []offsetrange.Restriction{r}
}

func (f *loader) RestrictionSize(_ []byte, r offsetrange.Restriction) float64 { return r.Size() }

func (f *loader) CreateTracker(r offsetrange.Restriction) *sdf.LockRTracker {
	return sdf.NewLockRTracker(offsetrange.NewTracker(r))
}

func (f *loader) InitialWatermarkEstimatorState(beam.EventTime, offsetrange.Restriction, []byte) int64 {
	return 0
}

func (f *loader) CreateWatermarkEstimator(ms int64) *watermark { return &watermark{millis: ms} }

func (f *loader) WatermarkEstimatorState(w *watermark) int64 { return w.CurrentWatermark().UnixMilli() }

// loadTurn is how many keys one bundle of the source has: the job, not the source, says
// how fast it goes.
const loadTurn = 5000

func (f *loader) ProcessElement(_ *watermark, rt *sdf.LockRTracker, _ []byte, emit func(int64, int64)) sdf.ProcessContinuation {
	from := rt.GetRestriction().(offsetrange.Restriction).Start
	for i := from; rt.TryClaim(i); i++ {
		if i < f.Keys {
			emit(i, i)
		} else {
			emit(i*7919%f.Keys, i)
			time.Sleep(20 * time.Millisecond)
		}
		if i-from >= loadTurn || i >= f.Keys && i-from > 5 {
			return sdf.ResumeProcessingIn(time.Millisecond)
		}
	}
	return sdf.StopProcessing()
}

// holder keeps a value of Bytes for each key, and a timer that is far away.
type holder struct {
	Keys  int64
	Bytes int
	Value state.Value[[]byte]
	Far   timers.EventTime
}

func (f *holder) ProcessElement(sp state.Provider, tp timers.Provider, key, i int64, emit func(int64)) error {
	if i < f.Keys {
		f.Far.Set(tp, time.UnixMilli(1e12+key))
		return f.Value.Write(sp, content(key, f.Bytes))
	}
	v, ok, err := f.Value.Read(sp)
	if err != nil {
		return err
	}
	if !ok || len(v) != f.Bytes || string(v[:8]) != string(content(key, 8)) {
		return fmt.Errorf("key %d has %d bytes that are not its own", key, len(v))
	}
	emit(i)
	return nil
}

func (f *holder) OnTimer(context.Context, beam.EventTime, state.Provider, timers.Provider, int64, timers.Context, func(int64)) {
}

// content is a key's value: bytes that no store can make smaller.
func content(key int64, n int) []byte {
	x := uint64(key)*0x9E3779B97F4A7C15 | 1
	b := make([]byte, 0, n+8)
	for len(b) < n {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	return b[:n]
}

// teller tells the driver of each output.
type teller struct{}

func (*teller) ProcessElement(i int64) {
	fmt.Printf("output %d after %d ms, %d ms of CPU, %d MiB\n", i, time.Since(started).Milliseconds(), cpuMillis(), residentMiB())
}

// cpuMillis is the CPU time that the process has taken: on a busy machine that tells more.
func cpuMillis() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return (u.Utime.Nano() + u.Stime.Nano()) / 1e6
}

// residentMiB is what of the process is in memory.
func residentMiB() int64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kb, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return 0
	}
	return kb >> 10
}

func runLarge(keys int64, value int) error {
	p, s := beam.NewPipelineWithRoot()
	loaded := beam.ParDo(s, &loader{Keys: keys}, beam.Impulse(s))
	h := &holder{Keys: keys, Bytes: value, Value: state.MakeValueState[[]byte]("value"), Far: timers.InEventTime("far")}
	beam.ParDo0(s, &teller{}, beam.ParDo(s, h, loaded))
	return beamx.Run(context.Background(), p)
}

// driveLarge makes the state, kills the job three times, and says how long it takes to go on.
func driveLarge(keys int64, value int, bound time.Duration) error {
	dir, err := os.MkdirTemp(*where, "summerbeam-large-")
	if err != nil {
		return err
	}
	if *keep {
		fmt.Println("directory:", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	began := time.Now()
	worst := time.Duration(0)
	for run := range 4 {
		out, took, err := untilOutput(dir, keys, value, run == 0)
		if err != nil {
			return err
		}
		size, err := sizeOf(filepath.Join(dir, "data"))
		if err != nil {
			return err
		}
		if run == 0 {
			fmt.Printf("%s: %d keys with a timer and %d bytes each, %.1f GB on disk after %v; %s\n",
				*store, keys, value, float64(size)/1e9, time.Since(began).Round(time.Second), out)
			continue
		}
		fmt.Printf("%s: killed and started again, first output %v after the process was started; %s\n", *store, took.Round(time.Millisecond), out)
		worst = max(worst, took)
	}
	if worst > bound {
		return fmt.Errorf("it took %v to go on, more than %v", worst, bound)
	}
	return nil
}

// untilOutput runs the job until it has put out something and kills it a moment later. The first
// run has all the state to make.
func untilOutput(dir string, keys int64, value int, first bool) (said string, took time.Duration, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", 0, err
	}
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return "", 0, err
	}
	defer log.Close()
	cmd := exec.Command(self, "--crash_job", dir, fmt.Sprintf("--large_keys=%d", keys), fmt.Sprintf("--large_value=%d", value),
		"--job_name=large", "--runner=summerbeam", fmt.Sprintf("--summerbeam_bundle_elements=%d", bundleOf(value)), "--summerbeam_store="+*store, "--summerbeam_data_dir="+filepath.Join(dir, "data"))
	cmd.Stderr = log
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return "", 0, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return "", 0, err
	}
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "output ") {
			said, took = lines.Text(), time.Since(began)
			break
		}
	}
	if said != "" {
		go func() { _, _ = io.Copy(io.Discard, pipe) }() // it must not wait for us
		// What it has put out, and all before, is durable a moment later.
		time.Sleep(time.Second)
	}
	err = cmd.Process.Kill()
	_ = cmd.Wait() // "signal: killed", or why it has ended: the log has it
	if said == "" {
		text, _ := os.ReadFile(filepath.Join(dir, "log"))
		return "", 0, fmt.Errorf("the job has put out nothing (first run: %v):\n%s", first, text)
	}
	return said, took, err
}

// bundleOf is how many elements a bundle shall have that writes so much for each: a bundle's state is
// written as a whole.
func bundleOf(value int) int { return max(10, 1<<20/value) }

// sizeOf sums up the files in a directory.
func sizeOf(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	return sum, err
}
