package compute

import (
	"errors"
	"fmt"
)

// Network is a graph on a device. It evaluates the graph's value at a point x
// and keeps what derivatives need; then VJP, JVP and Second give derivatives at
// that point, sharing its stored activations. Each result is valid until the
// next call of the same method, or of Value.
type Network struct {
	dev    Device
	graph  *Graph
	consts *Workspace
	shares bool // its weights are another network's

	batch int
	pool  pool
	slots []Buffer
	sizes []int // allocated, may lag behind pool.floats
	value []place
	aux   []Tensor
	auxWS *Workspace

	adjoint    []place
	accumulate [][]bool
	tangents   map[passKey][]place
	cache      tangentCache

	recordings map[passKey]Recording // of passes that have run, where the device can repeat them
}

// passKey names a pass of a plan.
type passKey struct {
	kind                 passKind
	coefficients, images int
}

type passKind int

const (
	valuePass passKind = iota
	adjointPass
	tangentPass
	cachedPass // images is the direction's number
)

// Compile reads the graph's weights and prepares them on a device, one layer at a
// time. The graph belongs to the network afterwards.
func (g *Graph) Compile(d Device, weights Source) (*Network, error) {
	if g.out == NoNode || !g.nodes[g.out].active {
		return nil, errors.New("compute: the graph has no output that depends on its input")
	}
	n := &Network{dev: d, graph: g, consts: NewWorkspace(d)}
	for _, nd := range g.nodes {
		if err := nd.op.prepare(d, n.consts, weights); err != nil {
			n.Close()
			return nil, err
		}
	}
	return n, nil
}

// Resized returns the network of g with n's weights, which it shares. g must be n's graph at
// another resolution: the same operations in the same order. Close it before n.
func (n *Network) Resized(g *Graph) (*Network, error) {
	if len(g.nodes) != len(n.graph.nodes) {
		return nil, fmt.Errorf("compute: a graph of %d operations can't share the weights of one of %d", len(g.nodes), len(n.graph.nodes))
	}
	r := &Network{dev: n.dev, graph: g, consts: NewWorkspace(n.dev), shares: true}
	for i, nd := range g.nodes {
		same := true
		switch op := nd.op.(type) {
		case *convOp:
			var from *convOp
			if from, same = n.graph.nodes[i].op.(*convOp); same && op.Layer == from.Layer && op.inputs == from.inputs {
				op.weights = from.weights
			} else {
				same = false
			}
		case *normOp:
			var from *normOp
			if from, same = n.graph.nodes[i].op.(*normOp); same && op.NormLayer == from.NormLayer && op.channels == from.channels {
				op.gamma, op.beta = from.gamma, from.beta
			} else {
				same = false
			}
		default:
			if err := op.prepare(n.dev, r.consts, nil); err != nil {
				r.Close()
				return nil, err
			}
		}
		if !same {
			r.Close()
			return nil, fmt.Errorf("compute: operation %d is not that of the network whose weights are to be shared", i)
		}
	}
	return r, nil
}

// Check reads the weights that [Graph.Compile] would, one layer after the other, and
// returns the first error. It keeps none of them.
func (g *Graph) Check(weights Source) error {
	for _, nd := range g.nodes {
		if o, ok := nd.op.(weighted); ok {
			if _, _, err := o.read(weights); err != nil {
				return err
			}
		}
	}
	return nil
}

// Device is where the network runs.
func (n *Network) Device() Device { return n.dev }

// Shapes returns the channels, rows and columns of the input x and of the output.
func (n *Network) Shapes() (in, out [3]int) {
	shape := func(at Node) (s [3]int) { s[0], s[1], s[2] = n.graph.Shape(at); return s }
	return shape(n.graph.input), shape(n.graph.out)
}

// AuxLen returns how many values an image of the second input has.
func (n *Network) AuxLen() int { return n.graph.nodes[n.graph.aux].c }

// Close frees the network's memory, prepared weights included.
func (n *Network) Close() {
	n.reset(0)
	n.consts.Free()
	for _, nd := range n.graph.nodes {
		if !n.shares {
			nd.op.release()
		}
	}
}

// Memory returns the number of bytes that activations, coefficients and gradients of
// the passes run so far take on the device.
func (n *Network) Memory() int64 {
	total := int64(0)
	for _, s := range n.sizes {
		total += 4 * int64(s)
	}
	return total
}

// reset drops all plans and starts new ones for a batch.
func (n *Network) reset(batch int) {
	n.forget()
	for _, b := range n.slots {
		if b != nil {
			n.dev.Free(b)
		}
	}
	if n.auxWS != nil {
		n.auxWS.Free()
	}
	*n = Network{dev: n.dev, graph: n.graph, consts: n.consts, shares: n.shares, batch: batch, auxWS: NewWorkspace(n.dev),
		tangents: map[passKey][]place{}, recordings: map[passKey]Recording{}}
}

