package coders

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

const (
	chunked = "\xff\xff\xff\xff"                         // an iterable's count of -1
	minus1  = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" // the varint -1
	huge    = "\xff\xff\xff\xff\xff\xff\xff\xff\x7f"     // the varint MaxInt64
	time0   = "\x80\x00\x00\x00\x00\x00\x00\x00"
)

func TestSkip(t *testing.T) {
	tests := []struct {
		coder, bytes string
		// n is the element's size, if err is nil.
		n   int
		err error
	}{
		{"bytes", "\x00", 1, nil},
		{"bytes", "\x03abcd", 4, nil},
		{"bytes", "\x80\x01" + strings.Repeat("x", 130), 130, nil},
		{"bytes", "\x83\x00abcd", 5, nil}, // a length longer than it need be
		{"bytes", "", 0, ErrShort},
		{"bytes", "\x80", 0, ErrShort},
		{"bytes", "\x03ab", 0, ErrShort},
		{"bytes", "\xff\xff\xff\xff\x07", 0, ErrShort},   // 2 GiB - 1
		{"bytes", "\x80\x80\x80\x80\x08", 0, ErrCorrupt}, // 2 GiB
		{"bytes", huge, 0, ErrCorrupt},
		{"bytes", minus1, 0, ErrCorrupt},
		{"string", "\x02\xc3\xbf!", 3, nil},
		{"lp(secret)", "\x02??", 3, nil},
		{"lp", "\x02??", 3, nil},

		{"varint", "\x00\x00", 1, nil},
		{"varint", "\xc8\x01", 2, nil},
		{"varint", minus1 + "\x00", 10, nil},
		{"varint", "\x80\x80", 0, ErrShort},
		{"varint", "\xff\xff\xff\xff\xff\xff\xff\xff\xff", 0, ErrShort},
		{"varint", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 0, ErrCorrupt},
		{"varint", "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 0, ErrCorrupt},

		{"bool", "\x00", 1, nil},
		{"bool", "\x01\x01", 1, nil},
		{"bool", "\x02", 0, ErrCorrupt},
		{"bool", "", 0, ErrShort},
		{"double", "12345678", 8, nil},
		{"double", "1234567", 0, ErrShort},

		{"kv(bytes,varint)", "\x01k\x05!", 3, nil},
		{"kv(bytes,bytes)", "\x01k\x00!", 3, nil},
		{"kv(bytes,bytes)", "\x01k", 0, ErrShort},
		{"kv(double,double)", "1234567812345678!", 16, nil},
		{"kv(double,double)", "123456781234567", 0, ErrShort},
		{"kv(kv(bool,bool),bool)", "\x00\x01\x02", 0, ErrCorrupt},

		{"iterable(bytes)", "\x00\x00\x00\x00!", 4, nil},
		{"iterable(bytes)", "\x00\x00\x00\x02\x01a\x00!", 7, nil},
		{"iterable(bytes)", "\x00\x00\x00\x02\x01a", 0, ErrShort},
		{"iterable(bytes)", "\x7f\xff\xff\xff\x01a", 0, ErrShort},
		{"iterable(bytes)", "\xff\xff\xff\xfe", 0, ErrCorrupt},
		{"iterable(double)", "\x00\x00\x00\x0212345678123456781", 20, nil},
		{"iterable(double)", "\x00\x00\x00\x02123456781234567", 0, ErrShort},
		{"iterable(bool)", "\x00\x00\x00\x02\x01\x02", 0, ErrCorrupt},
		{"iterable(global)", "\x7f\xff\xff\xff", 4, nil},
		{"iterable(bytes)", chunked + "\x00!", 5, nil},
		{"iterable(bytes)", chunked + "\x01\x01a\x02\x00\x00\x00!", 11, nil},
		{"iterable(bytes)", chunked + "\x01\x01a", 0, ErrShort},
		{"iterable(bytes)", chunked + huge, 0, ErrShort},
		{"iterable(global)", chunked + huge + "\x00", 14, nil},
		{"iterable(bytes)", chunked + "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", 0, ErrCorrupt},
		{"iterable(varint)", chunked + "\x01\x07" + minus1 + "\x05token!", 22, nil},
		{"sbi(varint)", chunked + minus1 + "\x05token!", 20, nil},
		{"sbi(varint)", chunked + minus1 + "\x05toke", 0, ErrShort},
		{"sbi(varint)", chunked + minus1 + minus1, 0, ErrCorrupt},
		{"kv(bytes,iterable(iterable(bool)))", "\x00\x00\x00\x00\x01\x00\x00\x00\x01\x01", 10, nil},

		{"nullable(bytes)", "\x00\x01", 1, nil},
		{"nullable(bytes)", "\x01\x01a!", 3, nil},
		{"nullable(bytes)", "\x02\x01a", 0, ErrCorrupt},
		{"nullable(bytes)", "\x01", 0, ErrShort},
		{"sharded(varint)", "\x02id\x07!", 4, nil},

		{"global", "!", 0, nil},
		{"interval", time0 + "\x0a!", 9, nil},
		{"custom(lp(mine))", time0 + "\x02ab!", 11, nil},

		{"wv(varint,global)", time0 + "\x00\x00\x00\x01\x0f\x07!", 14, nil},
		{"wv(varint,global)", time0 + "\x00\x00\x00\x00\x0f\x07!", 14, nil},
		{"wv(varint,global)", time0 + "\x00\x00\x00\x02\x0f\x07!", 0, ErrCorrupt},
		{"wv(varint,global)", time0 + chunked + "\x0f\x07!", 0, ErrCorrupt},
		{"wv(varint,global)", time0 + "\x00\x00\x00\x01\x14\x80\x01\x07!", 16, nil},
		{"wv(varint,global)", time0 + "\x00\x00\x00\x01\x28\x80\x01\x02\x07!", 17, nil},
		{"wv(varint,global)", time0 + "\x00\x00\x00\x01\x38\x80\x01\x02\x07!", 0, ErrCorrupt},
		{"wv(varint,interval)", time0 + "\x00\x00\x00\x02" + time0 + "\x01" + time0 + "\x80\x01\x0f\x07!", 33, nil},
		{"wv(varint,interval)", time0 + "\x7f\xff\xff\xff" + time0 + "\x01", 0, ErrShort},

		{"timer(bytes,global)", "\x01k\x00\x00\x00\x00\x01\x01!", 8, nil},
		{"timer(bytes,global)", "\x01k\x02id\x00\x00\x00\x01\x00" + time0 + time0 + "\x0f!", 27, nil},
		{"timer(bytes,global)", "\x01k\x02id\x00\x00\x00\x01\x02" + time0 + time0 + "\x0f!", 0, ErrCorrupt},
		{"timer(bytes,global)", "\x01k" + minus1, 0, ErrCorrupt},
		{"timer(bytes,global)", "\x01k\x7fid", 0, ErrShort},
		{"timer(bytes,global)", "\x01k\x04id", 0, ErrShort},
	}
	for _, test := range tests {
		// Clipped: room behind the bytes would hide a read of it.
		n, err := compile(test.coder).Skip(slices.Clip([]byte(test.bytes)))
		if n != test.n || !errors.Is(err, test.err) || err != nil && test.err == nil {
			t.Errorf("%s: Skip(%q) = %d, %v; want %d, %v", test.coder, test.bytes, n, err, test.n, test.err)
		}
		if test.err != nil {
			continue
		}
		for cut := range test.n {
			if n, err := compile(test.coder).Skip([]byte(test.bytes[:cut])); err != ErrShort {
				t.Errorf("%s: Skip(%q) = %d, %v; want ErrShort", test.coder, test.bytes[:cut], n, err)
			}
		}
	}
}

// field makes a schema's field of an atomic type.
func field(name string, a pipepb.AtomicType, nullable bool) *pipepb.Field {
	return &pipepb.Field{Name: name, Type: &pipepb.FieldType{
		Nullable: nullable,
		TypeInfo: &pipepb.FieldType_AtomicType{AtomicType: a},
	}}
}

func compileSchema(s *pipepb.Schema) (*Scanner, error) {
	payload := must(proto.Marshal(s))
	return Compile(map[string]*pipepb.Coder{"row": {Spec: &pipepb.FunctionSpec{Urn: urnRow, Payload: payload}}}, "row")
}

func TestSkipRow(t *testing.T) {
	s := &pipepb.Schema{Fields: []*pipepb.Field{
		field("a", pipepb.AtomicType_STRING, true),
		field("b", pipepb.AtomicType_FLOAT, true),
		field("c", pipepb.AtomicType_BOOLEAN, false),
	}}
	reordered := proto.Clone(s).(*pipepb.Schema)
	reordered.EncodingPositionsSet = true
	for i, f := range reordered.Fields {
		f.EncodingPosition = int32((i + 2) % 3)
	}
	mapped := &pipepb.Schema{Fields: []*pipepb.Field{{Name: "m", Type: &pipepb.FieldType{
		TypeInfo: &pipepb.FieldType_MapType{MapType: &pipepb.MapType{
			KeyType:   field("", pipepb.AtomicType_STRING, false).Type,
			ValueType: field("", pipepb.AtomicType_INT32, true).Type,
		}},
	}}}}
	tests := []struct {
		schema *pipepb.Schema
		bytes  string
		n      int
		err    error
	}{
		{s, "\x03\x00\x01xffff\x01!", 9, nil},
		{s, "\x03\x01\x02\x01x\x01!", 6, nil},
		{s, "\x03\x01\x03\x01!", 4, nil},
		{s, "\x03\x01\x07!", 3, nil},                 // null where the schema has none: Go does it
		{s, "\x01\x00\x01x!", 4, nil},                // a writer of one field
		{s, "\x00\x00!", 2, nil},                     // of none
		{s, "\x04\x00\x01xffff\x01!", 0, ErrCorrupt}, // of one more
		{s, "\x03\x02\x00\x00\x01xffff\x01!", 0, ErrCorrupt},
		{s, "\x03" + huge, 0, ErrCorrupt},
		{s, minus1, 0, ErrCorrupt},
		{s, "\x03\x00\x01xffff\x02!", 0, ErrCorrupt},
		{s, "\x03\x01", 0, ErrShort},
		{reordered, "\x03\x00ffff\x01\x01x!", 9, nil},
		{reordered, "\x03\x01\x04ffff\x01!", 0, ErrCorrupt},
		{mapped, "\x01\x00\x00\x00\x00\x02\x01a\x00\x01b\x01\x07!", 13, nil},
		{mapped, "\x01\x00\x00\x00\x00\x02\x01a\x00\x01b\x01", 0, ErrShort},
		{mapped, "\x01\x00" + chunked + "\x00", 0, ErrCorrupt},
	}
	for _, test := range tests {
		n, err := must(compileSchema(test.schema)).Skip([]byte(test.bytes))
		if n != test.n || !errors.Is(err, test.err) || err != nil && test.err == nil {
			t.Errorf("Skip(%q) = %d, %v; want %d, %v", test.bytes, n, err, test.n, test.err)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	coder := func(urn string, parts ...string) *pipepb.Coder {
		return &pipepb.Coder{Spec: &pipepb.FunctionSpec{Urn: urn}, ComponentCoderIds: parts}
	}
	deep := func(levels int, leaf string) string {
		return strings.Repeat("nullable(", levels) + leaf + strings.Repeat(")", levels)
	}
	deepCoders, deepID := parse(deep(maxDepth, "bytes"))
	rowOf := func(s *pipepb.Schema) map[string]*pipepb.Coder {
		c := coder(urnRow)
		c.Spec.Payload = must(proto.Marshal(s))
		return map[string]*pipepb.Coder{"a": c}
	}
	nested := &pipepb.FieldType{TypeInfo: &pipepb.FieldType_AtomicType{AtomicType: pipepb.AtomicType_INT64}}
	for range maxDepth {
		nested = &pipepb.FieldType{TypeInfo: &pipepb.FieldType_ArrayType{ArrayType: &pipepb.ArrayType{ElementType: nested}}}
	}
	positions := &pipepb.Schema{EncodingPositionsSet: true, Fields: []*pipepb.Field{
		field("x", pipepb.AtomicType_STRING, false), field("y", pipepb.AtomicType_STRING, false),
	}}
	logical := func(urn string) *pipepb.Schema {
		return &pipepb.Schema{Fields: []*pipepb.Field{{Name: "x", Type: &pipepb.FieldType{
			TypeInfo: &pipepb.FieldType_LogicalType{LogicalType: &pipepb.LogicalType{Urn: urn}},
		}}}}
	}
	badRow := coder(urnRow)
	badRow.Spec.Payload = []byte("\xff")
	tests := []struct {
		name        string
		coders      map[string]*pipepb.Coder
		id          string
		want        string
		unsupported bool
	}{
		{"missing", nil, "a", "not defined", false},
		{"nil", map[string]*pipepb.Coder{"a": nil}, "a", "not defined", false},
		{"missing component", map[string]*pipepb.Coder{"a": coder(urnNullable, "b")}, "a", `"b" is named but not defined`, false},
		{"arity", map[string]*pipepb.Coder{"a": coder(urnKV, "a")}, "a", "1 components, want 2", false},
		{"itself", map[string]*pipepb.Coder{"a": coder(urnNullable, "a")}, "a", "contains itself", false},
		{"itself, farther", map[string]*pipepb.Coder{"a": coder(urnKV, "c", "b"), "b": coder(urnIterable, "a"), "c": coder(urnBytes)}, "a", "contains itself", false},
		{"unknown", map[string]*pipepb.Coder{"a": coder("beam:coder:secret:v1")}, "a", "secret", true},
		{"no spec", map[string]*pipepb.Coder{"a": {}}, "a", "URN", true},
		{"deep", deepCoders, deepID, "deeper than 64", false},
		{"deep row", rowOf(&pipepb.Schema{Fields: []*pipepb.Field{{Name: "x", Type: nested}}}), "a", "deeper than 64", false},
		{"bad schema", map[string]*pipepb.Coder{"a": badRow}, "a", "schema of row", false},
		{"untyped field", rowOf(&pipepb.Schema{Fields: []*pipepb.Field{{Name: "x"}}}), "a", `"x": field has no type`, false},
		{"positions", rowOf(positions), "a", "taken or out of range", false},
		{"static rows", rowOf(&pipepb.Schema{Options: []*pipepb.Option{{Name: optionStaticEncoding}}}), "a", "static", true},
		{"pickled field", rowOf(logical(logicalPythonAny)), "a", "any", true},
		{"unrepresented field", rowOf(logical("mine")), "a", "field has no type", false},
	}
	for _, test := range tests {
		_, err := Compile(test.coders, test.id)
		if err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, ErrUnsupported) != test.unsupported {
			t.Errorf("%s: %v; want %q, unsupported %v", test.name, err, test.want, test.unsupported)
		}
	}
	if _, err := Compile(parse(deep(maxDepth-1, "bytes"))); err != nil {
		t.Errorf("%d levels: %v", maxDepth, err)
	}
}

// Each of 62 pairs is of the one below, twice: 2^62 leaves, if nodes were not shared
// and sizes not bounded.
func TestPairsOfPairs(t *testing.T) {
	for _, leaf := range []string{urnBool, urnDouble, urnGlobalWindow} {
		coders := map[string]*pipepb.Coder{"c0": {Spec: &pipepb.FunctionSpec{Urn: leaf}}}
		for i := 1; i <= 62; i++ {
			below := fmt.Sprintf("c%d", i-1)
			coders[fmt.Sprintf("c%d", i)] = &pipepb.Coder{Spec: &pipepb.FunctionSpec{Urn: urnKV}, ComponentCoderIds: []string{below, below}}
		}
		coders["all"] = &pipepb.Coder{Spec: &pipepb.FunctionSpec{Urn: urnIterable}, ComponentCoderIds: []string{"c62"}}
		for _, id := range []string{"c62", "all"} {
			s := must(Compile(coders, id))
			b := make([]byte, 1000)
			b[3] = 1
			if id == "c62" {
				b[3] = 0
			}
			n, err := s.Skip(b)
			if leaf == urnGlobalWindow {
				if err != nil || n > 4 {
					t.Errorf("%s of %s: %d, %v", id, leaf, n, err)
				}
			} else if err != ErrShort {
				t.Errorf("%s of %s: %d, %v; want ErrShort", id, leaf, n, err)
			}
		}
	}
}

func TestKnown(t *testing.T) {
	for urn, want := range map[string]bool{
		urnBytes: true, urnKV: true, urnCustomWindow: true, urnTimer: true,
		urnRow: false, "": false, "beam:coder:pickled_python:v1": false,
	} {
		if Known(urn) != want {
			t.Errorf("Known(%q) = %v", urn, !want)
		}
	}
	// Whatever is known compiles, given components.
	for name, urn := range shorthand {
		expr := name
		switch urn {
		case urnKV, urnTimer, urnWindowedValue:
			expr += "(bytes,global)"
		case urnIterable, urnStateBackedIterable, urnNullable, urnShardedKey, urnCustomWindow:
			expr += "(bytes)"
		}
		if _, err := Compile(parse(expr)); err != nil || !Known(urn) {
			t.Errorf("%s: known %v, %v", expr, Known(urn), err)
		}
	}
}

func TestVarintBounds(t *testing.T) {
	for _, v := range []int64{0, 1, 127, 128, math.MaxInt64, math.MinInt64, -1} {
		b := AppendVarint(nil, v)
		got, n, err := ReadVarint(append(b, 0xff))
		if got != v || n != len(b) || n > MaxVarint || err != nil {
			t.Errorf("%d: %x reads as %d, %d, %v", v, b, got, n, err)
		}
	}
}
