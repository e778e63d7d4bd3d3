package triggers

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// encoded are strategies whose states the tests read.
var encoded = []string{
	"Default",
	"AfterCount(3)",
	"AfterWatermark(early=Repeatedly(AfterAny(AfterCount(3), AfterProcessingTime(5))), late=AfterCount(1))",
	"AfterEach(AfterSynchronizedProcessingTime(), OrFinally(Always, AfterCount(9)))",
}

func TestReadStateErrors(t *testing.T) {
	s := mustCompile(t, "AfterAny(AfterCount(3), AfterProcessingTime(5))", &pipepb.WindowingStrategy{})
	for name, text := range map[string]string{
		"ends in the panes":          "40",
		"ends in the hold":           "08",
		"ends in a hold of 9 bytes":  "08ffffffffffffffffff",
		"ends in the bits":           "80",
		"ends in the slots":          "800001",
		"goes on":                    "0000",
		"goes on behind the slots":   "8000010000",
		"closed and more":            "03",
		"closed and goes on":         "0100",
		"no panes":                   "400000",
		"more settled than panes":    "400102",
		"a bit too many":             "80080000",
		"a count that is negative":   "8000ffffffffffffffffff0100",
		"a varint that does not end": "08ffffffffffffffffffffff",
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		st := State{used: true, panes: 3}
		if err := s.ReadState(&st, b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		if st.Used() || st.panes != 0 {
			t.Errorf("%s: leaves %+v", name, st)
		}
	}
}

func FuzzReadState(f *testing.F) {
	for i := range encoded {
		for _, seed := range []string{"", "01", "0c12", "8c120001", "cc010012001600", "f406034a00000116"} {
			b, err := hex.DecodeString(seed)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(uint8(i), b)
		}
	}
	f.Fuzz(func(t *testing.T, i uint8, b []byte) {
		s := mustCompile(t, encoded[int(i)%len(encoded)], &pipepb.WindowingStrategy{AllowedLateness: 10})
		var st State
		if err := s.ReadState(&st, b); err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		short := s.AppendState(nil, &st)
		var again State
		if err := s.ReadState(&again, short); err != nil || !bytes.Equal(s.AppendState(nil, &again), short) || len(short) > len(b) {
			t.Fatalf("%x is %x, which is %x: %v", b, short, s.AppendState(nil, &again), err)
		}
		// Whatever it says, nothing panics, and the window goes in the end.
		w := Window{Max: 9}
		s.Element(&st, w, 3, Now{Watermark: 5, Processing: 5})
		for range 2 {
			s.Decide(&st, w, Now{Watermark: 15, Processing: 7, Synchronized: 6})
		}
		s.Wake(&st, w)
		s.Hold(&st, w)
		s.Merge(&again, []*State{&st}, w, Now{Watermark: 15})
		for range 3 {
			if s.Decide(&again, w, Now{Watermark: 99}).Expired {
				return
			}
		}
		t.Fatalf("%x does not expire", b)
	})
}