// pass runs calls, or repeats what they queued the last time.
func (n *Network) pass(key passKey, calls func()) {
	d, can := n.dev.(Recorder)
	switch r, ok := n.recordings[key]; {
	case !can:
		calls()
	case ok:
		r.Replay()
	default:
		n.recordings[key] = d.Record(calls)
	}
}

// forget drops the recordings, whose arrays are about to change.
func (n *Network) forget() {
	for _, r := range n.recordings {
		r.Free()
	}
	clear(n.recordings)
}

// allocate makes the slots that plans have asked for.
func (n *Network) allocate() error {
	for s, want := range n.pool.floats {
		if s == len(n.slots) {
			n.slots, n.sizes = append(n.slots, nil), append(n.sizes, 0)
		}
		if n.sizes[s] >= want {
			continue
		}
		if n.slots[s] != nil {
			n.forget()
			n.dev.Free(n.slots[s])
			n.slots[s], n.sizes[s] = nil, 0
		}
		b, err := n.dev.Alloc(want)
		if err != nil {
			return fmt.Errorf("activations of %d images: %w", n.batch, err)
		}
		n.slots[s], n.sizes[s] = b, want
	}
	return nil
}

// at returns the tensor of node i in a plan, for a batch of images.
func (n *Network) at(where []place, i Node, images int) Tensor {
	nd, p := n.graph.nodes[i], where[i]
	px := nd.h * nd.w
	return Tensor{Buf: n.slots[p.slot], Off: p.channel * px, N: images, C: nd.c, H: nd.h, W: nd.w, Pitch: p.of * px}
}

// args fills dst with the tensors of a node's arguments; inactive ones stay
// empty where only active ones have a coefficient.
func (n *Network) args(dst []Tensor, where []place, nd node, images int, activeOnly bool) []Tensor {
	dst = dst[:0]
	for _, j := range nd.in {
		if activeOnly && !n.graph.nodes[j].active {
			dst = append(dst, Tensor{})
			continue
		}
		dst = append(dst, n.at(where, j, images))
	}
	return dst
}

func (n *Network) check(name string, t Tensor, node Node, multiple bool) error {
	nd := n.graph.nodes[node]
	if t.C != nd.c || t.H != nd.h || t.W != nd.w {
		return fmt.Errorf("%s is %v, the network takes ·×%d×%d×%d", name, t, nd.c, nd.h, nd.w)
	}
	if t.N <= 0 || multiple && (n.batch == 0 || t.N%n.batch != 0) {
		return fmt.Errorf("%s has %d images, a multiple of the point's %d is wanted", name, t.N, n.batch)
	}
	return nil
}

// Value evaluates the network at x, with aux holding the second input of each
// image, dense on the host. The result has x.N images.
func (n *Network) Value(x Tensor, aux []float32) (Tensor, error) {
	g := n.graph
	if err := n.check("the input", x, g.input, false); err != nil {
		return Tensor{}, err
	}
	if want := x.N * g.nodes[g.aux].c; len(aux) != want {
		return Tensor{}, fmt.Errorf("the second input has %d values, %d images need %d", len(aux), x.N, want)
	}
	if x.N != n.batch {
		n.reset(x.N)
		n.value = g.planValue(&n.pool, x.N)
		n.aux = make([]Tensor, len(g.nodes))
		for i, nd := range g.nodes {
			if l := nd.op.auxLen(); l > 0 {
				n.aux[i] = n.auxWS.New(x.N, l, 1, 1)
			}
		}
		if err := errors.Join(n.auxWS.Err(), n.allocate()); err != nil {
			n.reset(0)
			return Tensor{}, err
		}
	}
	n.cache.taken = 0
	add(n.dev, n.at(n.value, g.input, x.N), x, false)
	n.dev.Write(n.at(n.value, g.aux, x.N), aux)
	n.pass(passKey{kind: valuePass}, func() {
		var in []Tensor
		for i, nd := range g.nodes {
			in = n.args(in, n.value, nd, x.N, false)
			nd.op.value(n.dev, n.at(n.value, Node(i), x.N), n.aux[i], in)
		}
	})
	return n.at(n.value, g.out, x.N), nil
}

