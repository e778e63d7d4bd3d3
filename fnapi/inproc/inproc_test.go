package inproc_test

import (
	"context"
	"os"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"

	"github.com/summerbeam/summerbeam/fnapi/inproc"
	"github.com/summerbeam/summerbeam/fnapi/inproc/bundletest"
	"github.com/summerbeam/summerbeam/runner/engine"
)

func TestMain(m *testing.M) {
	beam.Init()
	os.Exit(m.Run())
}

func start(t testing.TB) engine.Worker {
	t.Helper()
	st := bundletest.MustStage(t, "identity")
	w, err := inproc.Workers{}.Start(context.Background(), bundletest.Job(), "w1", "go", st.Env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func TestSuite(t *testing.T) {
	bundletest.Suite{Start: start, SameProcess: true}.Run(t)
}
