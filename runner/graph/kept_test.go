package graph

import (
	"fmt"
	"strings"
	"testing"
)

// TestCompare: what two plans keep is matched by names, whatever the ids and the order of
// stages, and differences name the transform.
func TestCompare(t *testing.T) {
	compile := func(script string) *Plan {
		p, err := Compile(runScript(t, script))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	const source = "impulse i -> a:bytes@global\npardo split a -> b:kv<string,varint>@global\n"
	old := compile(source + "pardo count b -> c:kv<string,varint>@global state=varint timer=timer<string,global_window>\ngbk g c -> d:kv<string,iterable<varint>>@global\npardo end d -> e:string@global")
	for _, tc := range []struct {
		name, script string
		renamed      map[string]string
		want         []string
	}{
		{name: "a step and a state more, before what was there", script: source +
			"pardo first b -> f:kv<string,varint>@global state=string\npardo step b -> b2:kv<string,varint>@global\n" +
			"pardo count b2 -> c:kv<string,varint>@global state=varint state=string timer=timer<string,global_window>\ngbk g c -> d:kv<string,iterable<varint>>@global\npardo end d -> e:string@global",
			want: []string{"new queue of The/first", "new state state0 of The/first", "new state state1 of The/count"}},
		{name: "another coder", script: source +
			"pardo count b -> c:kv<string,varint>@global state=string timer=timer<string,global_window>\ngbk g c -> d:kv<string,iterable<varint>>@global\npardo end d -> e:string@global",
			want: []string{"differs state state0 of The/count"}},
		{name: "a value in place of a bag", script: source +
			"pardo count b -> c:kv<string,varint>@global value=varint timer=timer<string,global_window>\ngbk g c -> d:kv<string,iterable<varint>>@global\npardo end d -> e:string@global",
			want: []string{"differs state state0 of The/count"}},
		{name: "another key", script: "impulse i -> a:bytes@global\npardo split a -> b:kv<varint,varint>@global\n" +
			"pardo count b -> c:kv<string,varint>@global state=varint timer=timer<varint,global_window>\ngbk g c -> d:kv<string,iterable<varint>>@global\npardo end d -> e:string@global",
			want: []string{"differs queue of The/count", "differs state state0 of The/count", "differs timers timer0 of The/count"}},
		{name: "renamed", script: source +
			"pardo tally b -> c:kv<string,varint>@global state=varint timer=timer<string,global_window>\ngbk g c -> d:kv<string,iterable<varint>>@global\npardo end d -> e:string@global",
			renamed: map[string]string{"The/count": "The/tally"}},
		{name: "no state any more", script: source +
			"pardo count b -> c:kv<string,varint>@global\ngbk g c -> d:kv<string,iterable<varint>>@global\npardo end d -> e:string@global",
			want: []string{"gone queue of The/count", "gone state state0 of The/count", "gone timers timer0 of The/count"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			matches, err := Compare(old, compile(tc.script), tc.renamed)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range matches {
				switch {
				case m.Old == nil:
					got = append(got, fmt.Sprintf("new %s", m.New))
				case m.New == nil:
					got = append(got, fmt.Sprintf("gone %s", m.Old))
				case m.Differs():
					got = append(got, fmt.Sprintf("differs %s", m.New))
				}
			}
			if g, w := strings.Join(got, "\n"), strings.Join(tc.want, "\n"); g != w {
				t.Errorf("got\n%s\nwant\n%s", g, w)
			}
		})
	}
}
