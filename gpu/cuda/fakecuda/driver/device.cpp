// Devices, contexts and memory.
#include "fake.h"
#include <stdlib.h>
#include <string.h>

using namespace fake;

static const size_t guard = 256;
static const unsigned char guard_byte = 0xa5;

static size_t capacity() { return size_t(setting("FAKECUDA_MEMORY_MIB", 8192)) << 20; }
static int devices() { return setting("FAKECUDA_DEVICES", 2); }

// Frees memory whose guard words are whole.
bool fake::release(Context *c, std::map<uintptr_t, Array> &from, uintptr_t at) {
    auto it = from.find(at);
    if (it == from.end()) return false;
    Array a = it->second;
    for (size_t i = 0; i < guard; i++)
        if (a.whole[i] != guard_byte || a.whole[guard + a.bytes + i] != guard_byte) {
            violation(CUDA_SUCCESS, "something wrote outside an array of %zu bytes, %s", a.bytes, a.whole[i] != guard_byte ? "before it" : "behind it");
            break;
        }
    free(a.whole);
    from.erase(it);
    c->freed[at] = a.bytes;
    return true;
}

// Memory between guard words, filled with signalling NaNs.
static uintptr_t allocate(std::map<uintptr_t, Array> &to, size_t bytes) {
    void *p = nullptr;
    if (posix_memalign(&p, 256, bytes + 2 * guard)) return 0;
    unsigned char *whole = static_cast<unsigned char *>(p);
    memset(whole, guard_byte, guard);
    for (size_t i = 0; i < bytes; i++) whole[guard + i] = "\x01\x00\xa0\x7f"[i % 4];
    memset(whole + guard + bytes, guard_byte, guard);
    uintptr_t at = reinterpret_cast<uintptr_t>(whole + guard);
    to[at] = {bytes, whole};
    current->freed.erase(at);
    return at;
}

// Whether bytes at an address lie in one array.
static bool inside(const std::map<uintptr_t, Array> &in, uintptr_t at, size_t bytes) {
    auto it = in.upper_bound(at);
    if (it == in.begin()) return false;
    --it;
    return at - it->first <= it->second.bytes && bytes <= it->second.bytes - (at - it->first);
}

extern "C" {
CUresult CUDAAPI cuInit(unsigned int flags) {
    ENTER(any_time);
    return flags == 0 ? call.end() : call.bad("flags are not 0");
}

CUresult CUDAAPI cuDriverGetVersion(int *version) {
    ENTER(any_time);
    if (!version) return call.bad("null");
    *version = setting("FAKECUDA_VERSION", 12040);
    return call.end();
}

CUresult CUDAAPI cuDeviceGetCount(int *count) {
    ENTER(no_context);
    if (!count) return call.bad("null");
    *count = devices();
    return call.end();
}

CUresult CUDAAPI cuDeviceGet(CUdevice *device, int ordinal) {
    ENTER(no_context);
    if (!device || ordinal < 0 || ordinal >= devices()) return call.bad("no such device");
    *device = ordinal;
    return call.end();
}

CUresult CUDAAPI cuDeviceGetName(char *name, int len, CUdevice dev) {
    ENTER(no_context);
    if (!name || len < 1 || dev < 0 || dev >= devices()) return call.bad("name, size or device");
    strncpy(name, "Emulated GPU", len - 1);
    name[len - 1] = 0;
    return call.end();
}

CUresult CUDAAPI cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev) {
    ENTER(no_context);
    if (!bytes || dev < 0 || dev >= devices()) return call.bad("result or device");
    *bytes = capacity();
    return call.end();
}

CUresult CUDAAPI cuDeviceGetAttribute(int *v, CUdevice_attribute attribute, CUdevice dev) {
    ENTER(no_context);
    if (!v || dev < 0 || dev >= devices()) return call.bad("result or device");
    int capability = setting("FAKECUDA_CAPABILITY", 80);
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *v = 4; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *v = capability / 10; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *v = capability % 10; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *v = 163 << 10; break;
    default: return call.bad("an attribute that the fake driver does not know");
    }
    return call.end();
}

CUresult CUDAAPI cuCtxCreate_v2(CUcontext *ctx, unsigned int flags, CUdevice dev) {
    ENTER(no_context);
    if (!ctx || flags > 4 || dev < 0 || dev >= devices()) return call.bad("result, flags or device");
    if (current) return call.bad("this thread has a context already");
    Context *c = new Context;
    c->kind = context;
    c->owner = c;
    c->device = dev;
    c->thread = std::this_thread::get_id();
    live[c] = c;
    current = c;
    *ctx = reinterpret_cast<CUcontext>(c);
    return call.end();
}

