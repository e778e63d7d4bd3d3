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
	// SASL authenticates, if it is not nil.
	SASL *SASL
}

// SASL is how to authenticate.
type SASL struct {
	// Mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
	Mechanism string
	User      string
	// Password is found where it says.
	Password Secret
}

// Secret says where a worker finds a secret: in an environment variable or in a file, of
// which trailing newlines are no part.
type Secret struct{ Env, File string }

func (s Secret) read() (string, error) {
	switch {
	case s.Env != "":
		v, ok := os.LookupEnv(s.Env)
		if !ok {
			return "", fmt.Errorf("the environment variable %s, which should have the password, is not set on the worker", s.Env)
		}
		return v, nil
	case s.File != "":
		b, err := os.ReadFile(s.File)
		if err != nil {
			return "", fmt.Errorf("the file that should have the password: %w", err)
		}
		return strings.TrimRight(string(b), "\r\n"), nil
	}
	return "", errors.New("no password: name an environment variable or a file of the worker's that has it")
}

func (c *Cluster) check() error {
	if len(c.Brokers) == 0 {
		return errors.New("kafkaio: the cluster has no brokers")
	}
	if c.SASL != nil {
		switch c.SASL.Mechanism {
		case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
		default:
			return fmt.Errorf("kafkaio: SASL mechanism %q: it must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", c.SASL.Mechanism)
		}
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
	if c.TLS || c.CAFile != "" {
		conf := &tls.Config{MinVersion: tls.VersionTLS12}
		if c.CAFile != "" {
			pem, err := os.ReadFile(c.CAFile)
			if err != nil {
				return nil, fmt.Errorf("kafkaio: certificates to trust: %w", err)
			}
			conf.RootCAs = x509.NewCertPool()
			if !conf.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("kafkaio: %s has no certificate", c.CAFile)
			}
		}
		opts = append(opts, kgo.DialTLSConfig(conf))
	}
	if s := c.SASL; s != nil {
		var m sasl.Mechanism
		// Read at each login: a secret may be renewed while the job runs.
		switch s.Mechanism {
		case "PLAIN":
			m = plain.Plain(func(context.Context) (plain.Auth, error) {
				pass, err := s.Password.read()
				return plain.Auth{User: s.User, Pass: pass}, err
			})
		default:
			auth := func(context.Context) (scram.Auth, error) {
				pass, err := s.Password.read()
				return scram.Auth{User: s.User, Pass: pass}, err
			}
			if m = scram.Sha256(auth); s.Mechanism == "SCRAM-SHA-512" {
				m = scram.Sha512(auth)
			}
		}
		opts = append(opts, kgo.SASL(m))
	}
	return opts, nil
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
// cluster. They live as long as the process: bundles come and go by the second.
var clients struct {
	clientsMu sync.Mutex
	byCluster map[string]*kgo.Client
}

func (c *Cluster) client() (*kgo.Client, error) {
	id := c.id()
	clients.clientsMu.Lock()
	defer clients.clientsMu.Unlock()
	if cl := clients.byCluster[id]; cl != nil {
		return cl, nil
	}
	opts, err := c.options()
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("kafkaio: %w", err)
	}
	if clients.byCluster == nil {
		clients.byCluster = make(map[string]*kgo.Client)
	}
	clients.byCluster[id] = cl
	return cl, nil
}
