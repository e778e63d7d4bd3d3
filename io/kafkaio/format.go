package kafkaio

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
)

// Format is how values of a Go type are written as the bytes of keys and values of records. Strings, Bytes,
// JSON, Avro and Protobuf make one; its fields are exported because it travels in the
// pipeline. A type of the user's own must be registered (beam.RegisterType), as all types of
// elements.
type Format struct {
	Kind string
	Type beam.EncodedType
	// Registry, Subject and Schema are for formats with schemas.
	Registry Registry
	Subject  string
	Schema   string
}

// Strings is text, as it is.
func Strings() Format {
	return Format{Kind: "string", Type: beam.EncodedType{T: reflect.TypeFor[string]()}}
}

// Bytes is bytes, as they are.
func Bytes() Format {
	return Format{Kind: "bytes", Type: beam.EncodedType{T: reflect.TypeFor[[]byte]()}}
}

// JSON is JSON as encoding/json has it.
func JSON[T any]() Format {
	return Format{Kind: "json", Type: beam.EncodedType{T: reflect.TypeFor[T]()}}
}

// codec is a format at work. Its errors are the cluster's or the registry's, which fail a
// bundle, but those of poison.
type codec interface {
	encode(ctx context.Context, v any) ([]byte, error)
	decode(ctx context.Context, b []byte) (any, error)
	// zero is what a missing key is decoded to.
	zero() any
}

// poison is the error of a value that will never be decoded, or encoded.
type poison struct{ error }

func (p poison) Unwrap() error { return p.error }

func (f *Format) check() error {
	if f.Type.T == nil {
		return fmt.Errorf("kafkaio: a format without a type: use Strings, Bytes, JSON, Avro or Protobuf")
	}
	switch f.Kind {
	case "string", "bytes", "json":
		return nil
	case "avro", "protobuf":
		if err := f.Registry.check(); err != nil {
			return err
		}
		if f.Schema != "" && f.Kind == "avro" {
			if _, err := parseAvro(f.Schema); err != nil {
				return fmt.Errorf("kafkaio: schema of %v: %w", f.Type.T, err)
			}
		}
		return nil
	}
	return fmt.Errorf("kafkaio: a format of kind %q: use Strings, Bytes, JSON, Avro or Protobuf", f.Kind)
}

// canWrite says what is missing for a format to be written.
func (f *Format) canWrite() error {
	if (f.Kind == "avro" || f.Kind == "protobuf") && (f.Subject == "" || f.Schema == "") {
		return fmt.Errorf("kafkaio: %v is to be written by a schema: say which, and under which subject, with WithSchema", f.Type.T)
	}
	return f.check()
}

func (f *Format) codec() (codec, error) {
	switch f.Kind {
	case "string":
		return stringCodec{}, nil
	case "bytes":
		return bytesCodec{}, nil
	case "json":
		return jsonCodec{f.Type.T}, nil
	case "avro":
		return newAvroCodec(f)
	case "protobuf":
		return newProtoCodec(f)
	}
	return nil, fmt.Errorf("BUG: kafkaio: a format of kind %q", f.Kind)
}

type stringCodec struct{}

func (stringCodec) encode(_ context.Context, v any) ([]byte, error) { return []byte(v.(string)), nil }
func (stringCodec) decode(_ context.Context, b []byte) (any, error) { return string(b), nil }
func (stringCodec) zero() any                                       { return "" }

type bytesCodec struct{}

func (bytesCodec) encode(_ context.Context, v any) ([]byte, error) { return v.([]byte), nil }
func (bytesCodec) decode(_ context.Context, b []byte) (any, error) { return b, nil }
func (bytesCodec) zero() any                                       { return []byte(nil) }

type jsonCodec struct{ t reflect.Type }

func (c jsonCodec) encode(_ context.Context, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, poison{err}
	}
	return b, nil
}

func (c jsonCodec) decode(_ context.Context, b []byte) (any, error) {
	v := reflect.New(c.t)
	if err := json.Unmarshal(b, v.Interface()); err != nil {
		return nil, poison{err}
	}
	return v.Elem().Interface(), nil
}

func (c jsonCodec) zero() any { return reflect.Zero(c.t).Interface() }
