package kafkaio

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// bearers makes a broker take OAUTHBEARER logins, which the fake one doesn't know. A login is good for
// a time. It returns what has come, in order.
func bearers(c *kfake.Cluster, lifetime time.Duration, good func(token string) bool) func() []string {
	var mu sync.Mutex
	var seen []string
	c.ControlKey(int16(kmsg.SASLHandshake), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := req.ResponseKind().(*kmsg.SASLHandshakeResponse)
		resp.SupportedMechanisms = []string{"OAUTHBEARER"}
		return resp, nil, true
	})
	c.ControlKey(int16(kmsg.SASLAuthenticate), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		_, token, _ := bytes.Cut(req.(*kmsg.SASLAuthenticateRequest).SASLAuthBytes, []byte("auth=Bearer "))
		token, _, _ = bytes.Cut(token, []byte{1})
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, string(token))
		resp.SessionLifetimeMillis = lifetime.Milliseconds()
		if !good(string(token)) {
			resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
		}
		return resp, nil, true
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), seen...)
	}
}

// TestTokenIsReadAgain: when a login expires, the next one has the token that is in the file by then.
func TestTokenIsReadAgain(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	seen := bearers(c, 1500*time.Millisecond, func(string) bool { return true })
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	cluster := Cluster{Brokers: c.ListenAddrs(), SASL: &SASL{Mechanism: "OAUTHBEARER", Token: Secret{File: file}}}
	if err := cluster.check(); err != nil {
		t.Fatal(err)
	}
	cl, err := cluster.client()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for next := ""; ; time.Sleep(50 * time.Millisecond) {
		if err := cl.Ping(ctx); err != nil {
			t.Fatal(err)
		}
		tokens := seen()
		if tokens[0] != "first" {
			t.Fatalf("the first token is %q", tokens[0])
		}
		switch last := tokens[len(tokens)-1]; {
		case next == "":
			next = "second"
			write(next)
		case last == next:
			return
		}
	}
}

// TestSecretsNames: an error says which secret is missing, and where it should be.
func TestSecretsNames(t *testing.T) {
	for want, s := range map[string]Secret{
		"the token: the environment variable NO_SUCH_SECRET": {Env: "NO_SUCH_SECRET"},
		"the token: the file that should have it":            {File: filepath.Join(t.TempDir(), "none")},
		"the token: name an environment variable or a file":  {},
	} {
		if _, err := s.read("the token"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want to read %q", err, want)
		}
	}
	for _, s := range []SASL{{Mechanism: "OAUTHBEARER"}, {Mechanism: "PLAIN", User: "ann"}, {Mechanism: "GSSAPI"}} {
		if err := (&Cluster{Brokers: []string{"localhost:1"}, SASL: &s}).check(); err == nil {
			t.Errorf("%s without a secret is taken", s.Mechanism)
		}
	}
}
