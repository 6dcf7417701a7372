package libcuda

import (
	"fmt"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Result is a CUresult, what every call of the driver returns.
type Result uint32

// Error is a call that failed. It wraps [compute.ErrMemory] or [compute.ErrLost]
// where it is of that kind.
type Error struct {
	Call   string // the driver's function: "cuMemAlloc_v2"
	Code   Result
	Name   string // CUDA's: "CUDA_ERROR_OUT_OF_MEMORY"
	Detail string // what was asked for, or the compiler's message; may be empty
}

func (e *Error) Error() string {
	text := fmt.Sprintf("%s: %s (%d)", e.Call, e.Name, e.Code)
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if hint := hints[e.Code]; hint != "" {
		text += ": " + hint
	}
	return text
}

func (e *Error) Unwrap() error {
	switch {
	case e.Code == outOfMemory:
		return compute.ErrMemory
	case lost[e.Code]:
		return compute.ErrLost
	}
	return nil
}

const (
	success            Result = 0
	outOfMemory        Result = 2
	stubLibrary        Result = 34
	noDevice           Result = 100
	unsupportedPTX     Result = 222
	systemNotReady     Result = 802
	driverMismatch     Result = 803
	launchOutOfRes     Result = 701
	jitCompilerMissing Result = 221
)

// lost are the results after which the context, and by CUDA's word the process, can
// do no more work: every later call returns them too.
var lost = map[Result]bool{
	4:   true, // DEINITIALIZED
	46:  true, // DEVICE_UNAVAILABLE
	214: true, // ECC_UNCORRECTABLE
	220: true, // NVLINK_UNCORRECTABLE
	700: true, // ILLEGAL_ADDRESS
	702: true, // LAUNCH_TIMEOUT
	709: true, // CONTEXT_IS_DESTROYED
	710: true, // ASSERT
	714: true, // HARDWARE_STACK_ERROR
	715: true, // ILLEGAL_INSTRUCTION
	716: true, // MISALIGNED_ADDRESS
	717: true, // INVALID_ADDRESS_SPACE
	718: true, // INVALID_PC
	719: true, // LAUNCH_FAILED
	721: true, // CONTAINED
	806: true, // MPS_RPC_FAILURE
	810: true, // MPS_CLIENT_TERMINATED
	911: true, // EXTERNAL_DEVICE
	999: true, // UNKNOWN
}

// hints say what to try.
var hints = map[Result]string{
	outOfMemory:        "fewer images at a time may fit",
	stubLibrary:        "the toolkit's stub was found instead of the driver's library; take its folder out of LD_LIBRARY_PATH",
	noDevice:           "no NVIDIA GPU is visible; see nvidia-smi and CUDA_VISIBLE_DEVICES",
	unsupportedPTX:     "the driver is too old; 520 or later is wanted",
	jitCompilerMissing: "the driver's installation lacks libnvidia-ptxjitcompiler.so.1",
	systemNotReady:     "see nvidia-smi; on HGX machines nvidia-fabricmanager must run",
	driverMismatch:     "the driver was updated under the running system; reboot",
	launchOutOfRes:     "the kernel was made for a larger GPU",
	999:                "see nvidia-smi and the system's log",
}
