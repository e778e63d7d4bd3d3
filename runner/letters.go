package runner

import (
	"os"
	"path/filepath"

	"github.com/summerbeam/summerbeam/runner/engine"
)

// lettersFile is where a job puts elements aside. It is not in the job's home, which
// goes when the job is done, but beside it; and it has the time at which the home was
// made in its name: a later job of the same name has a file of its own.
func (j *jobs) lettersFile(info *engine.JobInfo, lives *home) string {
	switch {
	case j.temp:
		return filepath.Join(os.TempDir(), "summerbeam-deadletters", info.ID+".letters")
	case lives == nil:
		return filepath.Join(j.dir, "deadletters", info.ID+".letters")
	}
	return filepath.Join(j.dir, "deadletters", filepath.Base(lives.dir)+lives.record.Created.Format("-20060102T150405.000000")+".letters")
}
