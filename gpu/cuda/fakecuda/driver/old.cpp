// The names that cuda.h no longer maps to: old forms with 32-bit sizes and pointers,
// or with other arguments. The driver still exports them, so that a binding which
// looks them up works, and goes wrong later. Here they fail at once.
#include <stdio.h>
#include <stdlib.h>

#define OLD(name)                                                                             \
    extern "C" int name() {                                                                   \
        fputs("fake libcuda: " #name " is an old form; cuda.h maps the name to another\n", stderr); \
        abort();                                                                              \
    }

OLD(cuCtxCreate)
OLD(cuCtxDestroy)
OLD(cuCtxPopCurrent)
OLD(cuCtxPushCurrent)
OLD(cuDevicePrimaryCtxRelease)
OLD(cuDevicePrimaryCtxReset)
OLD(cuDevicePrimaryCtxSetFlags)
OLD(cuDeviceTotalMem)
OLD(cuEventDestroy)
OLD(cuGraphInstantiate)
OLD(cuMemAlloc)
OLD(cuMemAllocHost)
OLD(cuMemAllocPitch)
OLD(cuMemFree)
OLD(cuMemGetAddressRange)
OLD(cuMemGetInfo)
OLD(cuMemHostGetDevicePointer)
OLD(cuMemHostRegister)
OLD(cuMemcpyDtoD)
OLD(cuMemcpyDtoDAsync)
OLD(cuMemcpyDtoH)
OLD(cuMemcpyDtoHAsync)
OLD(cuMemcpyHtoD)
OLD(cuMemcpyHtoDAsync)
OLD(cuMemsetD16)
OLD(cuMemsetD32)
OLD(cuMemsetD8)
OLD(cuModuleGetGlobal)
OLD(cuStreamBeginCapture)
OLD(cuStreamDestroy)
