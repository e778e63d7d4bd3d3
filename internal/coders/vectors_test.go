package coders

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// vectorsEnv names Beam's standard_coders.yaml. Python's wheel of Beam has it as
// apache_beam/portability/api/standard_coders.yaml.
const vectorsEnv = "SUMMERBEAM_STANDARD_CODERS"

// TestStandardVectors runs Beam's own encodings through Skip: each must be consumed
// whole, and none of its proper prefixes may pass for an element. Each is run by itself,
// nested, and as a key. Those of the outer context have no end of their own: they come
// with their length in front, as runners ask SDKs for.
func TestStandardVectors(t *testing.T) {
	path := os.Getenv(vectorsEnv)
	if path == "" {
		t.Skip("set " + vectorsEnv + " to Beam's standard_coders.yaml to run its vectors, or make conformance-vectors")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ran, passed := 0, 0
	for i, s := range parseVectors(t, string(text)) {
		id := s.id
		if s.outer {
			id = addCoder(s.coders, &pipepb.Coder{Spec: &pipepb.FunctionSpec{Urn: urnLengthPrefix}, ComponentCoderIds: []string{id}})
		}
		urn := s.coders[s.id].GetSpec().GetUrn()
		for _, b := range s.examples {
			ran++
			if s.outer {
				b = append(binary.AppendUvarint(nil, uint64(len(b))), b...)
			}
			if err := errors.Join(alone(s.coders, id, b), nested(s.coders, id, b), asKey(s.coders, id, b)); err != nil {
				t.Errorf("section %d, %s: %q: %v", i+1, urn, b, err)
				continue
			}
			passed++
		}
	}
	if want := len(regexp.MustCompile(`(?m)^ +".*" *:`).FindAllString(string(text), -1)); ran != want || ran == 0 {
		t.Errorf("%d vectors run, %d are in the file", ran, want)
	}
	t.Logf("coder vectors: %d of %d, alone, nested and as keys", passed, ran)
}

// alone runs the bytes of one element through the scanners of its coder.
func alone(coders map[string]*pipepb.Coder, id string, b []byte) error {
	scanner, err := Compile(coders, id)
	if err != nil {
		return err
	}
	if n, err := scanner.Skip(b); err != nil || n != len(b) {
		return fmt.Errorf("Skip = %d, %w; want %d", n, err, len(b))
	}
	for cut := range b {
		if n, err := scanner.Skip(b[:cut]); !errors.Is(err, ErrShort) {
			return fmt.Errorf("Skip, cut at %d = %d, %w; want ErrShort", cut, n, err)
		}
	}
	if n, err := scanAs(coders[id].GetSpec().GetUrn(), coders, id, b); err != nil || n != len(b) {
		return fmt.Errorf("Next = %d, %w; want %d", n, err, len(b))
	}
	return nil
}

// compound adds a coder made of others.
func compound(coders map[string]*pipepb.Coder, urn string, parts ...string) string {
	return addCoder(coders, &pipepb.Coder{Spec: &pipepb.FunctionSpec{Urn: urn}, ComponentCoderIds: parts})
}

// nested runs the element twice in a row, between other things: in an iterable of KVs.
func nested(coders map[string]*pipepb.Coder, id string, b []byte) error {
	pair := compound(coders, urnKV, id, id)
	scanner, err := Compile(coders, compound(coders, urnKV, compound(coders, urnIterable, pair), id))
	if err != nil {
		return fmt.Errorf("nested: %w", err)
	}
	all := append([]byte{0, 0, 0, 2}, slices.Concat(b, b, b, b, b)...)
	if n, err := scanner.Skip(all); err != nil || n != len(all) {
		return fmt.Errorf("nested: Skip = %d, %w; want %d", n, err, len(all))
	}
	return nil
}

// asKey runs the element as the key of one that is to be grouped: its bytes come out.
func asKey(coders map[string]*pipepb.Coder, id string, b []byte) error {
	kv := compound(coders, urnKV, id, compound(coders, urnVarint))
	scanner, err := CompileWindowed(coders, compound(coders, urnWindowedValue, kv, compound(coders, urnGlobalWindow)))
	if err != nil {
		return fmt.Errorf("as a key: %w", err)
	}
	all := slices.Concat(AppendHeader(nil, 17, nil, 1, []byte{0x0f}), b, []byte{42})
	var e Element
	if n, err := scanner.Next(all, &e); err != nil || n != len(all) {
		return fmt.Errorf("as a key: Next = %d, %w; want %d", n, err, len(all))
	}
	if !bytes.Equal(e.Key, b) || !bytes.Equal(e.Value, []byte{42}) {
		return fmt.Errorf("as a key: key %q and value %q", e.Key, e.Value)
	}
	return nil
}

// scanAs runs the scanner that is special to the URN, if there is one.
func scanAs(urn string, coders map[string]*pipepb.Coder, id string, b []byte) (int, error) {
	switch urn {
	case urnWindowedValue, urnParamWindowedValue:
		return must(CompileWindowed(coders, id)).Next(b, new(Element))
	case urnTimer:
		return must(CompileTimer(coders, id)).Next(b, new(TimerElement))
	case urnGlobalWindow, urnIntervalWindow, urnCustomWindow:
		return must(CompileWindow(coders, id)).Next(b)
	}
	return len(b), nil
}

type vectors struct {
	coders   map[string]*pipepb.Coder
	id       string
	outer    bool
	examples [][]byte
}

var (
	vectorURN     = regexp.MustCompile(`(?m)^  urn: "(.*)"`)
	vectorPayload = regexp.MustCompile(`(?m)^  payload: "((?:[^"\\]|\\.)*)"`)
	vectorParts   = regexp.MustCompile(`(?m)^  components: `)
	vectorExample = regexp.MustCompile(`(?m)^ +"((?:[^"\\]|\\.)*)"\s*:`)
)

// parseVectors reads as much YAML as the file is written in: one section a coder,
// double-quoted keys whose code points are bytes.
func parseVectors(t *testing.T, text string) []vectors {
	text = regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(text, "")
	var out []vectors
	for _, section := range strings.Split(text, "\n---") {
		head, examples, ok := strings.Cut(section, "\nexamples:")
		urn := vectorURN.FindStringSubmatch(head)
		if !ok || urn == nil {
			t.Fatalf("section without coder or examples:\n%s", section)
		}
		v := vectors{coders: map[string]*pipepb.Coder{}, outer: strings.Contains(head, "nested: false")}
		c := &pipepb.Coder{Spec: &pipepb.FunctionSpec{Urn: urn[1]}}
		if p := vectorPayload.FindStringSubmatch(head); p != nil {
			c.Spec.Payload = unquote(t, p[1])
		}
		if at := vectorParts.FindStringIndex(head); at != nil {
			c.ComponentCoderIds, _ = flowCoders(t, v.coders, head[at[1]:])
		}
		v.id = addCoder(v.coders, c)
		for _, e := range vectorExample.FindAllStringSubmatch(examples, -1) {
			v.examples = append(v.examples, unquote(t, e[1]))
		}
		if len(v.examples) == 0 {
			t.Fatalf("section without examples:\n%s", section)
		}
		out = append(out, v)
	}
	return out
}

func addCoder(coders map[string]*pipepb.Coder, c *pipepb.Coder) string {
	id := fmt.Sprintf("c%d", len(coders))
	coders[id] = c
	return id
}

// flowCoders reads [{urn: "...", components: [...]}, ...].
func flowCoders(t *testing.T, coders map[string]*pipepb.Coder, s string) (ids []string, rest string) {
	expect := func(token string) bool {
		s = strings.TrimLeft(s, " \n")
		found := strings.HasPrefix(s, token)
		s = strings.TrimPrefix(s, token)
		return found
	}
	if !expect("[") {
		t.Fatalf("no list: %.60s", s)
	}
	for !expect("]") {
		c := &pipepb.Coder{Spec: &pipepb.FunctionSpec{}}
		if !expect(`{`) || !expect(`urn:`) || !expect(`"`) {
			t.Fatalf("no coder: %.60s", s)
		}
		c.Spec.Urn, s, _ = strings.Cut(s, `"`)
		if expect(",") {
			if !expect("components:") {
				t.Fatalf("no components: %.60s", s)
			}
			c.ComponentCoderIds, s = flowCoders(t, coders, s)
		}
		if !expect("}") {
			t.Fatalf("unclosed coder: %.60s", s)
		}
		ids = append(ids, addCoder(coders, c))
		expect(",")
	}
	return ids, s
}

// unquote undoes YAML's escapes, of which Go's know all but \0, and makes a byte of each code point.
func unquote(t *testing.T, s string) []byte {
	var b []byte
	for s != "" {
		if strings.HasPrefix(s, `\0`) {
			b, s = append(b, 0), s[2:]
			continue
		}
		if s[0] == '\\' && s[1] != 'x' {
			r, _, rest, err := strconv.UnquoteChar(s, '"')
			if err != nil || r > 0xff {
				t.Fatalf("escape %.10q: %v", s, err)
			}
			b, s = append(b, byte(r)), rest
			continue
		}
		if s[0] == '\\' {
			u, err := strconv.ParseUint(s[2:4], 16, 8)
			if err != nil {
				t.Fatalf("escape %.10q: %v", s, err)
			}
			b, s = append(b, byte(u)), s[4:]
			continue
		}
		r := []rune(s)[0]
		if r > 0xff {
			t.Fatalf("code point %q is no byte", r)
		}
		b, s = append(b, byte(r)), s[len(string(r)):]
	}
	return b
}
