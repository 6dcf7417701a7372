package compute

import "fmt"

// A second derivative along a combination v = Σ c_k v_k of directions whose JVPs
// have been taken costs one pass instead of two: the first coefficient at each
// layer is linear in the direction, so it is the same combination of the tangents
// that those JVPs had there. Only the layers that are not linear ask for it.

// tangentCache holds the tangents at the inputs of nonlinear operations, one plan for each
// direction; all others are scratch.
type tangentCache struct {
	taken      int // directions whose JVP has been taken at this point
	directions [][]place
	second     []place // of the pass that reads them
	combined   int     // the slot of a layer's Σ c_k a_k
	sum        [1]Tensor
	terms      [combineTerms]Term
}

// combineTerms is how many terms [Pointwise.Combine] takes.
const combineTerms = 6

// JVPCached is [Network.JVP] of one direction an image, whose tangents are cached as those
// of direction k ≥ 0 for [Network.SecondCached] until the next Value.
func (n *Network) JVPCached(k int, v Tensor) (Tensor, error) {
	if err := n.check("a direction", v, n.graph.input, true); err != nil {
		return Tensor{}, err
	}
	if v.N != n.batch || k < 0 || k > n.cache.taken {
		return Tensor{}, fmt.Errorf("direction %d of %d images at a point of %d images after %d directions", k, v.N, n.batch, n.cache.taken)
	}
	n.cache.taken = max(n.cache.taken, k+1)
	if k == len(n.cache.directions) {
		n.cache.directions = append(n.cache.directions, n.graph.planTangent(&n.pool, n.batch, true))
	}
	return n.push([]Tensor{v}, n.cache.directions[k], passKey{kind: cachedPass, coefficients: 1, images: k})
}

// SecondCached is D²f[v, v] along v = Σ_k coef[k]·v_k of the first cached directions;
// coef[k] has a factor for each image.
func (n *Network) SecondCached(coef [][]float64) (Tensor, error) {
	g := n.graph
	if len(coef) < 1 || len(coef) > n.cache.taken {
		return Tensor{}, fmt.Errorf("%d factors of %d cached directions", len(coef), n.cache.taken)
	}
	if n.cache.second == nil {
		n.cache.second, n.cache.combined = g.planTangent(&n.pool, n.batch, false), n.pool.keep(g.maxNonlinearInput(n.batch))
	}
	if err := n.allocate(); err != nil {
		return Tensor{}, err
	}
	where, images := n.cache.second, n.batch
	x := n.at(where, g.input, images)
	n.dev.Combine(x, Times(0, n.at(n.value, g.input, images)))
	var in, ab []Tensor
	for i, nd := range g.nodes {
		if !nd.active || len(nd.in) == 0 {
			continue
		}
		out := n.at(where, Node(i), images)
		in = n.args(in, n.value, nd, images, false)
		ab = n.args(ab, where, nd, images, true)
		if j, ok := g.nonlinearInput(nd); ok {
			n.cache.sum[0] = n.combine(j, coef)
			a := n.cache.sum[:]
			nd.op.(nonlinearOperation).second(n.dev, out, n.aux[i], in, a, a, ab)
		} else {
			nd.op.tangent(n.dev, out, n.aux[i], in, ab)
		}
	}
	return n.at(where, g.out, images), nil
}

// nonlinearInput returns the input in which nd's operation is nonlinear, if it is.
// Every nonlinear operation has exactly one.
func (g *Graph) nonlinearInput(nd node) (Node, bool) {
	_, ok := nd.op.(nonlinearOperation)
	if !ok || !nd.active {
		return NoNode, false
	}
	return nd.in[0], true
}

// maxNonlinearInput returns the length, in float32 values for a batch of images, of the
// largest tensor that a nonlinear operation reads.
func (g *Graph) maxNonlinearInput(images int) (floats int) {
	for _, nd := range g.nodes {
		if j, ok := g.nonlinearInput(nd); ok {
			floats = max(floats, images*g.nodes[j].c*g.nodes[j].h*g.nodes[j].w)
		}
	}
	return floats
}

// combine is Σ_k coef[k]·a_k of node j's cached tangents.
func (n *Network) combine(j Node, coef [][]float64) Tensor {
	nd := n.graph.nodes[j]
	sum := Dense(n.slots[n.cache.combined], n.batch, nd.c, nd.h, nd.w)
	const most = combineTerms - 1 // one is the sum so far
	for from := 0; from < len(coef); from += most {
		all := n.cache.terms[:0]
		if from > 0 {
			all = append(all, Times(1, sum))
		}
		for k := from; k < min(from+most, len(coef)); k++ {
			all = append(all, Term{n.at(n.cache.directions[k], j, n.batch), coef[k]})
		}
		n.dev.Combine(sum, all...)
	}
	return sum
}
