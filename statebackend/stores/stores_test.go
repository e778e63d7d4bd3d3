package stores

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/summerbeam/summerbeam/statebackend"
)

func TestOpener(t *testing.T) {
	open, err := Opener(Default())
	if err != nil {
		t.Fatal(err)
	}
	s, err := open(filepath.Join(t.TempDir(), "store"), statebackend.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Opener(Pebble); err != nil {
		t.Error(err)
	}
	if _, err := Opener("leveldb"); err == nil || !strings.Contains(err.Error(), `"leveldb"`) {
		t.Errorf("an unknown backend: %v", err)
	}
	_, err = Opener(RocksDB)
	if Default() == RocksDB {
		if err != nil {
			t.Error(err)
		}
		return
	}
	for _, hint := range []string{"-tags rocksdb", "librocksdb-dev"} {
		if err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("without RocksDB: %v; want the hint %q", err, hint)
		}
	}
}
