package job

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// indexName is the file that says what a job's staged files are, for the process that
// goes on with the job.
const indexName = "index.json"

// artifactIndex is its content.
type artifactIndex struct {
	// Files are file names by the artifacts' keys, in hex.
	Files map[string]string
	// Resolved are lists of ArtifactInformation protos, by the keys of the lists whose
	// place they took.
	Resolved map[string][][]byte
}

// writeIndex writes down what was staged. The job is sealed: nothing changes any more.
func (a *Artifacts) writeIndex(token string, set *stagedSet) error {
	x := artifactIndex{Files: map[string]string{}, Resolved: map[string][][]byte{}}
	for k, name := range set.files {
		x.Files[hex.EncodeToString(k[:])] = name
	}
	for k, infos := range set.resolved {
		list := make([][]byte, 0, len(infos))
		for _, info := range infos {
			b, err := proto.Marshal(info)
			if err != nil {
				return err
			}
			list = append(list, b)
		}
		x.Resolved[hex.EncodeToString(k[:])] = list
	}
	data, err := json.Marshal(x)
	if err != nil {
		return err
	}
	if err := a.root.Mkdir(token, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := a.root.OpenFile(path.Join(token, indexName), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// adopt takes over what an earlier process has staged for a job. Nothing is no error: a
// job may do without.
func (a *Artifacts) adopt(token string) error {
	f, err := a.root.Open(path.Join(token, indexName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	set, err := readIndex(data)
	if err != nil {
		return fmt.Errorf("%s: %w", indexName, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if j := a.jobs[token]; j != nil {
		j.staged, j.sealed = set, true
	}
	return nil
}

func readIndex(data []byte) (*stagedSet, error) {
	var x artifactIndex
	if err := json.Unmarshal(data, &x); err != nil {
		return nil, err
	}
	set := &stagedSet{files: make(map[artifactKey]string), resolved: make(map[artifactKey][]*pipepb.ArtifactInformation)}
	key := func(s string) (k artifactKey, err error) {
		b, err := hex.DecodeString(s)
		if err == nil && len(b) != len(k) {
			err = fmt.Errorf("%q is no key", s)
		}
		copy(k[:], b)
		return k, err
	}
	for s, name := range x.Files {
		k, err := key(s)
		if err == nil && !fileName.MatchString(name) {
			err = fmt.Errorf("%q is no file of ours", name)
		}
		if err != nil {
			return nil, err
		}
		set.files[k] = name
	}
	for s, list := range x.Resolved {
		k, err := key(s)
		if err != nil {
			return nil, err
		}
		infos := []*pipepb.ArtifactInformation{}
		for _, b := range list {
			info := &pipepb.ArtifactInformation{}
			if err := proto.Unmarshal(b, info); err != nil {
				return nil, err
			}
			infos = append(infos, info)
		}
		set.resolved[k] = infos
	}
	return set, nil
}
