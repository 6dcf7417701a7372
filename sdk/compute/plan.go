package compute

// The static memory plan: which array holds which value, decided once per kind
// of pass and batch, from the values' lifetimes.
//
// An argument of a concatenation that nobody needs later lives inside the
// concatenation's own array, so that joining channels costs nothing.

// place is where a node's value lives: a range of channels of a slot.
type place struct {
	slot    int // index into Network.slots
	channel int // first channel inside the slot's images
	of      int // channels of the slot's images
}

// residence maps nodes to the node whose array they live in.
type residence struct {
	root    []Node
	channel []int
}

// lastUse is, for each node, the index of the last node that takes it.
func (g *Graph) lastUse() []int {
	last := make([]int, len(g.nodes))
	for i, n := range g.nodes {
		last[i] = i
		for _, k := range n.in {
			last[k] = i
		}
	}
	last[g.out] = len(g.nodes)
	return last
}

// reside places concatenations' arguments inside them.
func (g *Graph) reside() residence {
	r := residence{make([]Node, len(g.nodes)), make([]int, len(g.nodes))}
	for i := range g.nodes {
		r.root[i] = Node(i)
	}
	last := g.lastUse()
	for j, n := range g.nodes {
		if _, ok := n.op.(concatOp); !ok || n.in[0] == n.in[1] {
			continue
		}
		at := 0
		for _, k := range n.in {
			_, joined := g.nodes[k].op.(concatOp)
			if _, input := g.nodes[k].op.(inputOp); !input && !joined && last[k] == j && g.nodes[k].active == n.active {
				r.root[k], r.channel[k] = Node(j), at
			}
			at += g.nodes[k].c
		}
	}
	return r
}

// pool hands out slots for lifetimes. Scratch slots are shared by all plans;
// one that is kept belongs to its plan alone.
type pool struct {
	floats []int  // size of each slot
	kept   []bool // not for reuse by other plans
}

func (p *pool) keep(floats int) int {
	p.floats, p.kept = append(p.floats, floats), append(p.kept, true)
	return len(p.floats) - 1
}

// take finds a free scratch slot: the smallest that is large enough, else the
// largest, which grows, else a new one.
func (p *pool) take(floats int, busy []bool) int {
	fit, largest := -1, -1
	for s := range p.floats {
		if p.kept[s] || s < len(busy) && busy[s] {
			continue
		}
		if p.floats[s] >= floats && (fit < 0 || p.floats[s] < p.floats[fit]) {
			fit = s
		}
		if largest < 0 || p.floats[s] > p.floats[largest] {
			largest = s
		}
	}
	if fit >= 0 {
		return fit
	}
	if largest >= 0 {
		p.floats[largest] = floats
		return largest
	}
	p.floats, p.kept = append(p.floats, floats), append(p.kept, false)
	return len(p.floats) - 1
}

// lifetime is when an array is in use: from is the step that first writes it,
// to the last step that touches it. keep holds it beyond the pass.
type lifetime struct {
	used     bool
	from, to int
	keep     bool
}

func (l *lifetime) extend(step int) {
	if !l.used {
		*l = lifetime{true, step, step, l.keep}
	}
	l.from, l.to = min(l.from, step), max(l.to, step)
}

// assign gives each root with a lifetime a slot for images arrays of its shape.
func (g *Graph) assign(p *pool, lives []lifetime, images, steps int) []int {
	slots := make([]int, len(lives))
	var busy []bool
	for step := 0; step <= steps; step++ {
		for i, l := range lives {
			if !l.used || l.from != step {
				continue
			}
			floats := images * g.nodes[i].c * g.nodes[i].h * g.nodes[i].w
			if l.keep {
				slots[i] = p.keep(floats)
				continue
			}
			slots[i] = p.take(floats, busy)
			for len(busy) <= slots[i] {
				busy = append(busy, false)
			}
			busy[slots[i]] = true
		}
		for i, l := range lives {
			if l.used && l.to == step && !l.keep {
				busy[slots[i]] = false
			}
		}
	}
	return slots
}

func (g *Graph) places(r residence, slots []int) []place {
	out := make([]place, len(g.nodes))
	for i := range out {
		out[i] = place{slots[r.root[i]], r.channel[i], g.nodes[r.root[i]].c}
	}
	return out
}

// planValue places every node's value; what derivatives read is kept.
func (g *Graph) planValue(p *pool, images int) []place {
	r, lives := g.reside(), make([]lifetime, len(g.nodes))
	for i, n := range g.nodes {
		lives[r.root[i]].extend(i)
		for k, j := range n.in {
			lives[r.root[j]].extend(i)
			if n.active && n.op.reads(k) {
				lives[r.root[j]].keep = true
			}
		}
	}
	lives[r.root[g.out]].keep = true
	return g.places(r, g.assign(p, lives, images, len(g.nodes)))
}

// planTangent places the coefficients of every active node. With keepInputs those at
// the inputs of nonlinear operations stay in place after the pass.
func (g *Graph) planTangent(p *pool, images int, keepInputs bool) []place {
	r, lives := g.reside(), make([]lifetime, len(g.nodes))
	for i, n := range g.nodes {
		if !n.active {
			continue
		}
		lives[r.root[i]].extend(i)
		for _, j := range n.in {
			if g.nodes[j].active {
				lives[r.root[j]].extend(i)
			}
		}
		if j, ok := g.nonlinearInput(n); ok && keepInputs {
			lives[r.root[j]].keep = true
		}
	}
	lives[r.root[g.out]].keep = true
	return g.places(r, g.assign(p, lives, images, len(g.nodes)))
}

// planAdjoint places the gradient of every active node. Step s handles node
// len−1−s. accumulate[i][k] says whether node i adds to its argument k's
// gradient or is the first to write it.
func (g *Graph) planAdjoint(p *pool, images int) (where []place, accumulate [][]bool) {
	r, lives := g.reside(), make([]lifetime, len(g.nodes))
	written := make([]bool, len(g.nodes))
	accumulate = make([][]bool, len(g.nodes))
	last := len(g.nodes) - 1
	lives[r.root[g.out]].extend(0)
	for i := last; i >= 0; i-- {
		n, step := g.nodes[i], last-i
		accumulate[i] = make([]bool, len(n.in))
		if !n.active {
			continue
		}
		lives[r.root[i]].extend(step)
		for k, j := range n.in {
			if !g.nodes[j].active {
				continue
			}
			// The gradient of a summand is the sum's own: share its array, unless the
			// summand has one already.
			_, joined := g.nodes[j].op.(concatOp)
			if passesGradient(n, k) && !written[j] && r.root[j] == j && !joined && j != g.input {
				r.root[j], r.channel[j] = r.root[i], r.channel[i]
			}
			accumulate[i][k] = written[j]
			written[j] = true
			lives[r.root[j]].extend(step)
		}
	}
	lives[g.input].keep = true
	return g.places(r, g.assign(p, lives, images, last)), accumulate
}

// passesGradient says whether argument k's gradient is the node's own.
func passesGradient(n node, k int) bool {
	switch n.op.(type) {
	case *convOp:
		return k == 1
	case addChannelOp:
		return k == 0
	}
	return false
}