CUresult CUDAAPI cuCtxDestroy_v2(CUcontext ctx) {
    ENTER(releases | any_time);
    auto it = live.find(ctx);
    if (it == live.end() || it->second->kind != context) return violation(CUDA_ERROR_INVALID_CONTEXT, "cuCtxDestroy_v2: no live context");
    Context *c = static_cast<Context *>(it->second);
    if (c != current || c->thread != std::this_thread::get_id()) return violation(CUDA_ERROR_INVALID_CONTEXT, "cuCtxDestroy_v2: on another thread than the context's");
    static const char *names[] = {"context", "module", "stream", "event", "graph", "executable graph"};
    auto leak = [&](const char *what) {
        if (!c->lost) violation(CUDA_SUCCESS, "leak: %s alive at cuCtxDestroy_v2", what);
    };
    std::vector<Object *> rest;
    for (auto &l : live)
        if (l.second->owner == c && l.second != c) rest.push_back(l.second);
    for (Object *o : rest) {
        leak(names[o->kind]);
        remove(o);
    }
    while (!c->arrays.empty()) leak("device memory"), fake::release(c, c->arrays, c->arrays.begin()->first);
    while (!c->pinned.empty()) leak("pinned host memory"), fake::release(c, c->pinned, c->pinned.begin()->first);
    remove(c);
    current = nullptr;
    return call.end();
}

CUresult CUDAAPI cuMemGetInfo_v2(size_t *free, size_t *total) {
    ENTER(0);
    if (!free || !total) return call.bad("null");
    *total = capacity();
    *free = capacity() - current->used;
    return call.end();
}

CUresult CUDAAPI cuMemAlloc_v2(CUdeviceptr *p, size_t bytes) {
    ENTER(0);
    if (!p || bytes == 0) return call.bad("result or size 0");
    if (bytes > capacity() - current->used) return CUDA_ERROR_OUT_OF_MEMORY;
    *p = allocate(current->arrays, bytes);
    if (!*p) return CUDA_ERROR_OUT_OF_MEMORY;
    current->used += bytes;
    return call.end();
}

CUresult CUDAAPI cuMemFree_v2(CUdeviceptr p) {
    ENTER(releases);
    auto it = current->arrays.find(p);
    if (it == current->arrays.end()) return call.bad(current->freed.count(p) ? "memory that was freed before" : "not an address that cuMemAlloc gave");
    if (busy(current)) return call.bad("work that may use the memory is still queued");
    current->used -= it->second.bytes;
    fake::release(current, current->arrays, p);
    return call.end();
}

CUresult CUDAAPI cuMemHostAlloc(void **p, size_t bytes, unsigned int flags) {
    ENTER(0);
    if (!p || bytes == 0 || flags > 7) return call.bad("result, size 0 or flags");
    *p = reinterpret_cast<void *>(allocate(current->pinned, bytes));
    return *p ? call.end() : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult CUDAAPI cuMemFreeHost(void *p) {
    ENTER(releases);
    if (busy(current)) return call.bad("a copy that may use the memory is still queued");
    if (!fake::release(current, current->pinned, reinterpret_cast<uintptr_t>(p))) return call.bad("not an address that cuMemHostAlloc gave");
    return call.end();
}

// Both copies read and write when they run, not when they are queued.
static CUresult copy(Call &call, CUdeviceptr device, void *host, size_t bytes, CUstream stream, bool up) {
    Stream *s = call.get<Stream>(stream, fake::stream);
    if (!s) return call.result;
    if (bytes == 0 || !inside(current->arrays, device, bytes)) return call.bad("bytes outside an array");
    if (!inside(current->pinned, reinterpret_cast<uintptr_t>(host), bytes)) return call.bad("host memory that is not pinned: the copy would not be asynchronous");
    void *d = reinterpret_cast<void *>(device);
    s->queue.push_back([=] {
        memcpy(up ? d : host, up ? host : d, bytes);
        return CUDA_SUCCESS;
    });
    return call.end();
}

CUresult CUDAAPI cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void *src, size_t bytes, CUstream stream) {
    ENTER(0);
    return copy(call, dst, const_cast<void *>(src), bytes, stream, true);
}

CUresult CUDAAPI cuMemcpyDtoHAsync_v2(void *dst, CUdeviceptr src, size_t bytes, CUstream stream) {
    ENTER(0);
    return copy(call, src, dst, bytes, stream, false);
}
}
