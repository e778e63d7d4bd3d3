package job

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// checkNames refuses staged names that would lead a worker out of its own
// directory, or that two different artifacts want. We never use them as paths; workers
// do, and the SDKs' join them to a directory as they are.
func checkNames(infos []*pipepb.ArtifactInformation) error {
	taken := make(map[string]artifactKey)
	for _, info := range infos {
		if info.GetRoleUrn() != roleStagingTo {
			continue
		}
		var p pipepb.ArtifactStagingToRolePayload
		if err := proto.Unmarshal(info.GetRolePayload(), &p); err != nil {
			return fmt.Errorf("%s: %w", describe(info), refuse("its staged name can't be read: %v", err))
		}
		name := p.GetStagedName()
		if reason := badName(name); reason != "" {
			return fmt.Errorf("%s: %w", describe(info), refuse("staged name %q %s", name, reason))
		}
		// The same file twice is no conflict: expanded pipelines list their
		// dependencies once more.
		key := keyOf(info)
		if other, ok := taken[name]; ok && other != key {
			return fmt.Errorf("%s: %w", describe(info), refuse("staged name %q is another artifact's, too", name))
		}
		taken[name] = key
	}
	for _, name := range sortedKeys(taken) {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, ok := taken[dir]; ok {
				return refuse("staged name %q is a file and, for %q, a directory", dir, name)
			}
		}
	}
	return nil
}

// badName says what is wrong with a staged name, nothing if it is a plain relative path.
func badName(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > 1024:
		return "is longer than 1024 bytes"
	case strings.ContainsFunc(name, unicode.IsControl):
		return "has a control character"
	case strings.Contains(name, `\`):
		return `has a backslash; use "/"`
	case path.IsAbs(name):
		return "is an absolute path"
	case name == ".." || strings.HasPrefix(name, "../") || strings.HasSuffix(name, "/..") || strings.Contains(name, "/../"):
		return `leads upwards with ".."`
	case path.Clean(name) != name || name == ".":
		return fmt.Sprintf("is not in its shortest form, which is %q", path.Clean(name))
	}
	return ""
}

// checkHash refuses what can't be a SHA-256 in hex. Empty means there is none.
func checkHash(sum string) error {
	if b, err := hex.DecodeString(sum); sum != "" && (err != nil || len(b) != sha256.Size) {
		return refuse("%q is no SHA-256 in hex", sum)
	}
	return nil
}

// describe names an artifact in messages.
func describe(info *pipepb.ArtifactInformation) string {
	var name string
	if info.GetRoleUrn() == roleStagingTo {
		var role pipepb.ArtifactStagingToRolePayload
		if proto.Unmarshal(info.GetRolePayload(), &role) == nil {
			name = fmt.Sprintf(" %q", role.GetStagedName())
		}
	}
	var from string
	switch info.GetTypeUrn() {
	case typeFile:
		var p pipepb.ArtifactFilePayload
		if proto.Unmarshal(info.GetTypePayload(), &p) == nil {
			from = fmt.Sprintf(" (the client's file %q)", p.GetPath())
		}
	case typeURL:
		var p pipepb.ArtifactUrlPayload
		if proto.Unmarshal(info.GetTypePayload(), &p) == nil {
			from = fmt.Sprintf(" (%q)", p.GetUrl())
		}
	}
	if name == "" && from == "" {
		from = fmt.Sprintf(" of type %q", info.GetTypeUrn())
	}
	return "artifact" + name + from
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
