// Package compute evaluates a network and its directional derivatives on a device.
//
// A [Device] supplies primitive kernels and knows nothing of derivatives beyond
// the value, adjoint, tangent and second coefficient of its few nonlinear
// primitives. A [Graph] records a network once; [Network] evaluates it as a
// value, a vector-Jacobian product, Jacobian-vector products, or a second-order
// directional derivative. The rules that connect the two stand in rules.go,
// above all devices.
package compute

import "errors"

// Device is one place where arrays live and kernels run: the CPU, a WebGPU
// adapter, a CUDA GPU. Kernels are queued in order and may run asynchronously;
// the first failure is stored and returned by every later Read, Dots and Sync.
// A Device is used by one goroutine at a time.
type Device interface {
	Memory
	Linear
	Nonlinear
	Pointwise
	// Info describes the device.
	Info() Info
	// Close waits for queued work and releases the device's resources.
	Close() error
}

// Info describes a device.
type Info struct {
	Name        string // short and stable: "cpu"
	Description string // for people: instruction set, threads, adapter and driver
	// Arithmetic is what results depend on to the bit: instruction set or GPU, and precision.
	// Two devices with the same text give the same bytes. Empty: Description says it.
	Arithmetic string
	Software   bool  // the device emulates a GPU on the CPU and is slow
	Memory     int64 // bytes that can still be allocated; 0 if unknown
	MaxArray   int64 // bytes of the largest possible array; 0 if only Memory limits it
	// Rounding is the relative error to which convolutions round their factors if that is
	// coarser than float32, as on tensor cores: 2⁻¹¹ for TF32 and f16. Otherwise 0.
	Rounding float64
}

// Failures that a device's errors wrap, for [errors.Is].
var (
	// ErrMemory: the device has not enough memory. It is whole: a smaller batch may fit.
	ErrMemory = errors.New("out of device memory")
	// ErrLost: the device is gone (unplugged, reset, its driver died). Work can go on
	// on a new one.
	ErrLost = errors.New("the device is lost")
)

// Recorder is a [Device] that can repeat a sequence of kernels at less cost than
// queuing them one by one: a command buffer of WebGPU, a CUDA graph.
type Recorder interface {
	// Record runs calls, which queues kernels, and returns a recording that queues the
	// same kernels again, on the same arrays with the same numbers. calls must not use
	// Alloc, Free, Write, Read, Dots or Sync.
	Record(calls func()) Recording
}

// Recording is a sequence of kernels that can be repeated as long as its arrays are
// not freed.
type Recording interface {
	Replay()
	Free()
}

// Jetter is a [Device] that computes tangent and second coefficient of a normalisation
// along one direction in one call, at less cost than in two.
type Jetter interface {
	// GroupNormJet is GroupNormTangent into dst and GroupNormSecond, with b = a, into
	// second.
	GroupNormJet(dst, second, x, stats, a, ab Tensor, p Norm)
}

// Drawer is a [Device] that draws random numbers itself, so that noise need not be
// uploaded: the numbers of [github.com/cmi-diffusion/cmi/sdk/diffusion.Stream], up to
// rounding.
type Drawer interface {
	// Normals fills image n of dst with N(0, 1) by Box–Muller from the Philox blocks
	// that follow first[n], four values a block.
	Normals(dst Tensor, first []PhiloxBlock)
}

// PhiloxBlock is a counter and a key of the Philox 4×32-10 generator (Salmon et al.,
// "Parallel random numbers: as easy as 1, 2, 3"). The b-th block after it has b added
// to word 0 of the counter.
type PhiloxBlock struct {
	Counter [4]uint32
	Key     [2]uint32
}

// Memory allocates device arrays and moves them to and from the host.
type Memory interface {
	// Alloc returns an array of floats float32 values with unspecified contents.
	Alloc(floats int) (Buffer, error)
	Free(Buffer)
	// Write copies src, dense NCHW, into dst.
	Write(dst Tensor, src []float32)
	// Read waits for the queued work and copies src into dst, dense NCHW.
	Read(dst []float32, src Tensor) error
	// Sync waits for the queued work.
	Sync() error
}

// Buffer is an array in a device's memory. Buffers are compared with ==, so
// implementations are pointers.
type Buffer interface{ Len() int }

// Weights are those of a convolution, prepared for a device by [Linear.PrepareConv].
type Weights interface {
	Shape() ConvShape
	// Free releases their memory. No later call may use them.
	Free()
}

// ConvShape is the shape of a 2-D convolution with stride 1 and zero padding
// Kernel/2. Kernel is 1 or 3.
type ConvShape struct{ Out, In, Kernel int }

// ConvMode selects what a prepared convolution computes.
type ConvMode struct {
	Adjoint bool   // the input gradient: the transposed map, never with bias
	Bias    bool   // add the bias (forward only)
	Add     Tensor // added to the result where Add.Buf is not nil; may be the destination itself
}

