package kafkaio

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Cluster is how to reach a Kafka cluster. It travels in the pipeline, so it has no
// secrets: only where workers find them.
type Cluster struct {
	// Brokers are host:port of some of the brokers.
	Brokers []string
	// TLS encrypts connections. CAFile, if set, has the certificates to trust instead of
	// the system's, on the worker.
	TLS    bool
	CAFile string
	// CertFile and KeyFile, if set, are the client's own certificate and its key, in PEM, on
	// the worker.
	CertFile, KeyFile string
	// SASL authenticates, if it is not nil.
	SASL *SASL
}

// SASL is how to authenticate.
type SASL struct {
	// Mechanism is PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER.
	Mechanism string
	// User and Password are for all but OAUTHBEARER.
	User     string
	Password Secret
	// Token is for OAUTHBEARER. Who renews tokens writes them there: one is read at each
	// login, and a broker wants another login before a token expires.
	Token Secret
}

// Secret says where a worker finds a secret: in an environment variable or in a file, of
// which trailing newlines are no part.
type Secret struct{ Env, File string }

// read returns the secret, which an error calls what.
func (s Secret) read(what string) (string, error) {
	switch {
	case s.Env != "":
		v, ok := os.LookupEnv(s.Env)
		if !ok {
			return "", fmt.Errorf("kafkaio: %s: the environment variable %s, which should have it, is not set on the worker", what, s.Env)
		}
		return v, nil
	case s.File != "":
		b, err := os.ReadFile(s.File)
		if err != nil {
			return "", fmt.Errorf("kafkaio: %s: the file that should have it: %w", what, err)
		}
		return strings.TrimRight(string(b), "\r\n"), nil
	}
	return "", fmt.Errorf("kafkaio: %s: name an environment variable or a file of the worker's that has it", what)
}

func (c *Cluster) check() error {
	if len(c.Brokers) == 0 {
		return errors.New("kafkaio: the cluster has no brokers")
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return errors.New("kafkaio: a client's certificate wants CertFile and KeyFile")
	}
	if c.SASL == nil {
		return nil
	}
	switch c.SASL.Mechanism {
	case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
	case "OAUTHBEARER":
		if c.SASL.Token == (Secret{}) {
			return errors.New("kafkaio: OAUTHBEARER: say in Token where workers find it")
		}
		return nil
	default:
		return fmt.Errorf("kafkaio: SASL mechanism %q: it must be PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER", c.SASL.Mechanism)
	}
	if c.SASL.Password == (Secret{}) {
		return fmt.Errorf("kafkaio: %s: say in Password where workers find it", c.SASL.Mechanism)
	}
	return nil
}

const metadataAge = 250 * time.Millisecond

// options are those of every client of the cluster.
func (c *Cluster) options() ([]kgo.Opt, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...), kgo.ClientID("summerbeam-kafkaio"),
		// What a client knows of a topic is good for so long. By default that is 5 s, for which
		// the topic of markers stays unknown that was made a moment before, and so the first
		// transaction waits.
		kgo.MetadataMinAge(metadataAge),
	}
	if c.TLS || c.CAFile != "" || c.CertFile != "" {
		conf, err := tlsConfig(c.CAFile)
		if err != nil {
			return nil, err
		}
		if c.CertFile != "" {
			// Read at each handshake: a certificate may be renewed while the job runs.
			conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
				if err != nil {
					return nil, fmt.Errorf("kafkaio: the client's certificate: %w", err)
				}
				return &cert, nil
			}
		}
		opts = append(opts, kgo.DialTLSConfig(conf))
	}
	if c.SASL != nil {
		opts = append(opts, kgo.SASL(c.SASL.mechanism()))
	}
	return opts, nil
}

// tlsConfig trusts the certificates in a file, or the system's if it is "".
func tlsConfig(caFile string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return conf, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("kafkaio: certificates to trust: %w", err)
	}
	conf.RootCAs = x509.NewCertPool()
	if !conf.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("kafkaio: %s has no certificate", caFile)
	}
	return conf, nil
}

// mechanism reads a secret at each login: it may be renewed while the job runs.
func (s *SASL) mechanism() sasl.Mechanism {
	password := func() (string, error) { return s.Password.read("the password of user " + s.User) }
	auth := func(context.Context) (scram.Auth, error) {
		pass, err := password()
		return scram.Auth{User: s.User, Pass: pass}, err
	}
	switch s.Mechanism {
	case "OAUTHBEARER":
		return oauth.Oauth(func(context.Context) (oauth.Auth, error) {
			token, err := s.Token.read("the token")
			return oauth.Auth{Token: token}, err
		})
	case "PLAIN":
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			pass, err := password()
			return plain.Auth{User: s.User, Pass: pass}, err
		})
	case "SCRAM-SHA-512":
		return scram.Sha512(auth)
	}
	return scram.Sha256(auth)
}

// id tells clusters apart.
func (c *Cluster) id() string {
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Sprint(c)
	}
	return string(b)
}

// clients are the process's plain clients, for producing and asking, one for each
// cluster and size of batches. They live as long as the process: bundles come and go by the second.
var clients struct {
	clientsMu sync.Mutex
	of        map[clientKey]*kgo.Client
}

type clientKey struct {
	cluster  string
	maxBatch int // in bytes; 0 is the library's own, for clients that don't produce
}

// client is for asking.
func (c *Cluster) client() (*kgo.Client, error) { return c.plain(0) }

// producer is for writing at least once.
func (c *writeConfig) producer() (*kgo.Client, error) { return c.Cluster.plain(c.MaxRecord) }

func (c *Cluster) plain(maxBatch int) (*kgo.Client, error) {
	key := clientKey{c.id(), maxBatch}
	clients.clientsMu.Lock()
	defer clients.clientsMu.Unlock()
	if cl := clients.of[key]; cl != nil {
		return cl, nil
	}
	opts, err := c.options()
	if err != nil {
		return nil, err
	}
	if maxBatch > 0 {
		opts = append(opts, kgo.ProducerBatchMaxBytes(int32(maxBatch)))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("kafkaio: %w", err)
	}
	if clients.of == nil {
		clients.of = make(map[clientKey]*kgo.Client)
	}
	clients.of[key] = cl
	return cl, nil
}
