package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/typex"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
)

func init() {
	register.DoFn4x1[context.Context, Record, func(beam.Y), func(DeadLetter), error](&decodeValues{})
	register.DoFn4x1[context.Context, Record, func(beam.X, beam.Y), func(DeadLetter), error](&decodePairs{})
	register.DoFn4x1[context.Context, beam.Y, func(Record), func(DeadLetter), error](&encodeValues{})
	register.DoFn5x1[context.Context, beam.X, beam.Y, func(Record), func(DeadLetter), error](&encodePairs{})
	register.Emitter1[beam.Y]()
	register.Emitter2[beam.X, beam.Y]()
}

// coding is how records become values and back. It travels in the pipeline.
type coding struct {
	Value Format
	// Key is nil if keys are left out.
	Key *Format
	// Strict fails a bundle where else a record is put aside.
	Strict bool

	value, key codec
}

// CodingOption is an option of Decode, Encode and the like.
type CodingOption func(*coding)

// WithKeys decodes, or encodes, keys too: the collection is one of KVs.
func WithKeys(f Format) CodingOption { return func(c *coding) { c.Key = &f } }

// Decode turns records into their values, or with WithKeys into KVs. A value that
// is not of the format, or a record without a value (a tombstone), fails its bundle, for ever: where that can be, use
// TryDecode. A record without a key has the key type's zero value. It panics if a
// format is incomplete.
func Decode(s beam.Scope, records beam.PCollection, value Format, opts ...CodingOption) beam.PCollection {
	values, _ := decode(s.Scope("kafkaio.Decode"), records, value, true, opts)
	return values
}

// TryDecode is Decode, but what fails there is put aside, as a collection of DeadLetters.
func TryDecode(s beam.Scope, records beam.PCollection, value Format, opts ...CodingOption) (values, letters beam.PCollection) {
	return decode(s.Scope("kafkaio.TryDecode"), records, value, false, opts)
}

// Encode turns values, or with WithKeys KVs, into records to write, without a topic. A value
// that has no encoding fails its bundle. It panics if a format is incomplete, or isn't the collection's.
func Encode(s beam.Scope, values beam.PCollection, value Format, opts ...CodingOption) beam.PCollection {
	records, _ := encode(s.Scope("kafkaio.Encode"), values, value, true, opts)
	return records
}

// TryEncode is Encode, but what fails there is put aside, as a collection of DeadLetters. Since
// it has no encoding, a letter has its text instead, as fmt's %+v prints it.
func TryEncode(s beam.Scope, values beam.PCollection, value Format, opts ...CodingOption) (records, letters beam.PCollection) {
	return encode(s.Scope("kafkaio.TryEncode"), values, value, false, opts)
}

func newCoding(value Format, strict bool, opts []CodingOption, check func(*Format) error) coding {
	c := coding{Value: value, Strict: strict}
	for _, o := range opts {
		o(&c)
	}
	err := check(&c.Value)
	if c.Key != nil {
		err = errors.Join(err, check(c.Key))
	}
	if err != nil {
		panic(err)
	}
	return c
}

func decode(s beam.Scope, records beam.PCollection, value Format, strict bool, opts []CodingOption) (values, letters beam.PCollection) {
	c := newCoding(value, strict, opts, (*Format).check)
	y := beam.TypeDefinition{Var: beam.YType, T: c.Value.Type.T}
	if c.Key == nil {
		return beam.ParDo2(s, &decodeValues{c}, records, y)
	}
	return beam.ParDo2(s, &decodePairs{c}, records, beam.TypeDefinition{Var: beam.XType, T: c.Key.Type.T}, y)
}

