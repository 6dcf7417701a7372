package compute

// Passes names the derivatives that will be taken at each point.
type Passes struct {
	VJP    bool
	JVP    int // directions at once, 0 for none
	Second int // directions v at once whose D²f[v, v] is taken, 0 for none
	Cached int // directions of [Network.JVPCached], with [Network.SecondCached]; 0 for none
}

// Reserver is a [Device] whose convolutions take memory of their own when they first
// run: further layouts of the weights, scratch.
type Reserver interface {
	// ConvMemory returns the bytes that a convolution of a batch of images of height×width takes:
	// lasting ones beyond those that it has, and scratch that all convolutions share, which
	// [Info].Memory counts as free.
	ConvMemory(w Weights, images, height, width int, adjoint bool) (lasting, scratch int64)
}

// EstimateMemory returns the bytes of memory that the network takes, beyond what it has
// now, when those passes have run in that order for a batch of images: what
// [Network.Memory] grows by and what a [Reserver] adds. It is negative where memory is
// freed. largest is the bytes of the largest array.
func (n *Network) EstimateMemory(images int, p Passes) (total, largest int64) {
	g, slots := n.graph, pool{}
	g.planValue(&slots, images)
	if p.VJP {
		g.planAdjoint(&slots, images)
	}
	if p.JVP > 0 {
		g.planTangent(&slots, images*p.JVP, false)
	}
	if p.Second > 0 {
		g.planTangent(&slots, 2*images*p.Second, false)
	}
	for range p.Cached {
		g.planTangent(&slots, images, true)
	}
	if p.Cached > 0 {
		g.planTangent(&slots, images, false)
		slots.keep(g.maxNonlinearInput(images))
	}
	for _, floats := range slots.floats {
		total += 4 * int64(floats)
		largest = max(largest, 4*int64(floats))
	}
	if d, ok := n.dev.(Reserver); ok {
		total += n.reserved(d, images*max(1, p.JVP, 2*p.Second), p.VJP)
	}
	return total - n.Memory(), largest
}

// reserved returns what the device takes for the convolutions.
func (n *Network) reserved(d Reserver, images int, adjoint bool) (bytes int64) {
	shared := int64(0)
	for _, nd := range n.graph.nodes {
		o, ok := nd.op.(*convOp)
		if !ok {
			continue
		}
		lasting, scratch := d.ConvMemory(o.weights, images, nd.h, nd.w, false)
		bytes, shared = bytes+lasting, max(shared, scratch)
		if adjoint && nd.active {
			lasting, scratch = d.ConvMemory(o.weights, images, nd.h, nd.w, true)
			bytes, shared = bytes+lasting, max(shared, scratch)
		}
	}
	return bytes + shared
}
