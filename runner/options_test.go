package runner

import (
	"testing"
	"time"

	"github.com/summerbeam/summerbeam/runner/engine"
	"google.golang.org/protobuf/types/known/structpb"
)

func TestOptionsOfEverySDK(t *testing.T) {
	for name, fields := range map[string]map[string]any{
		"go":     {"beam:option:go_options:v1": map[string]any{"options": map[string]any{"summerbeam_bundle_elements": "7", "summerbeam_force_splits": "true", "summerbeam_split_after": "5ms"}}},
		"python": {"beam:option:summerbeam_bundle_elements:v1": "7", "beam:option:summerbeam_force_splits:v1": true, "beam:option:summerbeam_split_after:v1": "5ms"},
		"plain":  {"summerbeam_bundle_elements": 7, "summerbeam_force_splits": true, "summerbeam_split_after": "5ms", "other": []any{"x"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := structpb.NewStruct(fields)
			if err != nil {
				t.Fatal(err)
			}
			var c engine.Config
			if err := applyOptions(&c, s); err != nil {
				t.Fatal(err)
			}
			if c.Core.BundleElements != 7 || !c.Core.ForceSplits || c.Core.SplitAfter != 5*time.Millisecond {
				t.Errorf("got %+v", c.Core)
			}
		})
	}
	s, err := structpb.NewStruct(map[string]any{"summerbeam_shards": "-3"})
	if err != nil {
		t.Fatal(err)
	}
	if err := applyOptions(&engine.Config{}, s); err == nil {
		t.Error("a negative number of shards")
	}
	if err := applyOptions(&engine.Config{}, nil); err != nil {
		t.Error(err)
	}
}

func TestSetOption(t *testing.T) {
	var c engine.Config
	if err := SetOption(&c, "shards", "3"); err != nil || c.Core.Shards != 3 {
		t.Errorf("%v, %d shards", err, c.Core.Shards)
	}
	for _, bad := range [][2]string{{"shards", "x"}, {"split_after", "5"}, {"nothing", "1"}} {
		if SetOption(&c, bad[0], bad[1]) == nil {
			t.Errorf("%v is taken", bad)
		}
	}
	if len(described()) != len(options) {
		t.Error("not all options are described")
	}
}
