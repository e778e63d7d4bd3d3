// Package job serves Beam's Job API and takes in the artifacts of jobs.
//
// An SDK submits a pipeline in three calls: Prepare, which compiles it and
// refuses whatever is not supported; a staging session, in which the server asks
// for the files that the pipeline's environments need; and Run. A prepared job and
// the running one have the same id, which is also its staging and its retrieval
// token, so every call takes whichever an SDK has at hand.
//
//   - state.go: the states of a job, a pure function
//   - history.go: what happened to a job, in order, for any number of subscribers
//   - registry.go: the jobs that the server knows, and which it forgets
//   - run.go: a job's execution from Run to its end
//   - pause.go: jobs that wait for somebody to go on with them
//   - service.go, streams.go: the Job API
//   - staging.go, session.go, artifacts.go: files, from the submitting SDK to the workers
//
// Locks are taken in this order and never the other way: registry, history. No
// lock is held while a stream is written or an execution runs.
package job
