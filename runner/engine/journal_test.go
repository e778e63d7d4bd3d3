package engine

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/summerbeam/summerbeam/runner/engine/core"
)

func FuzzTimerRecord(f *testing.F) {
	one := timer{id: "id", hold: core.MaxTime, family: TimerFamily{"t", "f"}, data: []byte("data")}
	f.Add(one.record())
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, data []byte) {
		at := moment{-5, 7}
		got, err := readTimerRecord(processingTime, at, data)
		if err != nil {
			return
		}
		again, err := readTimerRecord(processingTime, at, got.record())
		if err != nil {
			t.Fatalf("%x: what was read can't be written: %v", data, err)
		}
		if diff := cmp.Diff(got, again, cmp.AllowUnexported(timer{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%x:\n%s", data, diff)
		}
	})
}

func FuzzSideRecord(f *testing.F) {
	f.Add([]byte{2, 4, 'd', 'x'})
	f.Add([]byte{2, 4, 'e', 0x80})
	f.Fuzz(func(t *testing.T, data []byte) {
		if b, err := readSideRecord(data, nil, 0); err == nil && b.Payload != nil {
			switch b.Payload.(type) {
			case []byte, int:
			default:
				t.Errorf("%x: payload %T", data, b.Payload)
			}
		}
	})
}
