package kafkaio

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/twmb/franz-go/pkg/sr"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Protobuf is protocol buffers with a schema registry, in Confluent's format: a value begins with the number of a
// schema, a .proto file, and says which of its messages it is. M is a pointer to a
// generated struct. A message is known by its place in its file: a value of another place is not an M.
// To write, give the file's text by WithSchema.
func Protobuf[M proto.Message](r Registry) Format {
	return Format{Kind: "protobuf", Type: beam.EncodedType{T: reflect.TypeFor[M]()}, Registry: r}
}

type protoCodec struct {
	message protoreflect.MessageType
	// index is where the message is in its file.
	index   []int
	schemas *schemas
	subject string
	text    string
}

func newProtoCodec(f *Format) (codec, error) {
	m, ok := reflect.Zero(f.Type.T).Interface().(proto.Message)
	if !ok {
		return nil, fmt.Errorf("kafkaio: %v is no protobuf message", f.Type.T)
	}
	s, err := f.Registry.schemas()
	if err != nil {
		return nil, err
	}
	t := m.ProtoReflect().Type()
	var index []int
	for d := protoreflect.Descriptor(t.Descriptor()); d.Parent() != nil; d = d.Parent() {
		index = append(index, d.Index())
	}
	slices.Reverse(index)
	return &protoCodec{message: t, index: index, schemas: s, subject: f.Subject, text: f.Schema}, nil
}

func (c *protoCodec) zero() any { return c.message.New().Interface() }

func (c *protoCodec) encode(ctx context.Context, v any) ([]byte, error) {
	id, err := c.schemas.number(ctx, c.subject, c.text, sr.TypeProtobuf)
	if err != nil {
		return nil, err
	}
	b, _ := confluent.AppendEncode(nil, id, c.index) // it has no errors
	if b, err = (proto.MarshalOptions{}).MarshalAppend(b, v.(proto.Message)); err != nil {
		return nil, poison{err}
	}
	return b, nil
}

func (c *protoCodec) decode(ctx context.Context, b []byte) (any, error) {
	id, rest, err := cutNumber(b)
	if err != nil {
		return nil, err
	}
	if _, err := c.schemas.byNumber(ctx, id, sr.TypeProtobuf); err != nil {
		return nil, err
	}
	index, rest, err := confluent.DecodeIndex(rest, 64)
	if err != nil {
		return nil, poison{fmt.Errorf("which message of schema %d it is: %w", id, err)}
	}
	if !slices.Equal(index, c.index) {
		return nil, poison{fmt.Errorf("it is message %v of schema %d, and %s is %v of its file", index, id, c.message.Descriptor().FullName(), c.index)}
	}
	m := c.message.New().Interface()
	if err := proto.Unmarshal(rest, m); err != nil {
		return nil, poison{err}
	}
	return m, nil
}
