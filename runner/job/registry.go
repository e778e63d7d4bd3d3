package job

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// registry holds the jobs that the server knows. Its memory is bounded: of
// prepared and of finished jobs it keeps so many each, and forgets the oldest.
type registry struct {
	keep int

	mu       sync.Mutex
	jobs     map[string]*job
	created  int    // jobs ever added
	prepared []*job // not run yet, oldest first
	finished []*job // oldest first
}

func newRegistry(keep int) *registry {
	return &registry{keep: keep, jobs: make(map[string]*job)}
}

// add enters a prepared job. The jobs it returns are forgotten.
func (r *registry) add(j *job) (forgotten []*job, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.jobs[j.id]; ok {
		return nil, fmt.Errorf("BUG: job id %q is taken", j.id)
	}
	r.created++
	j.number = r.created
	r.jobs[j.id] = j
	r.prepared = append(r.prepared, j)
	for len(r.prepared) > r.keep {
		old := r.prepared[0]
		r.prepared = slices.Delete(r.prepared, 0, 1)
		delete(r.jobs, old.id)
		// Under the lock, as is start: a job that somebody runs just now is either
		// forgotten or run, not both.
		old.history.advance(expired, message{text: "the job was prepared but not run, and newer ones took its place"})
		forgotten = append(forgotten, old)
	}
	return forgotten, nil
}

// start lets a prepared job begin, once.
func (r *registry) start(j *job) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := j.history.advance(submitted); !ok {
		return false
	}
	r.prepared = without(r.prepared, j)
	return true
}

// pause notes that a job is one that an earlier process has left paused.
func (r *registry) pause(j *job, why message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j.history.advance(paused, why)
	r.prepared = without(r.prepared, j)
}

// finish notes that a job has ended. The jobs it returns are forgotten.
func (r *registry) finish(j *job) (forgotten []*job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.jobs[j.id] != j {
		return nil
	}
	r.prepared = without(r.prepared, j)
	r.finished = append(r.finished, j)
	for len(r.finished) > r.keep {
		old := r.finished[0]
		r.finished = slices.Delete(r.finished, 0, 1)
		delete(r.jobs, old.id)
		forgotten = append(forgotten, old)
	}
	return forgotten
}

// get returns the job, nil if there is none of that id.
func (r *registry) get(id string) *job {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.jobs[id]
}

// all returns the jobs in the order in which they were prepared.
func (r *registry) all() []*job {
	r.mu.Lock()
	jobs := slices.Collect(maps.Values(r.jobs))
	r.mu.Unlock()
	slices.SortFunc(jobs, func(a, b *job) int { return cmp.Compare(a.number, b.number) })
	return jobs
}

func without(jobs []*job, j *job) []*job {
	if i := slices.Index(jobs, j); i >= 0 {
		return slices.Delete(jobs, i, i+1)
	}
	return jobs
}
