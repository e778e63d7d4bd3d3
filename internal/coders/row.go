package coders

import (
	"errors"
	"fmt"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// Names that change how a schema's values are encoded.
const (
	// The two logical types that have coders of their own instead of that of their
	// representation (Java's SchemaCoderHelpers, Python's row_coder).
	logicalMillisInstant = "beam:logical_type:millis_instant:v1"
	logicalDecimal       = "beam:logical_type:decimal:v1"
	// logicalPythonAny holds whatever Python pickles.
	logicalPythonAny = "beam:logical:pythonsdk_any:v1"
	// optionStaticEncoding makes Java leave out a row's header.
	optionStaticEncoding = "beam:option:row:static_encoding"
)

// row skips rows of one schema: the number of fields, the bits of those that are
// null, then the others. The schema's nullable flags play no part: the Go SDK sets
// bits of nil slices and maps too.
type row struct {
	// fields in the order they are encoded in.
	fields []*node
	// reordered says that this is not the schema's order. Then the order of null bits
	// is in doubt: Java's follow the encoding, Python's the schema.
	reordered bool
}

func (r *row) skip(b []byte, i int) int {
	count, i := uvarint(b, i)
	if i < 0 {
		return i
	}
	// An older writer may know fewer fields. What a newer one has added can't be skipped.
	if count > uint64(len(r.fields)) {
		return badRow
	}
	size, i := uvarint(b, i)
	if i < 0 {
		return i
	}
	if size > (count+7)/8 {
		return badRow
	}
	if size > uint64(len(b)-i) {
		return short
	}
	nulls := b[i : i+int(size)]
	i += int(size)
	if r.reordered && len(nulls) > 0 {
		return badRowNulls
	}
	for f, n := range r.fields[:count] {
		if f>>3 < len(nulls) && nulls[f>>3]>>(f&7)&1 == 1 {
			continue
		}
		if i = n.skip(b, i); i < 0 {
			return i
		}
	}
	return i
}

func compileRow(s *pipepb.Schema, depth int) (*node, error) {
	if depth >= maxDepth {
		return nil, errDepth()
	}
	for _, o := range s.GetOptions() {
		if o.GetName() == optionStaticEncoding {
			return nil, fmt.Errorf("%w: schema option %s", ErrUnsupported, o.GetName())
		}
	}
	r := &row{fields: make([]*node, len(s.GetFields()))}
	out := &node{op: opRow, fixed: -1, min: 2, row: r}
	for i, f := range s.GetFields() {
		at := i
		if s.GetEncodingPositionsSet() {
			at = int(f.GetEncodingPosition())
			r.reordered = r.reordered || at != i
		}
		if at < 0 || at >= len(r.fields) || r.fields[at] != nil {
			return nil, fmt.Errorf("field %q: encoding position %d is taken or out of range", f.GetName(), at)
		}
		n, err := compileValue(f.GetType(), depth+1)
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", f.GetName(), err)
		}
		r.fields[at] = n
		out.height = max(out.height, n.height)
	}
	out.height++
	return checkHeight(out)
}

// compileElement is compileValue for types inside arrays and maps, where nullable
// values have a marker each.
func compileElement(t *pipepb.FieldType, depth int) (*node, error) {
	n, err := compileValue(t, depth)
	if err != nil || !t.GetNullable() {
		return n, err
	}
	return checkHeight(nullable(n))
}

func compileValue(t *pipepb.FieldType, depth int) (*node, error) {
	if depth >= maxDepth {
		return nil, errDepth()
	}
	switch t := t.GetTypeInfo().(type) {
	case *pipepb.FieldType_AtomicType:
		return compileAtomic(t.AtomicType)
	case *pipepb.FieldType_ArrayType:
		return compileArray(t.ArrayType.GetElementType(), depth+1)
	case *pipepb.FieldType_IterableType:
		return compileArray(t.IterableType.GetElementType(), depth+1)
	case *pipepb.FieldType_MapType:
		k, err := compileElement(t.MapType.GetKeyType(), depth+1)
		if err != nil {
			return nil, fmt.Errorf("map key: %w", err)
		}
		v, err := compileElement(t.MapType.GetValueType(), depth+1)
		if err != nil {
			return nil, fmt.Errorf("map value: %w", err)
		}
		kv := pair(k, v)
		return checkHeight(&node{op: opMap, height: kv.height + 1, fixed: -1, min: 4, a: kv})
	case *pipepb.FieldType_RowType:
		return compileRow(t.RowType.GetSchema(), depth+1)
	case *pipepb.FieldType_LogicalType:
		switch t.LogicalType.GetUrn() {
		case logicalMillisInstant:
			return fixed(timestampSize), nil
		case logicalDecimal:
			return pair(leaf(opVarint, 1), prefixed()), nil
		case logicalPythonAny:
			return nil, fmt.Errorf("%w: logical type %s", ErrUnsupported, logicalPythonAny)
		}
		n, err := compileElement(t.LogicalType.GetRepresentation(), depth+1)
		if err != nil {
			return nil, fmt.Errorf("logical type %q: %w", t.LogicalType.GetUrn(), err)
		}
		return n, nil
	}
	return nil, errors.New("field has no type")
}

func compileArray(elem *pipepb.FieldType, depth int) (*node, error) {
	n, err := compileElement(elem, depth)
	if err != nil {
		return nil, fmt.Errorf("array: %w", err)
	}
	return checkHeight(&node{op: opIterable, height: n.height + 1, fixed: -1, min: 4, a: n})
}

func compileAtomic(t pipepb.AtomicType) (*node, error) {
	switch t {
	case pipepb.AtomicType_BYTE:
		return fixed(1), nil
	case pipepb.AtomicType_INT16:
		// As in Beam's standard vectors; Known tells what the Go SDK does.
		return fixed(2), nil
	case pipepb.AtomicType_INT32, pipepb.AtomicType_INT64:
		return leaf(opVarint, 1), nil
	case pipepb.AtomicType_FLOAT:
		return fixed(4), nil
	case pipepb.AtomicType_DOUBLE:
		return fixed(8), nil
	case pipepb.AtomicType_STRING, pipepb.AtomicType_BYTES:
		return prefixed(), nil
	case pipepb.AtomicType_BOOLEAN:
		return leaf(opBool, 1), nil
	}
	return nil, fmt.Errorf("%w: atomic type %v", ErrUnsupported, t)
}
