package kafkaio_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/log"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/protobuf/proto"

	"github.com/summerbeam/summerbeam/io/kafkaio"
	"github.com/summerbeam/summerbeam/runner/beamrunner"
)

// logs keeps what is logged.
type logs struct {
	logsMu sync.Mutex
	all    bytes.Buffer
}

func (l *logs) Log(_ context.Context, _ log.Severity, _ int, msg string) {
	l.logsMu.Lock()
	defer l.logsMu.Unlock()
	l.all.WriteString(msg + "\n")
}

func (l *logs) String() string {
	l.logsMu.Lock()
	defer l.logsMu.Unlock()
	return l.all.String()
}

// encoded finds what may be base64.
var encoded = regexp.MustCompile(`[A-Za-z0-9+/_-]{16,}=*`)

// has says whether text has a word, plainly or in base64 of any depth.
func has(text []byte, word string, depth int) bool {
	if bytes.Contains(text, []byte(word)) {
		return true
	}
	if depth == 0 {
		return false
	}
	for _, run := range encoded.FindAll(text, -1) {
		run := strings.TrimRight(string(run), "=")
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			if inside, err := enc.DecodeString(run); err == nil && has(inside, word, depth-1) {
				return true
			}
		}
	}
	return false
}

// TestSecretsStay: what is secret is in no pipeline, log or error; where workers find it is.
func TestSecretsStay(t *testing.T) {
	dir := t.TempDir()
	secrets := map[string]string{"PASSWORD": "correct-horse", "token": "battery-staple", "registry": "purple-monkey", "key": "dish-washer"}
	t.Setenv("KAFKAIO_TEST_PASSWORD", secrets["PASSWORD"])
	file := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(secrets[name]), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in", "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	// As real brokers do: the fake one hangs up.
	broker.ControlKey(int16(kmsg.SASLHandshake), func(req kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		resp := req.ResponseKind().(*kmsg.SASLHandshakeResponse)
		resp.SupportedMechanisms = []string{"PLAIN", "OAUTHBEARER"}
		return resp, nil, true
	})
	broker.ControlKey(int16(kmsg.SASLAuthenticate), func(req kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
		return resp, nil, true
	})
	var logged logs
	log.SetLogger(&logged)
	t.Cleanup(func() { log.SetLogger(&log.Standard{}) })

	secure, ca := secureBroker(t)
	brokers := broker.ListenAddrs()
	for name, cluster := range map[string]kafkaio.Cluster{
		"password": {Brokers: brokers, SASL: &kafkaio.SASL{Mechanism: "PLAIN", User: "ann", Password: kafkaio.Secret{Env: "KAFKAIO_TEST_PASSWORD"}}},
		"token":    {Brokers: brokers, SASL: &kafkaio.SASL{Mechanism: "OAUTHBEARER", Token: kafkaio.Secret{File: file("token")}}},
		"key":      {Brokers: secure.ListenAddrs(), CAFile: ca, CertFile: file("key"), KeyFile: file("key")},
	} {
		t.Run(name, func(t *testing.T) {
			registry := kafkaio.Registry{URLs: []string{"http://127.0.0.1:1"}, User: "ann", Password: kafkaio.Secret{File: file("registry")}}
			p, s := beam.NewPipelineWithRoot()
			in := kafkaio.Read(s, cluster, kafkaio.Topics("in"), kafkaio.Until(kafkaio.Latest()))
			clicks := kafkaio.Decode(s, in, kafkaio.Avro[click](registry))
			kafkaio.Write(s, cluster, kafkaio.Encode(s, clicks, kafkaio.JSON[click]()), kafkaio.Topic("out"), kafkaio.ExactlyOnce("test"))
			edges, _, err := p.Build()
			if err != nil {
				t.Fatal(err)
			}
			pb, err := graphx.Marshal(edges, &graphx.Options{Environment: &pipepb.Environment{}})
			if err != nil {
				t.Fatal(err)
			}
			text, err := proto.Marshal(pb)
			if err != nil {
				t.Fatal(err)
			}
			if !has(text, filepath.Join(dir, "registry"), 5) {
				t.Error("the pipeline doesn't say where workers find secrets, or the test can't read it")
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			_, err = beamrunner.Execute(ctx, p)
			if err == nil {
				t.Fatal("the broker has let somebody in")
			}
			t.Log(err)
			for _, secret := range secrets {
				for where, text := range map[string][]byte{"the pipeline": text, "the logs": []byte(logged.String()), "the error": []byte(err.Error())} {
					if has(text, secret, 5) {
						t.Errorf("%s has the secret %s", where, secret)
					}
				}
			}
		})
	}
}

// secureBroker is a broker that wants a client's certificate. It returns the file of its own.
func secureBroker(t *testing.T) (broker *kfake.Cluster, ca string) {
	t.Helper()
	certified := httptest.NewTLSServer(nil) // for its certificate
	defer certified.Close()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in", "out"),
		kfake.TLS(&tls.Config{Certificates: certified.TLS.Certificates, ClientAuth: tls.RequireAnyClientCert}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	return broker, pemFile(t, "CERTIFICATE", certified.Certificate().Raw)
}

func pemFile(t *testing.T, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestClientsCertificate: a client shows the certificate that its files have.
func TestClientsCertificate(t *testing.T) {
	broker, ca := secureBroker(t)
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cluster := kafkaio.Cluster{Brokers: broker.ListenAddrs(), CAFile: ca, CertFile: pemFile(t, "CERTIFICATE", der), KeyFile: pemFile(t, "PRIVATE KEY", keyDER)}
	p, s := beam.NewPipelineWithRoot()
	kafkaio.Write(s, cluster, beam.Create(s, kafkaio.Record{Value: []byte("a")}), kafkaio.Topic("out"))
	if _, err := beamrunner.Execute(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}
