//go:build js

package simd

import "unsafe"

// The module's functions, and copies between its memory and Go's.

// run executes so many words of commands: 0, 1 where a kernel found no memory, 2
// where a command is unknown, 3 where a kernel was trapped.
//
//go:wasmimport cmi run
func run(commands address, words int32) int32

// allocBytes is 0 where there is no more memory.
//
//go:wasmimport cmi alloc
func allocBytes(bytes uint32) uint32

//go:wasmimport cmi free
func freeBytes(at address) int32

// heldBytes returns what is allocated.
//
//go:wasmimport cmi held
func heldBytes() uint32

//go:wasmimport cmi copyIn
func copyIn(to address, from unsafe.Pointer, bytes int32) int32

//go:wasmimport cmi copyOut
func copyOut(to unsafe.Pointer, from address, bytes int32) int32
