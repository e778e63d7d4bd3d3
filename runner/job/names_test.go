package job

import (
	"path"
	"path/filepath"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

func TestBadName(t *testing.T) {
	for name, bad := range map[string]bool{
		"worker": false, "a/b/c.txt": false, "a..b": false, "..a": false, "a ": false, "ä/ö": false, ".hidden": false,
		"": true, ".": true, "..": true, "../a": true, "a/..": true, "a/../b": true, "/a": true, "//a": true, "a/": true,
		"./a": true, "a//b": true, "a\x00": true, "a\nb": true, `a\b`: true, `..\a`: true, strings.Repeat("a", 2000): true,
	} {
		if reason := badName(name); (reason != "") != bad {
			t.Errorf("badName(%q) = %q", name, reason)
		}
	}
}

// FuzzStagedNames: names that are taken lead to two different files below the
// worker's directory.
func FuzzStagedNames(f *testing.F) {
	for _, s := range []string{"a", "../a", "/a", "a/../../b", "a\x00b", `a\..\b`, "a/b", "./a", "..", strings.Repeat("a/", 600)} {
		f.Add(s, "a")
		f.Add("a", s)
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		infos := []*pipepb.ArtifactInformation{fileRole("1", one), fileRole("2", two)}
		if checkNames(infos) != nil {
			return
		}
		const dir = "/worker/staged"
		for _, name := range []string{one, two} {
			if !filepath.IsLocal(name) || !strings.HasPrefix(path.Join(dir, name), dir+"/") || strings.Contains(name, "\x00") {
				t.Errorf("%q was taken", name)
			}
		}
		a, b := path.Join(dir, one), path.Join(dir, two)
		if a == b || strings.HasPrefix(a, b+"/") || strings.HasPrefix(b, a+"/") {
			t.Errorf("%q and %q were taken", one, two)
		}
	})
}

// fileRole is an artifact with a staged name, whatever it is.
func fileRole(path, staged string) *pipepb.ArtifactInformation {
	info := &pipepb.ArtifactInformation{TypeUrn: typeFile, TypePayload: []byte("\x0a" + string(rune(len(path))) + path)}
	info.RoleUrn = roleStagingTo
	// By hand: a name may be no UTF-8, which proto.Marshal refuses and the wire doesn't.
	info.RolePayload = append([]byte{0x0a}, appendLength(staged)...)
	return info
}

func appendLength(s string) []byte {
	var b []byte
	n := uint64(len(s))
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(append(b, byte(n)), s...)
}
