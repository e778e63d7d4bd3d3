package graph

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

var rewrite = flag.Bool("rewrite", false, "write what tests get into their golden files")

// TestScripts compiles the pipelines in testdata/*.txt. A file has cases, each a
// script, a line of four dashes, and the plan or error; a blank line ends a case.
// Lines of a script:
//
//	env NAME...                          environments; w is there from the start
//	impulse ID -> OUT
//	gbk|flatten|reshuffle ID IN... -> OUT
//	pardo ID IN -> OUT... [option...]    env=E side=COLLECTION:PATTERN state=CODER value=CODER
//	                                     list=CODER timer=CODER sdf=CODER flag=F
//	combine ID IN -> OUT accum=CODER     without parts
//	do ID URN|- IN... -> OUT... [env=E]
//	composite ID URN|- IN... -> OUT... parts=ID,ID
//	delete coder|collection|strategy|transform|environment ID
//	payload ID TEXT                      overwrites a payload
//	component CODER INDEX CODER          overwrites a coder's component
//	requirement URN
//	root ID
//
// An output is NAME:CODER@STRATEGY, ~NAME if it is unbounded.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runScripts(t, file) })
	}
}

func runScripts(t *testing.T, file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for i, c := range strings.Split(strings.TrimRight(string(data), "\n"), "\n\n") {
		script, want, _ := strings.Cut(c, "\n----\n")
		script = strings.TrimSuffix(strings.TrimRight(script, "\n"), "\n----")
		p := runScript(t, script)
		got := ""
		if plan, err := Compile(p); err != nil {
			// The protobuf library varies the space in its errors from build to build.
			got = "error: " + strings.ReplaceAll(err.Error(), "\u00a0", " ")
		} else {
			checkPlan(t, plan)
			got = strings.TrimRight(plan.String(), "\n")
		}
		if got != strings.TrimRight(want, "\n") && !*rewrite {
			t.Errorf("case %d:\n%s\n---- got\n%s\n---- want\n%s", i, script, got, want)
		}
		if i > 0 {
			out.WriteString("\n")
		}
		fmt.Fprintf(&out, "%s\n----\n%s\n", script, got)
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func runScript(t *testing.T, script string) *pipepb.Pipeline {
	b := newBuilder()
	b.env("w")
	lines := bufio.NewScanner(strings.NewReader(script))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := runLine(b, line); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
	}
	return b.p
}

func runLine(b *builder, line string) error {
	words := strings.Fields(line)
	verb, words := words[0], words[1:]
	c := b.p.Components
	switch verb {
	case "env":
		b.env(words...)
		return nil
	case "delete":
		switch words[0] {
		case "coder":
			delete(c.Coders, words[1])
		case "collection":
			delete(c.Pcollections, words[1])
		case "strategy":
			delete(c.WindowingStrategies, words[1])
		case "transform":
			delete(c.Transforms, words[1])
		case "environment":
			delete(c.Environments, words[1])
		default:
			return fmt.Errorf("delete what?")
		}
		return nil
	case "payload":
		c.Transforms[words[0]].Spec.Payload = []byte(words[1])
		return nil
	case "component":
		c.Coders[words[0]].ComponentCoderIds[words[1][0]-'0'] = words[2]
		return nil
	case "root":
		b.p.RootTransformIds = append(b.p.RootTransformIds, words...)
		return nil
	case "requirement":
		b.p.Requirements = append(b.p.Requirements, words[0])
		return nil
	}
	id, words := words[0], words[1:]
	options := make(map[string][]string)
	words = slices.DeleteFunc(words, func(w string) bool {
		name, value, ok := strings.Cut(w, "=")
		if ok {
			options[name] = append(options[name], value)
		}
		return ok
	})
	arrow := slices.Index(words, "->")
	if arrow < 0 {
		return fmt.Errorf("no arrow")
	}
	in, out := words[:arrow], words[arrow+1:]
	env := "w"
	if e := options["env"]; e != nil {
		env = e[0]
	}
	switch verb {
	case "impulse":
		b.Add(id, urnImpulse, "", nil, in, out)
	case "gbk":
		b.Add(id, urnGroup, "", nil, in, out)
	case "flatten":
		b.Add(id, urnFlatten, "", nil, in, out)
	case "reshuffle":
		b.Add(id, urnReshuffle, "", nil, in, out)
	case "combine":
		b.Add(id, urnCombinePerKey, env, &pipepb.CombinePayload{AccumulatorCoderId: b.Coder(options["accum"][0])}, in, out)
	case "do":
		b.Add(id, strings.TrimPrefix(in[0], "-"), env, nil, in[1:], out)
	case "composite":
		urn := strings.TrimPrefix(in[0], "-")
		var payload *pipepb.CombinePayload
		if urn == urnCombinePerKey {
			payload = &pipepb.CombinePayload{AccumulatorCoderId: b.Coder(options["accum"][0])}
		}
		b.Composite(id, urn, payload, in[1:], out, strings.Split(options["parts"][0], ",")...)
	case "pardo":
		b.parDo(id, parDo{env: env, sides: options["side"], edit: parDoOptions(b, options)}, in[0], out...)
	default:
		return fmt.Errorf("unknown verb %q", verb)
	}
	return nil
}

func parDoOptions(b *builder, options map[string][]string) func(*pipepb.ParDoPayload) {
	return func(p *pipepb.ParDoPayload) {
		p.StateSpecs = make(map[string]*pipepb.StateSpec)
		p.TimerFamilySpecs = make(map[string]*pipepb.TimerFamilySpec)
		for i, coder := range options["state"] {
			p.StateSpecs[fmt.Sprintf("state%d", i)] = &pipepb.StateSpec{Spec: &pipepb.StateSpec_BagSpec{
				BagSpec: &pipepb.BagStateSpec{ElementCoderId: b.Coder(coder)}}}
		}
		for i, coder := range options["value"] {
			p.StateSpecs[fmt.Sprintf("state%d", i)] = &pipepb.StateSpec{Spec: &pipepb.StateSpec_ReadModifyWriteSpec{
				ReadModifyWriteSpec: &pipepb.ReadModifyWriteStateSpec{CoderId: b.Coder(coder)}}}
		}
		for i, coder := range options["list"] {
			p.StateSpecs[fmt.Sprintf("list%d", i)] = &pipepb.StateSpec{Spec: &pipepb.StateSpec_OrderedListSpec{
				OrderedListSpec: &pipepb.OrderedListStateSpec{ElementCoderId: b.Coder(coder)}}}
		}
		for i, coder := range options["timer"] {
			p.TimerFamilySpecs[fmt.Sprintf("timer%d", i)] = &pipepb.TimerFamilySpec{TimerFamilyCoderId: b.Coder(coder)}
		}
		for _, coder := range options["sdf"] {
			p.RestrictionCoderId = b.Coder(coder)
		}
		for _, flag := range options["flag"] {
			switch flag {
			case "finalize":
				p.RequestsFinalization = true
			case "stable":
				p.RequiresStableInput = true
			case "sorted":
				p.RequiresTimeSortedInput = true
			case "expiration":
				p.OnWindowExpirationTimerFamilySpec = "timer0"
			case "oddstate":
				p.StateSpecs["odd"] = &pipepb.StateSpec{}
			}
		}
	}
}