// VJP is Jᵀu: the gradient of ⟨u, f(x)⟩ at the point. u has the output's shape.
func (n *Network) VJP(u Tensor) (Tensor, error) {
	g := n.graph
	if err := n.check("the cotangent", u, g.out, true); err != nil {
		return Tensor{}, err
	}
	if u.N != n.batch {
		return Tensor{}, fmt.Errorf("the cotangent has %d images, the point %d", u.N, n.batch)
	}
	if n.adjoint == nil {
		n.adjoint, n.accumulate = g.planAdjoint(&n.pool, n.batch)
	}
	if err := n.allocate(); err != nil {
		return Tensor{}, err
	}
	add(n.dev, n.at(n.adjoint, g.out, n.batch), u, false)
	n.pass(passKey{kind: adjointPass}, func() {
		var in, grad []Tensor
		for i := len(g.nodes) - 1; i >= 0; i-- {
			nd := g.nodes[i]
			if !nd.active || len(nd.in) == 0 || Node(i) > g.out {
				continue
			}
			in = n.args(in, n.value, nd, n.batch, false)
			grad = n.args(grad, n.adjoint, nd, n.batch, true)
			nd.op.adjoint(n.dev, n.at(n.adjoint, Node(i), n.batch), n.aux[i], in, grad, n.accumulate[i])
		}
	})
	return n.at(n.adjoint, g.input, n.batch), nil
}

// JVP is Jv at the point for each direction v; v.N is a multiple of the point's
// images.
func (n *Network) JVP(v Tensor) (Tensor, error) {
	return n.coefficients([]Tensor{v})
}

// Second is D²f[v, w] at the point: the mixed second derivative of
// f(x + αv + βw). v and w may be the same tensor, which saves a third of the work.
// The coefficients travel stacked along the batch, so each weight is read once.
func (n *Network) Second(v, w Tensor) (Tensor, error) {
	if v == w {
		return n.coefficients([]Tensor{v, {}})
	}
	if w.N != v.N {
		return Tensor{}, fmt.Errorf("directions of %d and %d images", v.N, w.N)
	}
	return n.coefficients([]Tensor{v, w, {}})
}

// coefficients pushes Taylor coefficients through the network: [a], [a, ab] with
// b = a, or [a, b, ab]. An empty tensor starts at zero. It returns the last.
func (n *Network) coefficients(start []Tensor) (Tensor, error) {
	s, each := len(start), start[0].N
	for _, v := range start[:max(1, s-1)] {
		if err := n.check("a direction", v, n.graph.input, true); err != nil {
			return Tensor{}, err
		}
	}
	key := passKey{tangentPass, s, each}
	where := n.tangents[key]
	if where == nil {
		where = n.graph.planTangent(&n.pool, s*each, false)
		n.tangents[key] = where
	}
	return n.push(start, where, key)
}

// push is coefficients with its plan made.
func (n *Network) push(start []Tensor, where []place, key passKey) (Tensor, error) {
	g, s, each := n.graph, len(start), start[0].N
	all := s * each
	if err := n.allocate(); err != nil {
		return Tensor{}, err
	}
	coefficient := func(t Tensor, k int) Tensor {
		if t.Buf == nil {
			return t
		}
		return t.Images(k*each, (k+1)*each)
	}
	x := n.at(where, g.input, all)
	for k, v := range start {
		if v.Buf == nil {
			n.dev.Combine(coefficient(x, k), Times(0, start[0]))
		} else {
			add(n.dev, coefficient(x, k), v, false)
		}
	}
	n.pass(key, func() {
		var in, stacked []Tensor
		split := make([][]Tensor, s)
		for i, nd := range g.nodes {
			if !nd.active || len(nd.in) == 0 {
				continue
			}
			out := n.at(where, Node(i), all)
			in = n.args(in, n.value, nd, n.batch, false)
			stacked = n.args(stacked, where, nd, all, true)
			op, isNonlinear := nd.op.(nonlinearOperation)
			if !isNonlinear { // linear: all coefficients at once
				nd.op.tangent(n.dev, out, n.aux[i], in, stacked)
				continue
			}
			for k := range split {
				split[k] = split[k][:0]
				for _, t := range stacked {
					split[k] = append(split[k], coefficient(t, k))
				}
			}
			if norm, ok := op.(*normOp); ok && s == 2 && norm.jet(n.dev, coefficient(out, 0), coefficient(out, 1), n.aux[i], in, split[0], split[1]) {
				continue
			}
			for k := range max(1, s-1) {
				op.tangent(n.dev, coefficient(out, k), n.aux[i], in, split[k])
			}
			if s > 1 {
				op.second(n.dev, coefficient(out, s-1), n.aux[i], in, split[0], split[s-2], split[s-1])
			}
		}
	})
	return coefficient(n.at(where, g.out, all), s-1), nil
}
