package pebble

import (
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/summerbeam/summerbeam/statebackend"
)

const (
	defaultCache       = 32 << 20
	defaultWriteBuffer = 16 << 20

	// maxLog bounds the memory tables, and with them the log that an Open
	// replays: pebble drops a log once its memory table is a file. A batch larger
	// than half a memory table has a log record and a "table" of its own on top.
	maxLog = 64 << 20

	// A database may be moved to a newer pebble but not back, so the format is
	// named here rather than taken from whatever version is linked. This one has
	// log chunks that tell a torn tail from corruption before the last sync.
	format = pebble.FormatTableFormatV6
)

func options(fs vfs.FS, o statebackend.Options, f *fatal) *pebble.Options {
	cache, buffer := o.CacheBytes, o.WriteBufferBytes
	if cache <= 0 {
		cache = defaultCache
	}
	if buffer <= 0 {
		buffer = defaultWriteBuffer
	}
	if fs == vfs.Default {
		fs = nil // pebble then watches its file system for slow operations
	}
	po := &pebble.Options{
		FS:                 fs,
		FormatMajorVersion: format,
		CacheSize:          cache,
		// Two tables: one is filled while the other is written out.
		MemTableSize:                uint64(max(min(buffer, maxLog)/2, 256<<10)),
		MemTableStopWritesThreshold: 2,
		DisableWAL:                  o.Ephemeral,
		Logger:                      f,
		EventListener: &pebble.EventListener{
			// Pebble's own listener for this one ends the process. The reader
			// or writer concerned gets the error; so does the log.
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				f.log.Error("state store: corrupt file", "file", i.Path, "err", i.Details.Error())
			},
			// Pebble tries again by itself, for ever.
			BackgroundError: func(err error) {
				f.log.Warn("state store: flush or compaction failed, trying again", "err", err.Error())
			},
			DiskSlow: func(i pebble.DiskSlowInfo) {
				f.log.Warn("state store: slow disk", "event", i.String())
			},
		},
	}
	// A checkpoint makes one hard link per file: 1 GiB in files of 2 MiB, the
	// default, takes 55 ms. Index 1 is the first level below L0, wherever it is.
	for i := range po.TargetFileSizes {
		po.TargetFileSizes[i] = 64 << 20
	}
	po.TargetFileSizes[0] = 8 << 20
	po.TargetFileSizes[1] = 32 << 20
	// Ten bits a key: 1 % of the misses still read a block. The other levels
	// take it over from the first.
	po.Levels[0].FilterPolicy = bloom.FilterPolicy(10)
	return po
}
