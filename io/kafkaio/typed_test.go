package kafkaio_test

import (
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"context"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/summerbeam/summerbeam/io/kafkaio"
	"github.com/summerbeam/summerbeam/runner/beamrunner"
)

// click is what the tests write and read.
type click struct {
	User  string  `json:"user" avro:"user"`
	Price float64 `json:"price" avro:"price"`
}

const clickSchema = `{"type": "record", "name": "Click", "fields": [{"name": "user", "type": "string"}, {"name": "price", "type": "double", "default": 1}]}`

const timestampSchema = `syntax = "proto3"; package google.protobuf; message Timestamp { int64 seconds = 1; int32 nanos = 2; }`

func init() {
	beam.RegisterType(reflect.TypeFor[click]())
	beam.RegisterType(reflect.TypeFor[timestamppb.Timestamp]())
	register.Function2x1(pairText)
	register.Function1x1(clickText)
	register.Function1x1(momentText)
	register.Function1x2(clickOf)
	register.Function1x1(justClick)
	register.Function1x1(moment)
	register.Function1x1(letterFrom)
}

func pairText(user string, c click) string { return fmt.Sprintf("%q: %+v", user, c) }
func clickText(c click) string             { return fmt.Sprintf("%+v", c) }
func momentText(m *timestamppb.Timestamp) string {
	return m.AsTime().Format(time.RFC3339)
}

func clickOf(r kafkaio.Record) (string, click) { return string(r.Key), justClick(r) }

// justClick is a click of the user that a value names; that of "nobody" has no JSON.
func justClick(r kafkaio.Record) click {
	c := click{User: string(r.Value), Price: 2.5}
	if c.User == "nobody" {
		c.Price = math.NaN()
	}
	return c
}

func moment(r kafkaio.Record) *timestamppb.Timestamp { return timestamppb.New(r.Time()) }

func letterFrom(l kafkaio.DeadLetter) string {
	return fmt.Sprintf("%d %q=%q: %s", l.Record.Offset, l.Record.Key, l.Record.Value, l.Cause)
}

