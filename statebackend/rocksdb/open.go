//go:build rocksdb

package rocksdb

import (
	"fmt"

	"github.com/linxGnu/grocksdb"

	"github.com/summerbeam/summerbeam/statebackend"
	"github.com/summerbeam/summerbeam/statebackend/internal/dirs"
)

var _ statebackend.Opener = Open

const (
	defaultCache       = 32 << 20
	defaultWriteBuffer = 16 << 20

	// maxLog bounds the log that an Open replays. With one column family a log
	// goes when its memory table is written, so it bounds those tables as well.
	maxLog = 64 << 20
)

// Open opens or creates the store in dir, as [statebackend.Opener] says.
func Open(dir string, o statebackend.Options) (statebackend.Store, error) {
	real, err := dirs.Real(dir)
	if err != nil {
		return nil, fmt.Errorf("rocksdb store %s: %w", dir, err)
	}
	// RocksDB makes the last directory only, and syncs none above.
	if err := dirs.Make(real); err != nil {
		return nil, fmt.Errorf("rocksdb store %s: %w", real, err)
	}
	if err := checkLogs(real); err != nil {
		return nil, fmt.Errorf("rocksdb store %s: open: %w", real, err)
	}
	s := &store{dir: real, ephemeral: o.Ephemeral, diskFull: o.DiskFull, room: room}
	free := s.configure(o)
	db, families, err := grocksdb.OpenDbColumnFamilies(s.opts, real, []string{"default"}, []*grocksdb.Options{s.opts})
	free()
	if err != nil {
		s.opts.Destroy()
		return nil, s.wrap("open", err)
	}
	s.family = families[0]
	r, err := newReader(db, s.family)
	if err != nil {
		s.family.Destroy()
		db.Close()
		s.opts.Destroy()
		return nil, s.wrap("open", err)
	}
	s.db, s.reader = db, r
	s.lazy, s.sync = grocksdb.NewDefaultWriteOptions(), grocksdb.NewDefaultWriteOptions()
	s.lazy.DisableWAL(o.Ephemeral)
	s.sync.DisableWAL(o.Ephemeral)
	s.sync.SetSync(!o.Ephemeral)
	return s, nil
}

// configure sets s.opts. What free frees was copied or is counted.
func (s *store) configure(o statebackend.Options) (free func()) {
	cache, buffer := o.CacheBytes, o.WriteBufferBytes
	if cache <= 0 {
		cache = defaultCache
	}
	if buffer <= 0 {
		buffer = defaultWriteBuffer
	}
	lru := grocksdb.NewLRUCache(uint64(cache))
	table := grocksdb.NewDefaultBlockBasedTableOptions()
	table.SetBlockCache(lru)
	table.SetFilterPolicy(grocksdb.NewBloomFilterFull(10))
	table.SetFormatVersion(5)
	// Filters and indexes grow with the data: they count as cache. In parts: the filter of a whole
	// file, a megabyte, has no room in one of the cache's shards, and would be read for every Get.
	table.SetIndexType(grocksdb.KTwoLevelIndexSearchIndexType)
	table.SetPartitionFilters(true)
	table.SetPinTopLevelIndexAndFilter(true)
	table.SetCacheIndexAndFilterBlocks(true)
	table.SetCacheIndexAndFilterBlocksWithHighPriority(true)
	table.SetPinL0FilterAndIndexBlocksInCache(true)

	opts := grocksdb.NewDefaultOptions()
	opts.SetCreateIfMissing(true)
	opts.SetBlockBasedTableFactory(table)
	opts.SetCompactionStyle(grocksdb.LevelCompactionStyle)
	opts.SetLevelCompactionDynamicLevelBytes(true)
	// Two tables: one is filled while the other is written out.
	opts.SetWriteBufferSize(uint64(max(min(buffer, maxLog)/2, 256<<10)))
	opts.SetMaxWriteBufferNumber(2)
	// A filter for each, too: most keys that are looked up are in neither. About 16 bits a key.
	opts.SetMemtableWholeKeyFiltering(true)
	opts.SetMemTablePrefixBloomSizeRatio(0.02)
	opts.SetMaxTotalWalSize(maxLog)
	// After a power cut, the writes up to the first torn one.
	opts.SetWALRecoveryMode(grocksdb.PointInTimeRecovery)
	// Its own log, in the same directory: keep it small.
	opts.SetInfoLogLevel(grocksdb.WarnInfoLogLevel)
	opts.SetMaxLogFileSize(1 << 20)
	opts.SetKeepLogFileNum(2)
	opts.SetStatsDumpPeriodSec(0)
	s.opts = opts
	return func() {
		table.Destroy()
		lru.Destroy()
	}
}
