// Package cuda is the compute device of NVIDIA GPUs from compute capability 8.0
// (A100) on. Its kernels are CUDA C++, one a file, compiled to PTX that is
// embedded; the driver compiles them for the GPU at hand.
//
// A kernel's prefix says which derivative it computes, for a score network
// f ≈ −σ ∇log p the one of log p beside it:
//
//	map_silu, groupnorm, …          the value                     ∇log p
//	vjp_…                           adjoint: (∂f/∂x)ᵀ u           Hessian-vector product
//	jvp_…                           tangent: ∂f/∂x · v            Hessian-vector product (HVP)
//	jet2_…                          second coefficient: ∂²f[v, w]  third derivative along v and w
//
// Linear kernels (conv, resample, …) are their own jvp_ and jet2_: coefficients are
// images of a larger batch.
//
// Convolutions are implicit matrix products on tensor cores (conv.h), in one of four
// [Precision]s; everything else is float32, sums of normalisations and inner
// products float64. A sum over many channels for few pixels is split between blocks,
// by how many of them the batch makes: a picture's last digits may differ between
// batches, within the precision's error.
//
// All that is PTX in the kernels stands in device.h, a dozen functions, each with a
// twin for the host (emu/host.h). A C++ compiler builds the same files for the
// processor, where the tests run them: threads of a block as fibers, copies that
// arrive when they are waited for, tensor cores that cut sums off.
package cuda
