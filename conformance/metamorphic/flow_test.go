package metamorphic

import "slices"

// item is an element in one of its windows, on its way from stage to stage.
type item struct {
	key    string
	window window
	at     int64
	value  int64
}

// stage is one of a pipeline's stages in the model: a grouping or a stateful DoFn.
type stage interface {
	take(item)
	// advance moves the watermark on, pass the processing time (by ms).
	advance(to int64)
	pass(by int64)
	// sent are the items put out since it was last asked, watermark is how far it is.
	sent() []item
	watermark() int64
	// next is the next processing time that it waits for, never if there is none.
	next() int64
}

const never = int64(1) << 62

// flow is a program that is played in the model.
type flow struct {
	stages     []stage
	groupings  []*model
	remember   *remembering // nil if there is no stateful DoFn
	processing int64
}

// run plays a program to its end.
func (p *program) run(start int64) *flow {
	f := &flow{processing: start}
	if p.stateful != nil {
		f.remember = newRemembering(p, start)
		f.stages = append(f.stages, f.remember)
	}
	if p.keep {
		f.stages = append(f.stages, &keeping{lateness: p.lateness, in: beginning, out: beginning})
	}
	for i, g := range p.groupings {
		m := &model{grouping: g, windows: p.windows, lateness: p.lateness, number: i, in: beginning, out: beginning, processing: start}
		f.groupings = append(f.groupings, m)
		f.stages = append(f.stages, m)
	}
	for _, e := range p.events {
		switch {
		case e.elements != nil:
			for _, x := range e.elements {
				for _, w := range p.windows.assign(x.at) {
					f.stages[0].take(item{key: keyOf(x.value), window: w, at: x.at, value: x.value})
				}
			}
		case e.processing > 0:
			f.pass(e.processing)
		default:
			f.stages[0].advance(e.watermark)
		}
		f.settle()
	}
	f.stages[0].advance(endOfTime)
	f.settle()
	// Nobody moves the clock any more, so it goes to where somebody waits for it.
	for {
		next := never
		for _, s := range f.stages {
			next = min(next, s.next())
		}
		if next == never {
			return f
		}
		f.pass(next - f.processing)
		f.settle()
	}
}

// pass moves the clock on. Who stands below hears of it first: that is, before what those
// above send on at that time.
func (f *flow) pass(by int64) {
	f.processing += by
	for i := len(f.stages) - 1; i >= 0; i-- {
		f.stages[i].pass(by)
	}
}

// settle lets everything come down that is on its way: what a stage sends before the
// watermark behind it.
func (f *flow) settle() {
	for i := 1; i < len(f.stages); i++ {
		for _, it := range f.stages[i-1].sent() {
			f.stages[i].take(it)
		}
		f.stages[i].advance(f.stages[i-1].watermark())
	}
}

// panes are those of all groupings, as their DoFns see them.
func (f *flow) panes() (all []pane) {
	for _, m := range f.groupings {
		for _, p := range m.panes {
			if m.combine {
				p = pane{grouping: p.grouping, key: p.key, window: p.window, timestamp: p.timestamp, values: []int64{p.sum()}}
			}
			all = append(all, p)
		}
	}
	return all
}

// unclear says that what is right is open.
func (f *flow) unclear() bool {
	return slices.ContainsFunc(f.groupings, func(m *model) bool { return m.unclear })
}
