package beamrunner

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"github.com/summerbeam/summerbeam/runner/engine"
)

func init() {
	beam.RegisterDoFn(&summer{})
	register.Emitter1[string]()
	register.Iter1[string]()
}

// summer sums up in state, and does not bear a sum.
type summer struct {
	Sum state.Value[int64]
}

var bears atomic.Int64

func (f *summer) ProcessElement(sp state.Provider, k string, n int64, words func(*string) bool, emit func(string)) error {
	var all string
	for w := ""; words(&w); {
		all += w
	}
	sum, _, err := f.Sum.Read(sp)
	if err != nil {
		return err
	}
	if sum+n > bears.Load() {
		return fmt.Errorf("%s: %d and %d is too much", all, sum, n)
	}
	emit(fmt.Sprintf("%s %s %d", all, k, sum+n))
	return f.Sum.Write(sp, sum+n)
}

func sumPipeline() *beam.Pipeline {
	p, s := beam.NewPipelineWithRoot()
	words := beam.Create(s, "word")
	in := beam.ParDo(s, keyed, beam.Create(s, int64(1), int64(2), int64(3), int64(4)))
	beam.ParDo(s, &summer{Sum: state.MakeValueState[int64]("sum")}, in, beam.SideInput{Input: words})
	return p
}

// TestReplay: a job fails, and its capsule alone has what the bundle was given: run again it fails
// the same way, and when the program is corrected it ends well.
func TestReplay(t *testing.T) {
	dir := t.TempDir()
	setFlag(t, "summerbeam_capsule_dir", dir)
	setFlag(t, "summerbeam_bundle_elements", "1")
	bears.Store(5)
	_, err := Execute(t.Context(), sumPipeline())
	if err == nil || !strings.Contains(err.Error(), "summerbeam replay "+dir) {
		t.Fatalf("got %v, want to hear of the capsule", err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("capsules %v, %v", files, err)
	}
	c, err := engine.ReadCapsule(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(c.Error, "is too much") || !strings.Contains(c.Transform, "summer") || c.Elements != 1 || !strings.Contains(c.Element, "key") || c.Attempt != 3 {
		t.Errorf("capsule %+v: %s", c.Header, c.Error)
	}
	why := c.Error[strings.Index(c.Error, "word: "):]
	why, _, _ = strings.Cut(why, "\n")

	var out bytes.Buffer
	if err := replayCapsule(t.Context(), files[0], &out); err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("the replay ends with %v, want %q", err, why)
	}
	bears.Store(1000)
	out.Reset()
	if err := replayCapsule(t.Context(), files[0], &out); err != nil {
		t.Errorf("the corrected replay: %v", err)
	}
	if !strings.Contains(out.String(), "the bundle ends well") || !strings.Contains(out.String(), "reads, 2 writes") {
		t.Errorf("it says %s", out.String())
	}
	// As the flag does it.
	set(t, replay, files[0])
	if _, err := Execute(t.Context(), sumPipeline()); err != nil {
		t.Errorf("by the flag: %v", err)
	}
	set(t, replay, filepath.Join(dir, "nothing"))
	if _, err := Execute(t.Context(), sumPipeline()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no capsule: %v", err)
	}
}
