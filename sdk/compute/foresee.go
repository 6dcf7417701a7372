package compute

// Passes names the derivatives that will be taken at each point.
type Passes struct {
	VJP    bool
	JVP    int // directions at once, 0 for none
	Second int // directions v at once whose D²f[v, v] is taken, 0 for none
	Kept   int // directions of [Network.JVPKept], with [Network.SecondOfKept]; 0 for none
}

// Foresee is the number of bytes that [Network.Memory] will be when those passes
// have run in that order for so many images.
func (n *Network) Foresee(images int, p Passes) int64 {
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
	for range p.Kept {
		g.planTangent(&slots, images, true)
	}
	if p.Kept > 0 {
		g.planTangent(&slots, images, false)
		slots.keep(g.largestBent(images))
	}
	total := int64(0)
	for _, floats := range slots.floats {
		total += 4 * int64(floats)
	}
	return total
}
