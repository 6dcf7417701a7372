// Modules and kernels. The module's text says which kernels there are; the emulator
// runs the host's build of the same sources.
#include "../../emu/emu.h"
#include "fake.h"
#include <regex>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

using namespace fake;

CUresult LaunchOp::run() const {
    Context *c = function->owner->owner;
    // Parameters that name memory which was freed since.
    for (uint64_t word : parameters) {
        auto it = c->freed.upper_bound(word);
        if (word == 0 || it == c->freed.begin()) continue;
        --it;
        if (word - it->first >= it->second) continue;
        auto alive = c->arrays.upper_bound(word);
        if (alive != c->arrays.begin() && word - (--alive)->first < alive->second.bytes) continue;
        violation(CUDA_SUCCESS, "%s is given memory that was freed", function->name.c_str());
        return CUresult(700);
    }
    int r = emu_launch(function->name.c_str(), grid[0], grid[1], grid[2], block[0], block[1], block[2], shared, parameters.data());
    if (r == 0) return CUDA_SUCCESS;
    static const char *why[] = {"", "no such kernel in the emulator", "a block of a size that it was not compiled for", "threads disagree on a barrier", "too much shared memory"};
    violation(CUDA_SUCCESS, "%s, block %u×%u×%u: %s", function->name.c_str(), block[0], block[1], block[2], r <= 4 ? why[r] : "the emulator refuses it");
    return CUDA_ERROR_LAUNCH_FAILED;
}

extern "C" {
CUresult CUDAAPI cuModuleLoadDataEx(CUmodule *m, const void *image, unsigned int count, CUjit_option *options, void **values) {
    Call call(__func__, 0);
    char *log = nullptr;
    size_t size = 0;
    for (unsigned i = 0; i < count; i++) {
        if (options[i] == CU_JIT_ERROR_LOG_BUFFER) log = static_cast<char *>(values[i]);
        else if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES) size = reinterpret_cast<size_t>(values[i]);
        else return call.bad("an option that the fake driver does not know");
    }
    auto fail = [&](CUresult r, const char *text) {
        if (log && size) snprintf(log, size, "%s", text);
        return r;
    };
    if (call.result) return fail(call.result, "ptxas application: a failure that was asked for");
    if (!m || !image) return call.bad("null");
    std::string text(static_cast<const char *>(image));
    if (text.find(".version 7.8") == std::string::npos || text.find(".target sm_80") == std::string::npos)
        return fail(CUDA_ERROR_INVALID_PTX, "ptxas fatal: .version 7.8 and .target sm_80 are wanted");
    Module *loaded = make<Module>(module);
    static const std::regex entry(R"(\.entry\s+(\w+)\s*\(\s*\.param\s+\.align\s+\d+\s+\.b8\s+\w+\[(\d+)\])");
    for (std::sregex_iterator it(text.begin(), text.end(), entry), end; it != end; ++it) {
        std::string name = (*it)[1];
        long bytes = std::stol((*it)[2]), host = emu_params(name.c_str());
        if (bytes != host) violation(CUDA_SUCCESS, "%s takes %ld bytes in the PTX, %ld in the emulator", name.c_str(), bytes, host);
        loaded->kernels[name] = bytes;
    }
    *m = reinterpret_cast<CUmodule>(loaded);
    return call.end();
}

CUresult CUDAAPI cuModuleUnload(CUmodule handle) {
    ENTER(releases);
    Module *m = call.get<Module>(handle, module);
    if (!m) return call.result;
    if (busy(current)) return call.bad("work that may run its kernels is still queued");
    for (auto &f : m->functions) {
        functions.erase(f.second);
        delete f.second;
    }
    remove(m);
    return call.end();
}

CUresult CUDAAPI cuModuleGetFunction(CUfunction *f, CUmodule handle, const char *name) {
    ENTER(0);
    Module *m = call.get<Module>(handle, module);
    if (!m) return call.result;
    if (!f || !name) return call.bad("null");
    auto it = m->kernels.find(name);
    if (it == m->kernels.end()) return CUDA_ERROR_NOT_FOUND;
    Function *&function = m->functions[name];
    if (!function) {
        function = new Function{name, m, it->second};
        functions[function] = function;
    }
    *f = reinterpret_cast<CUfunction>(function);
    return call.end();
}

CUresult CUDAAPI cuFuncSetAttribute(CUfunction handle, CUfunction_attribute attribute, int value) {
    ENTER(in_capture);
    auto it = functions.find(handle);
    if (it == functions.end() || it->second->owner->owner != current) return call.bad("no live function");
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return call.bad("an attribute that the fake driver does not know");
    if (value < 0 || value > 163 << 10) return CUDA_ERROR_INVALID_VALUE;
    it->second->shared = value;
    return call.end();
}

CUresult CUDAAPI cuLaunchKernel(CUfunction handle, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx, unsigned int by,
                                unsigned int bz, unsigned int shared, CUstream on, void **parameters, void **extra) {
    ENTER(in_capture);
    Stream *s = call.get<Stream>(on, stream);
    if (!s) return call.result;
    auto it = functions.find(handle);
    if (it == functions.end() || it->second->owner->owner != current) return call.bad("no live function");
    Function *f = it->second;
    if (!gx || !gy || !gz || gx > 0x7fffffff || gy > 65535 || gz > 65535) return call.bad("a grid that is empty or too large");
    if (!bx || !by || !bz || bx > 1024 || by > 1024 || bz > 64 || size_t(bx) * by * bz > 1024) return call.bad("a block that is empty or too large");
    if (shared > f->shared) return call.bad("more shared memory than the function was allowed");
    if (!parameters || !parameters[0] || extra) return call.bad("parameters");
    LaunchOp op = {f, {gx, gy, gz}, {bx, by, bz}, shared, std::vector<uint64_t>((f->parameters + 7) / 8)};
    memcpy(op.parameters.data(), parameters[0], f->parameters);
    if (s->capturing) s->recorded.push_back(op);
    else s->queue.push_back([op] { return op.run(); });
    return call.end();
}
}
