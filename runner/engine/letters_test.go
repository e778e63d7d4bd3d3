package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/summerbeam/summerbeam/internal/coders"
	"github.com/summerbeam/summerbeam/runner/engine/core"
	"github.com/summerbeam/summerbeam/runner/graph"
	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/memstore"
)

// poisoned runs a job of 40 elements of which its last stage fails with some, and returns
// the job's end, and what that stage has processed.
func poisoned(t *testing.T, cfg Config, poison ...string) (seen []string, err error) {
	t.Helper()
	var seenMu sync.Mutex
	plan := testPlan(&graph.Input{Keyed: true})
	plan.Stages[2].Transforms = []string{"n6"}
	s := &script{stages: map[string]func(context.Context, *Bundle) (*Result, error){
		"s01": makeKVs(40),
		"s02": func(_ context.Context, b *Bundle) (*Result, error) {
			scan, err := coders.CompileWindowed(testCoders(), "wkv")
			if err != nil {
				return nil, err
			}
			var values []string
			var e coders.Element
			for data := input(b); len(data) > 0; {
				n, err := scan.Next(data, &e)
				if err != nil {
					return nil, err
				}
				value := string(e.Value[1:]) // behind its length
				if slices.Contains(poison, value) {
					return nil, errors.New("DoFn[UID:7, PID:n6, Name: main.take] failed: division by zero")
				}
				values, data = append(values, value), data[n:]
			}
			seenMu.Lock()
			defer seenMu.Unlock()
			seen = append(seen, values...)
			return &Result{}, nil
		},
	}}
	cfg.Workers, cfg.Core.Shards, cfg.Core.RetryAfter = s, 2, time.Millisecond
	j, err := New(cfg, &JobInfo{ID: "job", Name: "clicks", Log: slog.New(slog.DiscardHandler)}, plan)
	if err != nil {
		t.Fatal(err)
	}
	err = run(t, j)
	if want := int64(len(poison)); err == nil && j.Progress().DeadLetters != want {
		t.Errorf("%d dead letters are counted, want %d", j.Progress().DeadLetters, want)
	}
	return seen, err
}

func letters(t *testing.T, name string) (all []Letter, elements [][]byte) {
	t.Helper()
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = ReadLetters(f, func(l Letter, data []byte) error {
		all, elements = append(all, l), append(elements, data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, elements
}

func TestPoisonBecomesLetters(t *testing.T) {
	file := filepath.Join(t.TempDir(), "more", "letters")
	for name, cfg := range map[string]Config{
		"ephemeral": {Core: core.Config{Ephemeral: true}},
		"durable": {Core: core.Config{Recoverable: true}, OpenStore: func() (statebackend.Store, error) {
			return memstore.NewDisk(nil).Open("job", statebackend.Options{})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Letters = file + name
			cfg.Core.OnPoison = core.DeadLetter
			seen, err := poisoned(t, cfg, "13", "38")
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(seen)
			if len(seen) != 38 || len(slices.Compact(seen)) != 38 || slices.Contains(seen, "13") {
				t.Errorf("processed %v", seen)
			}
			all, elements := letters(t, cfg.Letters)
			slices.SortFunc(all, func(a, b Letter) int { return int(a.Timestamp - b.Timestamp) })
			if len(all) != 2 || all[0].Timestamp != 13 || all[1].Timestamp != 38 {
				t.Fatalf("letters %+v", all)
			}
			l := all[0]
			if l.Job != "job" || l.Name != "clicks" || l.Stage != "s02" || l.Transform != "n6" || l.Coder != "wkv" || !strings.Contains(l.Error, "division by zero") {
				t.Errorf("letter %+v", l)
			}
			if !slices.ContainsFunc(elements, func(b []byte) bool { return bytes.Equal(b, kv(13, "k3", "13")) }) {
				t.Errorf("elements %q", elements)
			}
		})
	}
}

// TestAFailedJobNamesTheElement, and the letters stay unwritten.
func TestAFailedJobNamesTheElement(t *testing.T) {
	cfg := Config{Letters: filepath.Join(t.TempDir(), "letters"), Core: core.Config{Ephemeral: true}}
	_, err := poisoned(t, cfg, "13")
	if err == nil || !strings.Contains(err.Error(), "stage s02: ") || !strings.Contains(err.Error(), "division by zero") ||
		!strings.Contains(err.Error(), strconv.Quote("\x0213")) {
		t.Errorf("got %v, want the stage, the cause and the element", err)
	}
	if all, _ := letters(t, cfg.Letters); len(all) > 0 {
		t.Errorf("letters %v", all)
	}
}

// refusing is a store whose writes fail.
type refusing struct{ statebackend.Store }

func (refusing) Write(statebackend.Batch, bool) error { return errors.New("no") }

// TestALetterIsThereOnce: an epoch with a letter is not written, and the letter goes with
// it; the next life of the job writes it again.
func TestALetterIsThereOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "letters")
	store, err := memstore.NewDisk(nil).Open("job", statebackend.Options{})
	if err != nil {
		t.Fatal(err)
	}
	open := func(st statebackend.Store) *Job {
		j := newTestJob(t, testPlan(&graph.Input{Keyed: true}), &script{})
		j.cfg.Letters, j.store.letters.name = file, file
		j.store.open = func() (statebackend.Store, error) { return st, nil }
		if err := j.recover(); err != nil {
			t.Fatal(err)
		}
		return j
	}
	write := func(j *Job, letter string) error {
		j.durable.letters = append(j.durable.letters, letter...)
		_, err := j.store.write(nil, nil, j.cut())
		return err
	}
	content := func(want string) {
		t.Helper()
		got, err := os.ReadFile(file)
		if err != nil || string(got) != want {
			t.Errorf("the file has %q (%v), want %q", got, err, want)
		}
	}
	j := open(store)
	if err := write(j, "one"); err != nil {
		t.Fatal(err)
	}
	if err := write(open(refusing{store}), "two"); err == nil {
		t.Fatal("a write to a store that refuses went well")
	}
	content("onetwo")
	j = open(store)
	content("one")
	if err := write(j, "two"); err != nil {
		t.Fatal(err)
	}
	content("onetwo")
	open(store)
	content("onetwo")
}

// TestADamagedLetter is an error, and takes no memory for what a length only says.
func TestADamagedLetter(t *testing.T) {
	for _, in := range []string{"\x05{}", "\xff\xff\xff\xff\xff\xff\xff\xff\x7f{", "\x02{}", "\x01{\x00", "\x02{}\x04ab", "\x80"} {
		if err := ReadLetters(strings.NewReader(in), func(Letter, []byte) error { return nil }); err == nil {
			t.Errorf("%q is read without an error", in)
		}
	}
	if err := ReadLetters(io.MultiReader(), nil); err != nil {
		t.Errorf("an empty file: %v", err)
	}
}
