package coders

import (
	"fmt"
	"strconv"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// shorthand names for coder expressions in tests.
var shorthand = map[string]string{
	"bytes": urnBytes, "string": urnString, "bool": urnBool, "varint": urnVarint, "double": urnDouble,
	"lp": urnLengthPrefix, "kv": urnKV, "iterable": urnIterable, "sbi": urnStateBackedIterable,
	"nullable": urnNullable, "sharded": urnShardedKey, "timer": urnTimer, "wv": urnWindowedValue,
	"global": urnGlobalWindow, "interval": urnIntervalWindow, "custom": urnCustomWindow,
}

// parse turns an expression such as wv(kv(bytes,lp(secret)),global) into coders and
// the id of the outermost. Names that are no shorthand are URNs of their own.
func parse(expr string) (map[string]*pipepb.Coder, string) {
	coders := map[string]*pipepb.Coder{}
	id, rest := parseInto(coders, strings.ReplaceAll(expr, " ", ""))
	if rest != "" {
		panic(fmt.Sprintf("%q: trailing %q", expr, rest))
	}
	return coders, id
}

func parseInto(coders map[string]*pipepb.Coder, s string) (id, rest string) {
	end := strings.IndexAny(s, "(),")
	if end < 0 {
		end = len(s)
	}
	name, rest := s[:end], s[end:]
	c := &pipepb.Coder{Spec: &pipepb.FunctionSpec{Urn: name}}
	if urn, ok := shorthand[name]; ok {
		c.Spec.Urn = urn
	}
	if strings.HasPrefix(rest, "(") {
		for {
			var part string
			part, rest = parseInto(coders, rest[1:])
			c.ComponentCoderIds = append(c.ComponentCoderIds, part)
			if rest[0] == ')' {
				rest = rest[1:]
				break
			}
		}
	}
	id = "c" + strconv.Itoa(len(coders))
	coders[id] = c
	return id, rest
}

// must is for results that a test is sure of.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func compile(expr string) *Scanner { return must(Compile(parse(expr))) }

func compileWindowed(expr string) *Windowed { return must(CompileWindowed(parse(expr))) }
