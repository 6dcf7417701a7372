// Package native is the WebGPU driver of desktop builds: Vulkan, Metal and
// Direct3D 12 through the library wgpu-native 0.17, which is linked in.
//
// The library ends the whole process when an adapter is lost or an allocation
// fails; package child runs it in a process of its own.
package native
