package engine

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/summerbeam/summerbeam/runner/engine/capsule"
	"github.com/summerbeam/summerbeam/runner/engine/core"
)

// TestCapsules: one of the bundle that failed for good and none of those that were cut in
// halves, of which there would be many.
func TestCapsules(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "capsules")
	cfg := Config{Core: core.Config{Ephemeral: true}, Capsules: Capsules{Dir: dir}}
	_, err := poisoned(t, cfg, "13")
	if err == nil || !strings.Contains(err.Error(), dir) {
		t.Fatalf("got %v, want to hear of the capsule", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("capsules %v, %v", files, err)
	}
	c, err := ReadCapsule(filepath.Join(dir, files[0].Name()))
	if err != nil {
		t.Fatal(err)
	}
	if string(c.Input) != string(kv(13, "k3", "13")) || c.Elements != 1 || c.Stage != "s02" || c.Transform != "n6" || !strings.Contains(c.Error, "division by zero") {
		t.Errorf("capsule %+v with %q: %s", c.Header, c.Input, c.Error)
	}
	// Too large for one.
	cfg.Capsules = Capsules{Dir: dir + "2", Bytes: 1}
	if _, err := poisoned(t, cfg, "13"); err == nil || strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
	if files, _ := os.ReadDir(dir + "2"); len(files) > 0 {
		t.Errorf("capsules %v", files)
	}
}

func TestCapsulesAreBounded(t *testing.T) {
	c := Capsules{Dir: t.TempDir(), Keep: 3}
	other := filepath.Join(c.Dir, "notes.txt")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, bundle := range []string{"a", "b", "c", "d", "e/../" + strings.Repeat("x", 300)} {
		name, err := c.save(&capsule.Capsule{Header: capsule.Header{Name: "../name"}, Descriptor: &fnpb.ProcessBundleDescriptor{}}, bundle)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	var left []string
	entries, err := filepath.Glob(filepath.Join(c.Dir, "*"+capsuleExt))
	if err != nil {
		t.Fatal(err)
	}
	left = append(left, entries...)
	if slices.Sort(names); !slices.Equal(left, names[2:]) {
		t.Errorf("left are %v of %v", left, names)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("what is not a capsule is gone: %v", err)
	}
}

// answering is a worker that asks for state.
type answering struct {
	Worker
	ask func(State) error
}

func (a answering) Run(_ context.Context, b *Bundle) (*Result, error) {
	return &Result{}, a.ask(b.State)
}

// TestReplayAnswers: in the order of the recording, the last one again, and nothing else.
func TestReplayAnswers(t *testing.T) {
	key := func(id string) *fnpb.StateKey {
		return &fnpb.StateKey{Type: &fnpb.StateKey_BagUserState_{BagUserState: &fnpb.StateKey_BagUserState{UserStateId: id}}}
	}
	c := &capsule.Capsule{Descriptor: &fnpb.ProcessBundleDescriptor{}, State: []capsule.Answer{
		{Key: key("a"), Data: []byte("1"), Next: []byte("t")}, {Key: key("a"), Data: []byte("2")}, {Key: key("a"), Token: []byte("t"), Data: []byte("3")}, {Key: key("b"), Err: "no"},
	}}
	var got []string
	err := Replay(t.Context(), answering{ask: func(s State) error {
		for range 3 {
			data, next, err := s.Get(t.Context(), key("a"), nil)
			if err != nil {
				return err
			}
			got = append(got, string(data)+string(next))
		}
		data, _, err := s.Get(t.Context(), key("a"), []byte("t"))
		got = append(got, string(data))
		if _, _, err := s.Get(t.Context(), key("b"), nil); err == nil || err.Error() != "no" {
			t.Errorf("b: %v", err)
		}
		if err != nil {
			return err
		}
		_, _, err = s.Get(t.Context(), key("c"), nil)
		return err
	}}, c, io.Discard)
	if !slices.Equal(got, []string{"1t", "2", "2", "3"}) || !errors.Is(err, errNotRecorded) {
		t.Errorf("answers %q, %v", got, err)
	}
}
