package engine

import (
	"encoding/binary"
	"fmt"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// fieldMultimapEntries is the number of multimap_entries_user_state in StateKey. Newer
// SDKs send it (Java's harness: MultimapUserState.java); the Go protos don't have it, so
// it comes as a field that is not known.
const fieldMultimapEntries = 10

// multimapEntries reads a key that stands for all entries of a multimap, which has the
// fields of one that stands for all of its keys; nil if it is another key.
func multimapEntries(key *fnpb.StateKey) *fnpb.StateKey_MultimapKeysUserState {
	for b := key.ProtoReflect().GetUnknown(); len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil
		}
		if num == fieldMultimapEntries && typ == protowire.BytesType {
			v, m := protowire.ConsumeBytes(b[n:])
			u := &fnpb.StateKey_MultimapKeysUserState{}
			if m < 0 || proto.Unmarshal(v, u) != nil {
				return nil
			}
			return u
		}
		m := protowire.ConsumeFieldValue(num, typ, b[n:])
		if m < 0 {
			return nil
		}
		b = b[n+m:]
	}
	return nil
}

// mapEntries returns a multimap's entries as KV<key, Iterable<value>>: the key's bytes,
// how many values there are (32 bits), and these. b.mu is held.
func (b *bundleState) mapEntries(r *reader, a address) ([]byte, error) {
	value := b.stage.states[sideID{a.transform, a.id}].value
	if value == nil {
		return nil, fmt.Errorf("state %q of transform %s is not a map", a.id, a.transform)
	}
	var dst []byte
	err := r.eachMapKey(a.cell, func(key string, values []byte) error {
		count := uint32(0)
		for rest := values; len(rest) > 0; count++ {
			n, err := value.Skip(rest)
			if err != nil {
				return fmt.Errorf("%w: state %q of transform %s: %w", errCoder, a.id, a.transform, err)
			}
			rest = rest[n:]
		}
		dst = append(dst, key...)
		dst = binary.BigEndian.AppendUint32(dst, count)
		dst = append(dst, values...)
		return nil
	})
	return dst, err
}