func encode(s beam.Scope, values beam.PCollection, value Format, strict bool, opts []CodingOption) (records, letters beam.PCollection) {
	c := newCoding(value, strict, opts, (*Format).canWrite)
	if c.Key == nil {
		mustBe(values.Type(), c.Value.Type.T)
		return beam.ParDo2(s, &encodeValues{c}, values)
	}
	if !typex.IsKV(values.Type()) {
		panic(fmt.Errorf("kafkaio: WithKeys: a collection of %v has no keys", values.Type()))
	}
	parts := values.Type().Components()
	mustBe(parts[0], c.Key.Type.T)
	mustBe(parts[1], c.Value.Type.T)
	return beam.ParDo2(s, &encodePairs{c}, values)
}

func mustBe(is beam.FullType, want reflect.Type) {
	if is.Type() != want {
		panic(fmt.Errorf("kafkaio: a format of %v can't write %v", want, is))
	}
}

// Setup is called by the SDK before the first bundle.
func (c *coding) Setup() (err error) {
	if c.value, err = c.Value.codec(); err != nil {
		return err
	}
	if c.Key != nil {
		c.key, err = c.Key.codec()
	}
	return err
}

// aside puts a record aside if that may be done about err, or returns an error.
func (c *coding) aside(r Record, what string, err error, bad func(DeadLetter)) error {
	var p poison
	err = fmt.Errorf("%s: %w", what, err)
	if !c.Strict && errors.As(err, &p) {
		bad(DeadLetter{Record: r, Cause: err.Error()})
		return nil
	}
	if r.Topic == "" {
		return fmt.Errorf("kafkaio: %w", err)
	}
	return fmt.Errorf("kafkaio: topic %s, partition %d, offset %d: %w", r.Topic, r.Partition, r.Offset, err)
}

var errTombstone = poison{errors.New("the record has none: it is a tombstone")}

func (c *coding) decodeValue(ctx context.Context, r *Record) (any, error) {
	if r.Tombstone {
		return nil, errTombstone
	}
	return c.value.decode(ctx, r.Value)
}

func (c *coding) decodeKey(ctx context.Context, r *Record) (any, error) {
	if r.NoKey {
		return c.key.zero(), nil
	}
	return c.key.decode(ctx, r.Key)
}

type decodeValues struct{ coding }

func (f *decodeValues) ProcessElement(ctx context.Context, r Record, emit func(beam.Y), bad func(DeadLetter)) error {
	v, err := f.decodeValue(ctx, &r)
	if err != nil {
		return f.aside(r, "value", err, bad)
	}
	emit(v)
	return nil
}

type decodePairs struct{ coding }

func (f *decodePairs) ProcessElement(ctx context.Context, r Record, emit func(beam.X, beam.Y), bad func(DeadLetter)) error {
	k, err := f.decodeKey(ctx, &r)
	if err != nil {
		return f.aside(r, "key", err, bad)
	}
	v, err := f.decodeValue(ctx, &r)
	if err != nil {
		return f.aside(r, "value", err, bad)
	}
	emit(k, v)
	return nil
}

type encodeValues struct{ coding }

func (f *encodeValues) ProcessElement(ctx context.Context, v beam.Y, emit func(Record), bad func(DeadLetter)) error {
	r := Record{NoKey: true}
	var err error
	if r.Value, err = f.value.encode(ctx, v); err != nil {
		r.Value = fmt.Appendf(nil, "%+v", v)
		return f.aside(r, "value", err, bad)
	}
	emit(r)
	return nil
}

type encodePairs struct{ coding }

func (f *encodePairs) ProcessElement(ctx context.Context, k beam.X, v beam.Y, emit func(Record), bad func(DeadLetter)) error {
	var r Record
	var keyErr, err error
	if r.Key, keyErr = f.key.encode(ctx, k); keyErr != nil {
		r.Key = fmt.Appendf(nil, "%+v", k)
	}
	if r.Value, err = f.value.encode(ctx, v); err != nil {
		r.Value = fmt.Appendf(nil, "%+v", v)
	}
	switch {
	case keyErr != nil:
		return f.aside(r, "key", keyErr, bad)
	case err != nil:
		return f.aside(r, "value", err, bad)
	}
	emit(r)
	return nil
}
