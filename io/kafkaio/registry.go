package kafkaio

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
)

// Registry is how to reach a Confluent Schema Registry. Like Cluster it travels in the pipeline, so
// it has no secrets.
type Registry struct {
	// URLs of the registry's servers, or URLsFrom where a worker finds them, with
	// commas between.
	URLs     []string
	URLsFrom Secret
	// CAFile, if set, has the certificates to trust instead of the system's, on the worker.
	CAFile string
	// User and Password log in by HTTP's basic authentication, Token as a bearer. They
	// are read again for each request.
	User     string
	Password Secret
	Token    Secret
}

func (r *Registry) check() error {
	if len(r.URLs) == 0 && r.URLsFrom == (Secret{}) {
		return errors.New("kafkaio: a registry without URLs")
	}
	if r.User != "" && r.Token != (Secret{}) {
		return errors.New("kafkaio: a registry has a user or a token, not both")
	}
	return checkURLs(r.URLs)
}

func checkURLs(urls []string) error {
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			// The error of parsing has the whole text, and there may be a password in it.
			return errors.New("kafkaio: a URL of the registry is none")
		}
		if u.User != nil {
			return fmt.Errorf("kafkaio: the registry's URL %s has a password in it: say where workers find it, with User and Password", u.Redacted())
		}
	}
	return nil
}

// registries are the process's registries, each with the schemas that it knows.
var registries struct {
	registriesMu sync.Mutex
	of           map[string]*schemas
}

// schemas are a registry's schemas, which never change: they are kept as long as the process lives.
type schemas struct {
	cl *sr.Client

	schemasMu sync.Mutex
	byID      map[int]sr.Schema
	ids       map[subjectSchema]int
}

type subjectSchema struct {
	subject, schema string
	kind            sr.SchemaType
}

// schemas returns what this process knows of the registry.
func (r *Registry) schemas() (*schemas, error) {
	id, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("BUG: kafkaio: %w", err)
	}
	registries.registriesMu.Lock()
	defer registries.registriesMu.Unlock()
	if s := registries.of[string(id)]; s != nil {
		return s, nil
	}
	cl, err := r.client()
	if err != nil {
		return nil, err
	}
	if registries.of == nil {
		registries.of = make(map[string]*schemas)
	}
	s := &schemas{cl: cl, byID: make(map[int]sr.Schema), ids: make(map[subjectSchema]int)}
	registries.of[string(id)] = s
	return s, nil
}

func (r *Registry) client() (*sr.Client, error) {
	urls := r.URLs
	if len(urls) == 0 {
		list, err := r.URLsFrom.read("the registry's URLs")
		if err != nil {
			return nil, err
		}
		urls = strings.Split(list, ",")
		if err := checkURLs(urls); err != nil {
			return nil, err
		}
	}
	conf, err := tlsConfig(r.CAFile)
	if err != nil {
		return nil, err
	}
	return sr.NewClient(sr.URLs(urls...), sr.UserAgent("summerbeam-kafkaio"), sr.PreReq(r.authenticate),
		sr.HTTPClient(&http.Client{Timeout: 30 * time.Second, Transport: transport(conf)}))
}

func transport(conf *tls.Config) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = conf
	return t
}

func (r *Registry) authenticate(req *http.Request) error {
	switch {
	case r.User != "":
		password, err := r.Password.read("the registry's password")
		if err != nil {
			return err
		}
		req.SetBasicAuth(r.User, password)
	case r.Token != (Secret{}):
		token, err := r.Token.read("the registry's token")
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return nil
}

// byNumber is the schema that the registry knows by a number.
func (s *schemas) byNumber(ctx context.Context, id int, kind sr.SchemaType) (sr.Schema, error) {
	s.schemasMu.Lock()
	known, ok := s.byID[id]
	s.schemasMu.Unlock()
	if !ok {
		err := patiently(ctx, "the schema registry", func() (err error) {
			known, err = s.cl.SchemaByID(ctx, id)
			return err
		})
		if of(err, sr.ErrSchemaNotFound) {
			return known, poison{fmt.Errorf("schema %d: the registry doesn't know it", id)}
		}
		if err != nil {
			return known, fmt.Errorf("schema %d: %w", id, err)
		}
		s.schemasMu.Lock()
		s.byID[id] = known
		s.schemasMu.Unlock()
	}
	if known.Type != kind {
		return known, poison{fmt.Errorf("schema %d is of type %v, not %v", id, known.Type, kind)}
	}
	return known, nil
}

// number is the one that the registry knows a subject's schema by. It is registered if it is new.
func (s *schemas) number(ctx context.Context, subject, schema string, kind sr.SchemaType) (int, error) {
	key := subjectSchema{subject, schema, kind}
	s.schemasMu.Lock()
	id, ok := s.ids[key]
	s.schemasMu.Unlock()
	if ok {
		return id, nil
	}
	text := sr.Schema{Schema: schema, Type: kind}
	err := patiently(ctx, "the schema registry", func() error {
		known, err := s.cl.LookupSchema(ctx, subject, text)
		if of(err, sr.ErrSchemaNotFound) || of(err, sr.ErrSubjectNotFound) {
			id, err = s.cl.RegisterSchema(ctx, subject, text, -1, -1)
			return err
		}
		id = known.ID
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("schema of subject %s: %w", subject, err)
	}
	s.schemasMu.Lock()
	s.ids[key] = id
	s.schemasMu.Unlock()
	return id, nil
}

// of says whether a registry's answer was this error.
func of(err error, what *sr.Error) bool {
	var answer *sr.ResponseError
	return errors.As(err, &answer) && answer.SchemaError() != nil && answer.SchemaError().Code == what.Code
}

var confluent sr.ConfluentHeader

// cutNumber takes the number of a value's schema off its front.
func cutNumber(b []byte) (id int, rest []byte, err error) {
	if id, rest, err = confluent.DecodeID(b); err != nil {
		return 0, nil, poison{errors.New("it doesn't begin with the number of a schema, as Confluent's format has it (a zero byte, four bytes of number)")}
	}
	return id, rest, nil
}
