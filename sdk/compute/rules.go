package compute

// The derivative rules of every operation, once for all devices.
//
// The tangent and the second coefficient of a linear operation are the operation
// itself without its bias. Those of a pointwise map follow by the chain rule from the
// derivatives of its scalar function, see maps.go. Normalisation and attention have
// closed forms in the devices.

// operation is one kind of node. in holds the values of its arguments at the
// primal point; aux is what value stored for the derivatives.
type operation interface {
	// value computes out.
	value(d Device, out, aux Tensor, in []Tensor)
	// tangent computes ∂out/∂α from a, the arguments' ∂/∂α. Arguments that do not depend
	// on the input have no buffer.
	tangent(d Device, out, aux Tensor, in, a []Tensor)
	// adjoint adds (∂out/∂in_k)ᵀ g to grad[k], or stores it where !accumulate[k].
	// Arguments whose grad has no buffer are skipped.
	adjoint(d Device, g, aux Tensor, in, grad []Tensor, accumulate []bool)
	// reads reports whether the derivatives read argument k's value.
	reads(k int) bool
	// auxLen returns the length of aux in values for one image.
	auxLen() int
	// prepare reads the operation's weights from from and uploads them to the device.
	prepare(d Device, ws *Workspace, from Source) error
	// release frees what prepare allocated outside of the workspace.
	release()
}

// nonlinearOperation is an operation that is nonlinear in its first argument.
type nonlinearOperation interface {
	operation
	// second computes ∂²out/∂α∂β from the arguments' three coefficients.
	second(d Device, out, aux Tensor, in, a, b, ab []Tensor)
}

// linear holds the methods that all linear operations share: their derivatives do not
// depend on the point.
type linear struct{}

func (linear) reads(int) bool                           { return false }
func (linear) auxLen() int                              { return 0 }
func (linear) prepare(Device, *Workspace, Source) error { return nil }
func (linear) release()                                 {}

// nonlinear holds the methods that all operations share whose derivatives read the point.
type nonlinear struct{}

func (nonlinear) reads(int) bool                           { return true }
func (nonlinear) auxLen() int                              { return 0 }
func (nonlinear) prepare(Device, *Workspace, Source) error { return nil }
func (nonlinear) release()                                 {}

// add stores or accumulates g into dst.
func add(d Device, dst, g Tensor, accumulate bool) {
	switch {
	case accumulate:
		d.Combine(dst, Times(1, dst), Times(1, g))
	case dst != g:
		d.Combine(dst, Times(1, g))
	}
}

type inputOp struct{ linear }

func (inputOp) value(Device, Tensor, Tensor, []Tensor)                     {}
func (inputOp) tangent(Device, Tensor, Tensor, []Tensor, []Tensor)         {}
func (inputOp) adjoint(Device, Tensor, Tensor, []Tensor, []Tensor, []bool) {}

// convOp is W∗in[0] + bias (+ in[1]).
type convOp struct {
	linear
	Layer
	inputs  int
	weights Weights
}

// weighted is an operation with weights, which read takes from a source.
type weighted interface {
	read(from Source) (weight, bias []float32, err error)
}

// readLayer reads a layer's weight of a shape, and its bias.
func readLayer(from Source, name string, out int, shape ...int) (weight, bias []float32, err error) {
	if weight, err = from.Floats(name+".weight", shape...); err == nil {
		bias, err = from.Floats(name+".bias", out)
	}
	return weight, bias, err
}

func (o *convOp) read(from Source) (weight, bias []float32, err error) {
	dims := []int{o.Out, o.inputs, o.Kernel, o.Kernel}
	if o.Rank != 0 {
		dims = dims[:o.Rank]
	}
	return readLayer(from, o.Name, o.Out, dims...)
}

func (o *convOp) prepare(d Device, _ *Workspace, from Source) error {
	w, b, err := o.read(from)
	if err != nil {
		return err
	}
	o.weights, err = d.PrepareConv(ConvShape{Out: o.Out, In: o.inputs, Kernel: o.Kernel}, w, b)
	return err
}
func (o *convOp) release() {
	if o.weights != nil {
		o.weights.Free()
	}
}
func (o *convOp) apply(d Device, out Tensor, in []Tensor, mode ConvMode) {
	if len(in) > 1 {
		mode.Add = in[1]
	}
	d.Conv(out, in[0], o.weights, mode)
}
func (o *convOp) value(d Device, out, _ Tensor, in []Tensor) {
	o.apply(d, out, in, ConvMode{Bias: true})
}
func (o *convOp) tangent(d Device, out, _ Tensor, _, a []Tensor) { o.apply(d, out, a, ConvMode{}) }
func (o *convOp) adjoint(d Device, g, _ Tensor, _, grad []Tensor, accumulate []bool) {
	if grad[0].Buf != nil {
		mode := ConvMode{Adjoint: true}
		if accumulate[0] {
			mode.Add = grad[0]
		}
		d.Conv(grad[0], g, o.weights, mode)
	}
	if len(grad) > 1 {
		add(d, grad[1], g, accumulate[1])
	}
}