// TestDecode: values and keys are decoded, and what isn't of the format is put aside.
func TestDecode(t *testing.T) {
	on(t, func(t *testing.T, run func(context.Context, *beam.Pipeline) error) {
		b := newBroker(t, 1, "in")
		b.produce(rec("in", 0, "a", `{"user": "ann", "price": 1.5}`, 1000), rec("in", 0, "b", `{"user": `, 1000))
		b.produce(&kgo.Record{Topic: "in", Key: []byte("c")}, &kgo.Record{Topic: "in", Value: []byte(`{"user": "dan"}`)})
		p, s := beam.NewPipelineWithRoot()
		in := kafkaio.Read(s, b.cluster, kafkaio.Topics("in"), kafkaio.Until(kafkaio.Latest()))
		pairs, letters := kafkaio.TryDecode(s, in, kafkaio.JSON[click](), kafkaio.WithKeys(kafkaio.Strings()))
		passert.Equals(s, beam.ParDo(s, pairText, pairs), `"a": {User:ann Price:1.5}`, `"": {User:dan Price:0}`)
		passert.Equals(s, beam.ParDo(s, letterFrom, letters),
			`1 "b"="{\"user\": ": value: unexpected end of JSON input`, `2 "c"="": value: the record has none: it is a tombstone`)
		values, _ := kafkaio.TryDecode(s, in, kafkaio.JSON[click]())
		passert.Equals(s, beam.ParDo(s, clickText, values), `{User:ann Price:1.5}`, `{User:dan Price:0}`)
		if err := run(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	})
}

// TestPoisonFails: without letters a value that isn't of the format fails the job, which says
// where it is.
func TestPoisonFails(t *testing.T) {
	b := newBroker(t, 1, "in")
	b.produce(rec("in", 0, "a", `{}`, 1000), rec("in", 0, "b", `{"user": `, 1000))
	p, s := beam.NewPipelineWithRoot()
	in := kafkaio.Read(s, b.cluster, kafkaio.Topics("in"), kafkaio.Until(kafkaio.Latest()))
	kafkaio.Decode(s, in, kafkaio.JSON[click]())
	_, err := beamrunner.Execute(t.Context(), p)
	if err == nil || !strings.Contains(err.Error(), "topic in, partition 0, offset 1: value: unexpected end of JSON input") {
		t.Errorf("got %v, want to hear where the poisoned record is", err)
	}
}

// TestEncode: what has no encoding is put aside, the rest written.
func TestEncode(t *testing.T) {
	b := newBroker(t, 1, "in", "out")
	b.produce(rec("in", 0, "a", "ann", 1000), rec("in", 0, "b", "nobody", 1000))
	p, s := beam.NewPipelineWithRoot()
	in := kafkaio.Read(s, b.cluster, kafkaio.Topics("in"), kafkaio.Until(kafkaio.Latest()))
	records, letters := kafkaio.TryEncode(s, beam.ParDo(s, clickOf, in), kafkaio.JSON[click](), kafkaio.WithKeys(kafkaio.Strings()))
	passert.Equals(s, beam.ParDo(s, letterFrom, letters), `0 "b"="{User:nobody Price:NaN}": value: json: unsupported value: NaN`)
	kafkaio.Write(s, b.cluster, records, kafkaio.Topic("out"))
	if _, err := beamrunner.Execute(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got := b.all("out"); !slices.Equal(got, []string{`{"user":"ann","price":2.5}`}) {
		t.Errorf("wrote %q", got)
	}
}

// newRegistry is a registry in this process that wants a password, which a file has.
func newRegistry(t *testing.T) (*srfake.Registry, kafkaio.Registry) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	fake := srfake.New(srfake.WithAuth("Basic " + base64.StdEncoding.EncodeToString([]byte("ann:secret"))))
	t.Cleanup(fake.Close)
	return fake, kafkaio.Registry{URLs: []string{fake.URL()}, User: "ann", Password: kafkaio.Secret{File: file}}
}

// TestRegistry: Avro and Protobuf are written as Confluent's consumers expect them, read back, and read
// by the schema they were written by.
func TestRegistry(t *testing.T) {
	fake, registry := newRegistry(t)
	// Somebody else's schema has a field that ours doesn't know, and lacks one that it does.
	fake.SeedSchema("old-value", 1, 40, sr.Schema{Type: sr.TypeAvro,
		Schema: `{"type": "record", "name": "Click", "fields": [{"name": "page", "type": "string"}, {"name": "user", "type": "string"}]}`})
	b := newBroker(t, 1, "in", "avro", "proto")
	b.produce(rec("in", 0, "a", "ann", 1000))
	avro := kafkaio.Avro[click](registry).WithSchema("avro-value", clickSchema)
	proto := kafkaio.Protobuf[*timestamppb.Timestamp](registry).WithSchema("proto-value", timestampSchema)

	p, s := beam.NewPipelineWithRoot()
	in := kafkaio.Read(s, b.cluster, kafkaio.Topics("in"), kafkaio.Until(kafkaio.Latest()))
	kafkaio.Write(s, b.cluster, kafkaio.Encode(s, beam.ParDo(s, justClick, in), avro), kafkaio.Topic("avro"))
	kafkaio.Write(s, b.cluster, kafkaio.Encode(s, beam.ParDo(s, moment, in), proto), kafkaio.Topic("proto"))
	if _, err := beamrunner.Execute(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	id := 0
	if known, ok := fake.GetSchema("avro-value", 1); ok {
		id = known.ID
	}
	if got, want := b.all("avro")[0], fmt.Sprintf("\x00\x00\x00\x00%c\x06ann\x00\x00\x00\x00\x00\x00\x04\x40", id); got != want || id == 0 {
		t.Errorf("wrote %q by schema %d, want %q", got, id, want)
	}

	b.produce(
		&kgo.Record{Topic: "avro", Value: []byte("\x00\x00\x00\x00\x28\x08home\x06eve")}, // by schema 40
		&kgo.Record{Topic: "avro", Value: []byte("{}")},
		&kgo.Record{Topic: "avro", Value: []byte("\x00\x00\x00\x00\x63\x06ann")}, // by schema 99
		&kgo.Record{Topic: "avro", Value: []byte(b.all("avro")[0][:9])})
	b.produce(&kgo.Record{Topic: "proto", Value: []byte(strings.Replace(b.all("proto")[0], "\x00\x08", "\x02\x02\x08", 1))}) // message 1
	p, s = beam.NewPipelineWithRoot()
	read := func(topic string) beam.PCollection {
		return kafkaio.Read(s, b.cluster, kafkaio.Topics(topic), kafkaio.Until(kafkaio.Latest()))
	}
	clicks, letters := kafkaio.TryDecode(s, read("avro"), avro)
	passert.Equals(s, beam.ParDo(s, clickText, clicks), "{User:ann Price:2.5}", "{User:eve Price:1}")
	passert.Count(s, letters, "letters", 3)
	moments, letters := kafkaio.TryDecode(s, read("proto"), kafkaio.Protobuf[*timestamppb.Timestamp](registry))
	passert.Equals(s, beam.ParDo(s, momentText, moments), "1970-01-01T00:00:01Z")
	passert.Count(s, letters, "proto letters", 1)
	if _, err := beamrunner.Execute(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

// TestRegistryAway: a registry that answers with an error for some time is no reason to put records aside.
func TestRegistryAway(t *testing.T) {
	fake, registry := newRegistry(t)
	fake.SeedSchema("in-value", 1, 7, sr.Schema{Type: sr.TypeAvro, Schema: `"string"`})
	var refused atomic.Int32
	fake.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		if refused.Add(1) > 3 {
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	b := newBroker(t, 1, "in")
	b.produce(&kgo.Record{Topic: "in", Value: []byte("\x00\x00\x00\x00\x07\x06ann")})
	p, s := beam.NewPipelineWithRoot()
	values, letters := kafkaio.TryDecode(s, kafkaio.Read(s, b.cluster, kafkaio.Topics("in"), kafkaio.Until(kafkaio.Latest())), kafkaio.Avro[string](registry))
	passert.Equals(s, values, "ann")
	passert.Empty(s, letters)
	if _, err := beamrunner.Execute(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

// TestFormatsAreChecked: what can't work is refused while the pipeline is built.
func TestFormatsAreChecked(t *testing.T) {
	registry := kafkaio.Registry{URLs: []string{"http://localhost:1"}}
	for want, build := range map[string]func(s beam.Scope){
		"a registry without URLs": func(s beam.Scope) {
			kafkaio.Decode(s, beam.Create(s, kafkaio.Record{}), kafkaio.Avro[click](kafkaio.Registry{}))
		},
		"a password in it": func(s beam.Scope) {
			kafkaio.Decode(s, beam.Create(s, kafkaio.Record{}), kafkaio.Avro[click](kafkaio.Registry{URLs: []string{"http://ann:hunter2@localhost:1"}}))
		},
		"with WithSchema": func(s beam.Scope) { kafkaio.Encode(s, beam.Create(s, click{}), kafkaio.Avro[click](registry)) },
		"can't write":     func(s beam.Scope) { kafkaio.Encode(s, beam.Create(s, "a"), kafkaio.JSON[click]()) },
		"has no keys": func(s beam.Scope) {
			kafkaio.Encode(s, beam.Create(s, "a"), kafkaio.Strings(), kafkaio.WithKeys(kafkaio.Strings()))
		},
		"schema of kafkaio_test.click": func(s beam.Scope) {
			kafkaio.Encode(s, beam.Create(s, click{}), kafkaio.Avro[click](registry).WithSchema("s", "{"))
		},
	} {
		func() {
			defer func() {
				got := fmt.Sprint(recover())
				if !strings.Contains(got, want) || strings.Contains(got, "hunter2") {
					t.Errorf("got %q, want to read %q", got, want)
				}
			}()
			_, s := beam.NewPipelineWithRoot()
			build(s)
		}()
	}
}
