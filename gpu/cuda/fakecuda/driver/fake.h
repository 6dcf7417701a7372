// A stand-in for libcuda.so.1 that has no GPU: it checks every call and runs kernels
// in the emulator. Work is queued and done as late as CUDA allows, when something
// waits for it, so that a result read too early is wrong.
#pragma once
#include "types.h"
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace fake {

enum Kind { context, module, stream, event, graph, executable };

struct Context;

// What a handle points to. A handle is looked up before it is followed.
struct Object {
    Kind kind;
    Context *owner;
    virtual ~Object() {}
};

typedef std::function<CUresult()> Work;

struct Stream : Object {
    std::deque<Work> queue;
    bool capturing = false, invalid = false;
    std::vector<struct LaunchOp> recorded;
    CUresult run(const std::function<bool()> &until); // the queue, until something holds or it is empty
};

struct Event : Object {
    bool timing = true;
    int recorded = 0, passed = 0;
};

struct Function {
    std::string name;
    struct Module *owner;
    size_t parameters;
    unsigned shared = 48 << 10;
};

struct Module : Object {
    std::map<std::string, size_t> kernels; // parameters' bytes
    std::map<std::string, Function *> functions;
};

struct LaunchOp {
    Function *function;
    unsigned grid[3], block[3], shared;
    std::vector<uint64_t> parameters;
    CUresult run() const;
};

struct Graph : Object {
    std::vector<LaunchOp> ops;
};

struct Executable : Object {
    std::vector<LaunchOp> ops;
    int queued = 0;
};

struct Array {
    size_t bytes;
    unsigned char *whole; // with guard words on both sides
};

struct Context : Object {
    int device;
    std::thread::id thread; // the only one that may use it
    std::map<uintptr_t, Array> arrays, pinned;
    std::map<uintptr_t, size_t> freed;
    size_t used = 0;
    CUresult lost = CUDA_SUCCESS; // sticky
};

extern std::recursive_mutex lock;
extern std::map<void *, Object *> live; // every handle
extern std::map<void *, Function *> functions;
extern thread_local Context *current;

// violation notes something that no correct program does.
CUresult violation(CUresult r, const char *format, ...) __attribute__((format(printf, 2, 3)));

long setting(const char *name, long otherwise);

// Rules of a call.
enum { no_context = 1, in_capture = 2, releases = 4, any_time = 8 };

// Call is the entry of every function: it counts, injects failures, and checks that
// the call is allowed now on this thread. result is not success where the function
// must return it at once.
struct Call {
    const char *name;
    CUresult result = CUDA_SUCCESS, injected = CUDA_SUCCESS;
    std::lock_guard<std::recursive_mutex> hold;
    Call(const char *name, int rules);
    CUresult bad(const char *what) { return violation(CUDA_ERROR_INVALID_VALUE, "%s: %s", name, what); }
    CUresult end(CUresult r = CUDA_SUCCESS) { return injected ? injected : r; }
    // The object of a handle of the current context, or null with result set.
    template <class T> T *get(void *h, Kind kind) {
        auto it = live.find(h);
        if (it == live.end() || it->second->kind != kind || it->second->owner != current) {
            result = violation(CUDA_ERROR_INVALID_HANDLE, "%s: %p is no live handle of this kind and context", name, h);
            return nullptr;
        }
        return static_cast<T *>(it->second);
    }
};

template <class T> T *make(Kind kind) {
    T *o = new T;
    o->kind = kind;
    o->owner = current;
    live[o] = o;
    return o;
}
void remove(Object *o);
bool busy(Context *c);
bool release(Context *c, std::map<uintptr_t, Array> &from, uintptr_t at);

#define ENTER(rules)             \
    fake::Call call(__func__, rules); \
    if (call.result) return call.result
}  // namespace fake