// normOp is the group normalisation of in[0] with scale and shift in[1].
type normOp struct {
	nonlinear
	NormLayer
	channels    int
	gamma, beta Tensor
}

func (o *normOp) auxLen() int { return 2 * o.Groups }
func (o *normOp) read(from Source) (weight, bias []float32, err error) {
	return readLayer(from, o.Name, o.channels, o.channels)
}

func (o *normOp) prepare(d Device, ws *Workspace, from Source) error {
	gamma, beta, err := o.read(from)
	if err != nil {
		return err
	}
	o.gamma = ws.FromHost(gamma, 1, o.channels, 1, 1)
	o.beta = ws.FromHost(beta, 1, o.channels, 1, 1)
	return ws.Err()
}
func (o *normOp) norm(in []Tensor) Norm {
	n := Norm{Groups: o.Groups, Eps: o.Eps, Gamma: o.gamma, Beta: o.beta, SiLU: o.SiLU}
	if len(in) > 1 {
		c := in[0].C
		n.Scale, n.Shift = in[1].Channels(0, c), in[1].Channels(c, 2*c)
	}
	return n
}
func (o *normOp) value(d Device, out, stats Tensor, in []Tensor) {
	d.GroupNorm(out, in[0], stats, o.norm(in))
}
func (o *normOp) tangent(d Device, out, stats Tensor, in, a []Tensor) {
	d.GroupNormTangent(out, in[0], stats, a[0], o.norm(in))
}
func (o *normOp) second(d Device, out, stats Tensor, in, a, b, ab []Tensor) {
	d.GroupNormSecond(out, in[0], stats, a[0], b[0], ab[0], o.norm(in))
}

// jet computes tangent and second along one direction a = b in one call. It returns
// false, and does nothing, if the device is no [Jetter].
func (o *normOp) jet(d Device, out, second, stats Tensor, in, a, ab []Tensor) bool {
	j, ok := d.(Jetter)
	if ok {
		j.GroupNormJet(out, second, in[0], stats, a[0], ab[0], o.norm(in))
	}
	return ok
}
func (o *normOp) adjoint(d Device, g, stats Tensor, in, grad []Tensor, accumulate []bool) {
	d.GroupNormAdjoint(grad[0], in[0], stats, g, o.norm(in), accumulate[0])
}

// mapOp is a pointwise map of in[0].
type mapOp struct {
	nonlinear
	Map
}

func (o mapOp) value(d Device, out, _ Tensor, in []Tensor)      { d.Map(out, o.Map, in[0]) }
func (o mapOp) tangent(d Device, out, _ Tensor, in, a []Tensor) { d.Map(out, o.Tangent(), in[0], a[0]) }
func (o mapOp) second(d Device, out, _ Tensor, in, a, b, ab []Tensor) {
	d.Map(out, o.Second(), in[0], a[0], b[0], ab[0])
}
func (o mapOp) adjoint(d Device, g, _ Tensor, in, grad []Tensor, accumulate []bool) {
	d.Map(grad[0], o.Adjoint(accumulate[0]), in[0], g)
}

type attentionOp struct {
	nonlinear
	Heads
}

func (o attentionOp) value(d Device, out, _ Tensor, in []Tensor) {
	d.Attention(out, in[0], o.Heads)
}
func (o attentionOp) tangent(d Device, out, _ Tensor, in, a []Tensor) {
	d.AttentionTangent(out, in[0], a[0], o.Heads)
}
func (o attentionOp) second(d Device, out, _ Tensor, in, a, b, ab []Tensor) {
	d.AttentionSecond(out, in[0], a[0], b[0], ab[0], o.Heads)
}
func (o attentionOp) adjoint(d Device, g, _ Tensor, in, grad []Tensor, accumulate []bool) {
	d.AttentionAdjoint(grad[0], in[0], g, o.Heads, accumulate[0])
}

type resampleOp struct {
	linear
	kind  Resampling
	scale float32
}

