package triggers

import (
	"fmt"
	"strings"
)

// parseYAML reads the part of YAML that Beam's transcripts use: block maps and lists,
// flow maps and lists that may go over several lines, comments, and scalars, which all
// become strings. It returns a map[string]any, a []any or a string.
func parseYAML(doc string) (any, error) {
	p := &yamlParser{}
	depth := 0
	for _, line := range strings.Split(doc, "\n") {
		if i := strings.Index(line, "#"); i == 0 || i > 0 && (line[i-1] == ' ' || line[i-1] == '\t') {
			line = line[:i]
		}
		text := strings.TrimSpace(line)
		if text == "" {
			continue
		}
		if depth > 0 { // the flow collection goes on
			p.lines[len(p.lines)-1].text += " " + text
		} else {
			p.lines = append(p.lines, yamlLine{len(line) - len(strings.TrimLeft(line, " ")), text})
		}
		depth += strings.Count(text, "[") + strings.Count(text, "{") - strings.Count(text, "]") - strings.Count(text, "}")
	}
	if len(p.lines) == 0 {
		return "", nil
	}
	v, err := p.block(p.lines[0].indent)
	if err == nil && len(p.lines) > 0 {
		err = fmt.Errorf("yaml: %q is indented as nothing before it", p.lines[0].text)
	}
	return v, err
}

type yamlLine struct {
	indent int
	text   string
}

type yamlParser struct{ lines []yamlLine }

// block reads the lines that are indented by at least n as one value.
func (p *yamlParser) block(n int) (any, error) {
	if strings.HasPrefix(p.lines[0].text, "- ") {
		var list []any
		for len(p.lines) > 0 && p.lines[0].indent == n && strings.HasPrefix(p.lines[0].text, "- ") {
			// What follows the dash is a block of its own, as far in as it begins.
			l := &p.lines[0]
			rest := strings.TrimLeft(l.text[1:], " ")
			l.indent += len(l.text) - len(rest)
			l.text = rest
			v, err := p.block(l.indent)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	}
	key, _, ok := yamlKey(p.lines[0].text)
	if !ok || key == "" {
		text := p.lines[0].text
		p.lines = p.lines[1:]
		return flow(text)
	}
	m := map[string]any{}
	for len(p.lines) > 0 && p.lines[0].indent == n {
		key, rest, ok := yamlKey(p.lines[0].text)
		if !ok {
			return nil, fmt.Errorf("yaml: %q has no key", p.lines[0].text)
		}
		p.lines = p.lines[1:]
		var v any
		var err error
		switch {
		case rest != "":
			v, err = flow(rest)
		case len(p.lines) > 0 && (p.lines[0].indent > n || p.lines[0].indent == n && strings.HasPrefix(p.lines[0].text, "- ")):
			v, err = p.block(p.lines[0].indent)
		}
		if err != nil {
			return nil, err
		}
		m[key] = v
	}
	return m, nil
}

// yamlKey splits "key: rest".
func yamlKey(s string) (key, rest string, ok bool) {
	if strings.HasPrefix(s, "{") || strings.HasPrefix(s, "[") {
		return "", "", false
	}
	if strings.HasSuffix(s, ":") {
		return s[:len(s)-1], "", true
	}
	key, rest, ok = strings.Cut(s, ": ")
	return key, strings.TrimSpace(rest), ok
}

// flow reads a flow collection or a scalar.
func flow(s string) (any, error) {
	v, rest, err := readFlow(s)
	if err == nil && strings.TrimSpace(rest) != "" {
		err = fmt.Errorf("yaml: %q is left over of %q", rest, s)
	}
	return v, err
}

func readFlow(s string) (v any, rest string, err error) {
	switch s = strings.TrimSpace(s); {
	case strings.HasPrefix(s, "["):
		list := []any{}
		for s = strings.TrimSpace(s[1:]); !strings.HasPrefix(s, "]"); {
			if v, s, err = readFlow(flowScalarEnd(s)); err != nil {
				return nil, s, err
			}
			list = append(list, v)
			s = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(s), ","))
			if s == "" {
				return nil, s, fmt.Errorf("yaml: a list does not end")
			}
		}
		return list, s[1:], nil
	case strings.HasPrefix(s, "{"):
		m := map[string]any{}
		for s = strings.TrimSpace(s[1:]); !strings.HasPrefix(s, "}"); {
			key, after, ok := strings.Cut(s, ":")
			if !ok {
				return nil, s, fmt.Errorf("yaml: %q has no key", s)
			}
			if v, s, err = readFlow(flowScalarEnd(after)); err != nil {
				return nil, s, err
			}
			m[strings.TrimSpace(key)] = v
			s = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(s), ","))
			if s == "" {
				return nil, s, fmt.Errorf("yaml: a map does not end")
			}
		}
		return m, s[1:], nil
	}
	if scalar, rest, ok := strings.Cut(s, "\x00"); ok {
		return scalar, rest, nil
	}
	return s, "", nil
}

// flowScalarEnd marks where a scalar inside of a flow collection ends.
func flowScalarEnd(s string) string {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "[") || strings.HasPrefix(s, "{") {
		return s
	}
	if i := strings.IndexAny(s, ",]}"); i >= 0 {
		return s[:i] + "\x00" + s[i:]
	}
	return s
}
