// Package savepoints keeps copies of jobs in a directory or in a bucket of an object
// store, each file once.
//
// A place holds the savepoints of any number of jobs, each in a folder of its own:
//
//	JOB/savepoints/ID.json   what a savepoint has: names, sizes and hashes; written last
//	JOB/files/HASH           the files, by the SHA-256 of what is in them
//
// A store's tables don't change once they are written, so most files of a savepoint are there
// from the one before and are not sent again. A savepoint without its ID.json is none:
// what a copy that was cut off has left is used by the next, or goes with the next Prune.
//
// URLs are those of gocloud.dev/blob. Its drivers are linked in by who wants them: the
// package itself knows directories, the summerbeam command s3, gs and azblob too.
//
// One process at a time may save and prune the savepoints of a job.
package savepoints