func (o resampleOp) value(d Device, out, _ Tensor, in []Tensor) {
	d.Resample(out, in[0], o.kind, o.scale, false)
}
func (o resampleOp) tangent(d Device, out, aux Tensor, _, a []Tensor) { o.value(d, out, aux, a) }
func (o resampleOp) adjoint(d Device, g, _ Tensor, _, grad []Tensor, accumulate []bool) {
	d.Resample(grad[0], g, o.kind.Adjoint(), o.scale, accumulate[0])
}

// separableOp is L·in[0]·Rᵀ for each channel.
type separableOp struct {
	linear
	left, right  []float32 // [h', h] and [w', w]
	h, w         int
	l, r, lt, rt Tensor // on the device, and their transposes
}

func (o *separableOp) prepare(_ Device, ws *Workspace, _ Source) error {
	rows, columns := len(o.left)/o.h, len(o.right)/o.w
	o.l, o.lt = ws.FromHost(o.left, 1, 1, rows, o.h), ws.FromHost(transposed(o.left, rows, o.h), 1, 1, o.h, rows)
	o.r, o.rt = ws.FromHost(o.right, 1, 1, columns, o.w), ws.FromHost(transposed(o.right, columns, o.w), 1, 1, o.w, columns)
	return ws.Err()
}
func (o *separableOp) value(d Device, out, _ Tensor, in []Tensor) {
	d.Separable(out, in[0], o.l, o.r, false)
}
func (o *separableOp) tangent(d Device, out, aux Tensor, _, a []Tensor) { o.value(d, out, aux, a) }
func (o *separableOp) adjoint(d Device, g, _ Tensor, _, grad []Tensor, accumulate []bool) {
	d.Separable(grad[0], g, o.lt, o.rt, accumulate[0])
}

func transposed(m []float32, rows, columns int) []float32 {
	out := make([]float32, len(m))
	for i := range rows {
		for j := range columns {
			out[j*rows+i] = m[i*columns+j]
		}
	}
	return out
}

// sumOp is the sum of its arguments times a number.
type sumOp struct {
	linear
	scale float64
}

func (o sumOp) value(d Device, out, _ Tensor, in []Tensor) {
	terms := make([]Term, len(in))
	for k, t := range in {
		terms[k] = Times(o.scale, t)
	}
	d.Combine(out, terms...)
}
func (o sumOp) tangent(d Device, out, aux Tensor, _, a []Tensor) { o.value(d, out, aux, a) }
func (o sumOp) adjoint(d Device, g, _ Tensor, _, grad []Tensor, accumulate []bool) {
	for k, t := range grad {
		terms := []Term{Times(o.scale, g)}
		if accumulate[k] {
			terms = append(terms, Times(1, t))
		}
		d.Combine(t, terms...)
	}
}

// sliceOp is channels of in[0], which does not depend on the input.
type sliceOp struct {
	linear
	from, to int
}

func (o sliceOp) value(d Device, out, _ Tensor, in []Tensor) {
	d.Combine(out, Times(1, in[0].Channels(o.from, o.to)))
}
func (sliceOp) tangent(Device, Tensor, Tensor, []Tensor, []Tensor)         {}
func (sliceOp) adjoint(Device, Tensor, Tensor, []Tensor, []Tensor, []bool) {}

// addChannelOp is in[0] + in[1], the latter a constant for each channel.
type addChannelOp struct{ linear }

func (addChannelOp) value(d Device, out, _ Tensor, in []Tensor) { d.AddChannel(out, in[0], in[1]) }
func (addChannelOp) tangent(d Device, out, _ Tensor, _, a []Tensor) {
	d.Combine(out, Times(1, a[0]))
}
func (addChannelOp) adjoint(d Device, g, _ Tensor, _, grad []Tensor, accumulate []bool) {
	add(d, grad[0], g, accumulate[0])
}

// concatOp joins channels. An argument that the memory plan has placed inside the
// result is not copied.
type concatOp struct{ linear }

func (concatOp) value(d Device, out, _ Tensor, in []Tensor) {
	at := 0
	for _, t := range in {
		add(d, out.Channels(at, at+t.C), t, false)
		at += t.C
	}
}
func (o concatOp) tangent(d Device, out, aux Tensor, _, a []Tensor) { o.value(d, out, aux, a) }
func (concatOp) adjoint(d Device, g, _ Tensor, _, grad []Tensor, accumulate []bool) {
	at := 0
	for k, t := range grad {
		add(d, t, g.Channels(at, at+t.C), accumulate[k])
		at += t.C
	}
}
