package savepoints

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
)

func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(name)
		files[filepath.ToSlash(rel)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// places are a bucket and a directory.
func places(t *testing.T, run func(t *testing.T, p *Place)) {
	t.Run("bucket", func(t *testing.T) {
		p := NewPlace("mem://", memblob.OpenBucket(nil))
		defer p.Close()
		run(t, p)
	})
	t.Run("directory", func(t *testing.T) {
		p, err := Open(t.Context(), filepath.Join(t.TempDir(), "a", "b"))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		run(t, p)
	})
}

func keys(t *testing.T, p *Place) (all []string) {
	t.Helper()
	err := p.each(t.Context(), "", func(o *blob.ListObject) error {
		all = append(all, o.Key)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestSavepoints makes savepoints of a store that changes, prunes and loads them.
func TestSavepoints(t *testing.T) {
	places(t, func(t *testing.T, p *Place) {
		ctx := t.Context()
		home, artifacts := t.TempDir(), filepath.Join(t.TempDir(), "none")
		save := func(sentFiles int, sentBytes int64) *Saved {
			t.Helper()
			m := &Manifest{Job: "job-1", Name: "a name / with signs", Home: "name-a%20name%20%2F"}
			done, err := p.Save(ctx, m, map[string]string{"home": home, "artifacts": artifacts})
			if err != nil {
				t.Fatal(err)
			}
			if done.SentFiles != sentFiles || done.SentBytes != sentBytes {
				t.Errorf("sent %d files and %d bytes, want %d and %d", done.SentFiles, done.SentBytes, sentFiles, sentBytes)
			}
			return done
		}
		write(t, home, map[string]string{"job.json": "one", "store/1.sst": "table 1", "store/2.sst": "table 2"})
		first := save(3, 17)
		firstTree := tree(t, home)
		// Another table, and one is gone.
		write(t, home, map[string]string{"store/3.sst": "table 3"})
		if err := os.Remove(filepath.Join(home, "store", "1.sst")); err != nil {
			t.Fatal(err)
		}
		second := save(1, 7)
		if second.Files != 3 || second.Bytes != 17 || second.ID <= first.ID {
			t.Errorf("the second is %+v, the first %+v", second, first)
		}
		load := func(id string, want map[string]string) {
			t.Helper()
			m, err := p.Find(ctx, "", id)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := p.Load(ctx, m, dir); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, tree(t, filepath.Join(dir, "home"))); diff != "" {
				t.Error(diff)
			}
		}
		load(first.ID, firstTree)
		load("", tree(t, home))
		if gone, err := p.Prune(ctx, "name-a%20name%20%2F", 1); err != nil || gone != 1 {
			t.Fatalf("pruned %d, %v", gone, err)
		}
		load("", tree(t, home))
		if _, err := p.Find(ctx, "", first.ID); err == nil {
			t.Error("a savepoint is there that was removed")
		}
		// What none has is gone: left are one manifest and three files.
		if left := keys(t, p); len(left) != 4 {
			t.Errorf("left are %v", left)
		}
		// Another job's are another's.
		other := &Manifest{Job: "job-2", Name: "other", Home: "name-other"}
		if _, err := p.Save(ctx, other, map[string]string{"home": home}); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Find(ctx, "", ""); err == nil || !strings.Contains(err.Error(), "say which") {
			t.Errorf("found one of two jobs: %v", err)
		}
		if m, err := p.Find(ctx, "other", ""); err != nil || m.Job != "job-2" {
			t.Errorf("found %+v, %v", m, err)
		}
		if _, err := p.Prune(ctx, "name-other", 1); err != nil {
			t.Fatal(err)
		}
		if all, err := p.List(ctx, ""); err != nil || len(all) != 2 {
			t.Errorf("there are %d, %v", len(all), err)
		}
	})
}

// TestADamagedSavepoint: whatever is changed or missing is found out when it is loaded, and named.
func TestADamagedSavepoint(t *testing.T) {
	places(t, func(t *testing.T, p *Place) {
		ctx := t.Context()
		home := t.TempDir()
		write(t, home, map[string]string{"job.json": "one", "store/1.sst": "table 1"})
		m := &Manifest{Job: "job-1", Name: "n", Home: "name-n"}
		if _, err := p.Save(ctx, m, map[string]string{"home": home}); err != nil {
			t.Fatal(err)
		}
		for _, key := range keys(t, p) {
			good, err := p.bucket.ReadAll(ctx, key)
			if err != nil {
				t.Fatal(err)
			}
			for what, damage := range map[string]func() error{
				"flipped": func() error {
					bad := append([]byte(nil), good...)
					bad[len(bad)/2] ^= 1
					return p.bucket.WriteAll(ctx, key, bad, nil)
				},
				"cut":     func() error { return p.bucket.WriteAll(ctx, key, good[:len(good)-1], nil) },
				"missing": func() error { return p.bucket.Delete(ctx, key) },
			} {
				if err := damage(); err != nil {
					t.Fatal(err)
				}
				found, err := p.Find(ctx, "", "")
				if err == nil {
					err = p.Load(ctx, found, t.TempDir())
				}
				name := "there is none"
				switch {
				case !strings.HasSuffix(key, ".json"):
					name = nameOf(t, m, path.Base(key))
				case what != "missing":
					name = key
				}
				if err == nil || !strings.Contains(err.Error(), name) {
					t.Errorf("%s %s: %v, want to read of %q", key, what, err, name)
				}
				if strings.HasSuffix(name, ".sst") && !errors.Is(err, ErrDamaged) {
					t.Errorf("%s %s: %v is not ErrDamaged", key, what, err)
				}
				if err := p.bucket.WriteAll(ctx, key, good, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func nameOf(t *testing.T, m *Manifest, hash string) string {
	t.Helper()
	for _, f := range m.Files {
		if f.SHA256 == hash {
			return f.Path
		}
	}
	t.Fatalf("no file has the hash %s", hash)
	return ""
}

// TestASavepointThatIsCutOff is none, and the next one uses what it has sent.
func TestASavepointThatIsCutOff(t *testing.T) {
	places(t, func(t *testing.T, p *Place) {
		home := t.TempDir()
		files := make(map[string]string)
		for i := range 20 {
			files[fmt.Sprintf("store/%02d.sst", i)] = fmt.Sprint("table ", i)
		}
		write(t, home, files)
		// It comes to a file that can't be read.
		bad := filepath.Join(home, "store", "10.sst")
		if err := os.Remove(bad); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("nowhere", bad); err != nil {
			t.Fatal(err)
		}
		m := &Manifest{Job: "job-1", Name: "n", Home: "name-n"}
		if _, err := p.Save(t.Context(), m, map[string]string{"home": home}); err == nil {
			t.Fatal("a savepoint that was cut off is whole")
		}
		if err := os.Remove(bad); err != nil {
			t.Fatal(err)
		}
		write(t, home, map[string]string{"store/10.sst": "table 10"})
		if _, err := p.Find(t.Context(), "", ""); err == nil {
			t.Error("a savepoint that was cut off is there")
		}
		done, err := p.Save(t.Context(), m, map[string]string{"home": home})
		if err != nil {
			t.Fatal(err)
		}
		if done.SentFiles != 10 {
			t.Errorf("sent %d files, want the 10 that were not there", done.SentFiles)
		}
	})
}
