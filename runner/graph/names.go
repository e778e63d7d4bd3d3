package graph

// UniqueName is the name by which users know a transform. It stays when ids change, as they
// do with every transform that is added. A transform has its id instead if it has no name,
// or one that isn't its own.
func (p *Plan) UniqueName(transform string) string {
	if name, ok := p.names[transform]; ok {
		return name
	}
	return transform
}

// nameTransforms finds the names that are unique.
func (p *Plan) nameTransforms() {
	seen := make(map[string]int)
	transforms := p.Pipeline.GetComponents().GetTransforms()
	for _, t := range transforms {
		seen[t.GetUniqueName()]++
	}
	p.names = make(map[string]string, len(transforms))
	for id, t := range transforms {
		if name := t.GetUniqueName(); name != "" && seen[name] == 1 {
			p.names[id] = name
		}
	}
}