// Linear holds the fixed linear maps. Sources and destinations never overlap,
// ConvMode.Add apart. Accumulate means dst += … instead of dst = ….
type Linear interface {
	// PrepareConv copies weights [Out, In, Kernel, Kernel] and bias [Out] (nil for none)
	// to the device in the layout that Conv reads.
	PrepareConv(shape ConvShape, weight, bias []float32) (Weights, error)
	// Conv applies the prepared map to each image of src.
	Conv(dst, src Tensor, w Weights, mode ConvMode)
	// Resample changes the resolution by two, see [Resampling]; the result is
	// multiplied by scale.
	Resample(dst, src Tensor, kind Resampling, scale float32, accumulate bool)
	// Separable computes dst = L · src · Rᵀ for each channel image; L is
	// [1,1,h',h] and R is [1,1,w',w] for src [·,·,h,w] and dst [·,·,h',w'].
	Separable(dst, src, l, r Tensor, accumulate bool)
	// Correlate is the depthwise cross-correlation with one kernel [1,1,kh,kw]
	// (odd sizes), the border extended as named, or the exact adjoint of that map.
	Correlate(dst, src, kernel Tensor, border Border, adjoint bool)
}

// Resampling names a linear change of resolution by two.
type Resampling int

// Up2 and SumDown2 are each other's adjoints, and so are Subsample2 and
// ZeroInsert2. A 2×2 mean is SumDown2 with scale 1/4.
const (
	Up2         Resampling = iota // nearest neighbour × 2
	SumDown2                      // sum over 2×2 cells
	Subsample2                    // keep even rows and columns
	ZeroInsert2                   // even rows and columns from src, zero elsewhere
)

// Adjoint returns the kind that transposes k.
func (k Resampling) Adjoint() Resampling {
	return [...]Resampling{SumDown2, Up2, ZeroInsert2, Subsample2}[k]
}

// Border names how an image is extended beyond its edge.
type Border int

// The borders of the measurement operators.
const (
	Reflect  Border = iota // whole-sample reflection: index −1 is 1; needs an image larger than half the kernel
	Circular               // periodic: index −1 is the last
)

// Norm is a group normalisation followed by an affine map per channel and,
// where SiLU is set, by x·sigmoid(x):
//
//	z = (x − mean)/√(var + Eps) · Gamma + Beta,  z ← z·(1 + Scale) + Shift
//
// mean and variance (biased) are over a group of C/Groups channels of one image.
type Norm struct {
	Groups       int
	Eps          float32
	Gamma, Beta  Tensor // [1,C,1,1]
	Scale, Shift Tensor // [N,C,1,1] for N primal images, or no buffer for none
	SiLU         bool
}

// Heads splits the channels of an attention block: qkv has 3·C channels and
// Count heads of C/Count channels each.
type Heads struct {
	Count int
	// Split is the newer channel order [q|k|v][head][ch]; the released networks
	// have [head][q|k|v][ch].
	Split bool
}

// Nonlinear holds the primitives whose derivatives depend on the point x.
//
// x is always the primal input with B images. Tangents, cotangents and second
// coefficients may hold a multiple of B images: image n belongs to primal n mod B.
// For y = f(x(α, β)) with coefficients a = ∂x/∂α, b = ∂x/∂β, ab = ∂²x/∂α∂β:
// Tangent gives ∂y/∂α from a, Second gives ∂²y/∂α∂β from a, b and ab (a and b
// may be the same tensor). Adjoint gives dx = (∂f/∂x)ᵀ dy.
type Nonlinear interface {
	// GroupNorm also writes stats [B, 2·Groups, 1, 1]: the groups' means, then
	// their 1/√(var + eps). The derivatives read it.
	GroupNorm(dst, x, stats Tensor, p Norm)
	GroupNormAdjoint(dx, x, stats, dy Tensor, p Norm, accumulate bool)
	GroupNormTangent(dst, x, stats, a Tensor, p Norm)
	GroupNormSecond(dst, x, stats, a, b, ab Tensor, p Norm)

	// Attention is softmax(qᵀk/√ch) applied to v, per head; x is qkv [N, 3C, H, W]
	// and dst is [N, C, H, W].
	Attention(dst, x Tensor, h Heads)
	AttentionAdjoint(dx, x, dy Tensor, h Heads, accumulate bool)
	AttentionTangent(dst, x, a Tensor, h Heads)
	AttentionSecond(dst, x, a, b, ab Tensor, h Heads)
}

// Pointwise holds the vector arithmetic of networks and samplers. The
// destination may be one of the sources. A source with fewer images than the
// destination is repeated: image n reads n mod source.N.
type Pointwise interface {
	// Combine computes dst = Σ_k terms[k].Coef·terms[k].X, for one to six terms.
	Combine(dst Tensor, terms ...Term)
	// AddChannel computes dst = x + e with e [N,C,1,1] the same over all pixels.
	AddChannel(dst, x, e Tensor)
	// Mul computes dst = a ⊙ b; b may have one channel for all of a's.
	Mul(dst, a, b Tensor)
	// Map computes a scalar function, or a directional derivative of it, at each place:
	// sources are x, then the directions that m names.
	Map(dst Tensor, m Map, sources ...Tensor)
	// Dots waits once and returns ⟨a, b⟩ of each image for every pair {a, b}, summed in
	// float64: [pair][image]. Tensors of several pairs may be the same.
	Dots(pairs ...[2]Tensor) ([][]float64, error)
}

// Term is one summand of [Pointwise.Combine]: Coef has one factor for all
// images or one for each image of the destination.
type Term struct {
	X    Tensor
	Coef []float64
}

// Times returns the term c·x.
func Times(c float64, x Tensor) Term { return Term{x, []float64{c}} }
