package main

import (
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSelectTests(t *testing.T) {
	tests := []Test{{Suite: "p", Name: "TestA"}, {Suite: "p", Name: "TestB"}, {Suite: "q", Name: "TestA"}}
	for _, c := range []struct {
		list testList
		run  string
		want []string
	}{
		{nil, "", []string{"p/TestA", "p/TestB", "q/TestA"}},
		{nil, "^p/", []string{"p/TestA", "p/TestB"}},
		{testList{"q/TestA": "", "p/TestB": ""}, "", []string{"p/TestB", "q/TestA"}},
		{testList{"q/TestA": "", "p/TestB": ""}, "TestA", []string{"q/TestA"}},
		{nil, "TestC", nil},
		{testList{"q/TestC": ""}, "", nil},
	} {
		selected, err := selectTests(tests, c.list, regexp.MustCompile(c.run))
		if (err != nil) != (c.want == nil) {
			t.Errorf("%v, %q: error %v", c.list, c.run, err)
		}
		var got []string
		for _, s := range selected {
			got = append(got, s.ID())
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%v, %q: %s", c.list, c.run, diff)
		}
	}
}

func TestTimeoutOfLargeTests(t *testing.T) {
	if got := (Test{Name: "TestLargeWordcount_Loopback"}).timeout(time.Second); got != 5*time.Second {
		t.Errorf("a large test may take %s", got)
	}
	if got := (Test{Name: "TestParDo"}).timeout(time.Second); got != time.Second {
		t.Errorf("a test may take %s", got)
	}
}

func TestSetupsOf(t *testing.T) {
	for _, c := range []struct {
		modes, stores []string
		endpoint      string
		want          []string
	}{
		{[]string{"served", "embedded"}, []string{"rocksdb", "pebble"}, "",
			[]string{"served/rocksdb", "served/pebble", "embedded/rocksdb", "embedded/pebble"}},
		{[]string{"prism"}, []string{"rocksdb", "pebble"}, "", []string{"prism"}},
		{[]string{"served"}, []string{"pebble"}, "localhost:1", []string{"endpoint"}},
		{[]string{"direct"}, []string{"pebble"}, "", nil},
		{[]string{"served"}, []string{"bolt"}, "", nil},
	} {
		setups, err := setupsOf(c.modes, c.stores, c.endpoint)
		if (err != nil) != (c.want == nil) {
			t.Errorf("%v, %v: error %v", c.modes, c.stores, err)
		}
		var got []string
		for _, s := range setups {
			got = append(got, s.String())
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%v, %v: %s", c.modes, c.stores, diff)
		}
	}
}
