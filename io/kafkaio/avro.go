package kafkaio

import (
	"context"
	"fmt"
	"reflect"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"
)

// Avro is Avro with a schema registry, in Confluent's format: a value begins with the number of
// the schema that it was written by. It is read by that, and fields come into those of T
// that have their names (github.com/twmb/avro, which says how Avro's types and Go's go together). Give a
// schema by WithSchema to have defaults and promotions by it when reading, and in any case to write.
func Avro[T any](r Registry) Format {
	return Format{Kind: "avro", Type: beam.EncodedType{T: reflect.TypeFor[T]()}, Registry: r}
}

// WithSchema sets the schema to write by, and the subject that has it: Confluent's producers
// use the topic with "-value" or "-key" behind it. It is registered there unless it is known.
// (Avro also reads by it.)
func (f Format) WithSchema(subject, schema string) Format {
	f.Subject, f.Schema = subject, schema
	return f
}

func parseAvro(schema string) (*avro.Schema, error) { return new(avro.SchemaCache).Parse(schema) }

type avroCodec struct {
	t       reflect.Type
	schemas *schemas
	subject string
	text    string
	own     *avro.Schema // nil if there is none
	// readers decode what was written by a schema's number.
	readers map[int]*avro.Schema
}

func newAvroCodec(f *Format) (codec, error) {
	s, err := f.Registry.schemas()
	if err != nil {
		return nil, err
	}
	c := &avroCodec{t: f.Type.T, schemas: s, subject: f.Subject, text: f.Schema, readers: make(map[int]*avro.Schema)}
	if f.Schema != "" {
		c.own, err = parseAvro(f.Schema)
	}
	return c, err
}

func (c *avroCodec) zero() any { return reflect.Zero(c.t).Interface() }

func (c *avroCodec) encode(ctx context.Context, v any) ([]byte, error) {
	id, err := c.schemas.number(ctx, c.subject, c.text, sr.TypeAvro)
	if err != nil {
		return nil, err
	}
	b, _ := confluent.AppendEncode(nil, id, nil) // it has no errors
	if b, err = c.own.AppendEncode(b, v); err != nil {
		return nil, poison{err}
	}
	return b, nil
}

func (c *avroCodec) decode(ctx context.Context, b []byte) (any, error) {
	id, rest, err := cutNumber(b)
	if err != nil {
		return nil, err
	}
	reader := c.readers[id]
	if reader == nil {
		if reader, err = c.reader(ctx, id); err != nil {
			return nil, err
		}
		c.readers[id] = reader
	}
	v := reflect.New(c.t)
	rest, err = reader.Decode(rest, v.Interface())
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes are left", len(rest))
	}
	if err != nil {
		return nil, poison{fmt.Errorf("by schema %d: %w", id, err)}
	}
	return v.Elem().Interface(), nil
}

// reader is what reads values that were written by a schema.
func (c *avroCodec) reader(ctx context.Context, id int) (*avro.Schema, error) {
	writer, err := c.schemas.avro(ctx, id)
	if err != nil || c.own == nil {
		return writer, err
	}
	reader, err := avro.Resolve(writer, c.own)
	if err != nil {
		return nil, poison{fmt.Errorf("schema %d can't be read by that of subject %s: %w", id, c.subject, err)}
	}
	return reader, nil
}

// avro is a schema, with those that it refers to.
func (s *schemas) avro(ctx context.Context, id int) (*avro.Schema, error) {
	text, err := s.byNumber(ctx, id, sr.TypeAvro)
	if err != nil {
		return nil, err
	}
	var all avro.SchemaCache
	if err := s.parseReferences(ctx, &all, text.References, make(map[sr.SchemaReference]bool)); err != nil {
		return nil, fmt.Errorf("schema %d: %w", id, err)
	}
	parsed, err := all.Parse(text.Schema)
	if err != nil {
		return nil, poison{fmt.Errorf("schema %d: %w", id, err)}
	}
	return parsed, nil
}

// parseReferences parses schemas that another refers to, those first that they refer to themselves.
func (s *schemas) parseReferences(ctx context.Context, all *avro.SchemaCache, refs []sr.SchemaReference, done map[sr.SchemaReference]bool) error {
	for _, ref := range refs {
		if done[ref] {
			continue
		}
		done[ref] = true
		var known sr.SubjectSchema
		err := patiently(ctx, "the schema registry", func() (err error) {
			known, err = s.cl.SchemaByVersion(ctx, ref.Subject, ref.Version)
			return err
		})
		if err == nil {
			err = s.parseReferences(ctx, all, known.References, done)
		}
		if err == nil {
			_, err = all.Parse(known.Schema.Schema)
		}
		if err != nil {
			return fmt.Errorf("%s, version %d of subject %s: %w", ref.Name, ref.Version, ref.Subject, err)
		}
	}
	return nil
}
