// Package gogpu is the WebGPU driver of builds without a C compiler: Vulkan, Metal
// and Direct3D 12 through github.com/gogpu/wgpu, which is Go alone. It is young, so a
// build asks for it with -tags gogpu, and leaves CUDA out with nocuda: both ways to C
// without a C compiler define the same symbol.
package gogpu
