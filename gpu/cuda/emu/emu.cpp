// Runs the kernels on the processor, one block after the other, its threads as
// fibers of one thread of the system.
#include "emu.h"
#include "host.h"
#include <mutex>
#include <stdlib.h>
#include <string>
#include <sys/mman.h>
#include <vector>

namespace emu {
emu_index thread, block, block_size, grid_size;
unsigned char *block_memory;
long shared_bytes;

namespace {
Entry *entries;
const int most_threads = 1024, stack_bytes = 128 << 10, most_shared = 227 << 10;

#if defined(__x86_64__)
// Saves the registers that a call keeps and changes stacks.
extern "C" void emu_switch(void **from, void *to);
asm(R"(
.text
.type emu_switch, @function
emu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emu_switch, .-emu_switch
)");
typedef void *Context;
inline void change(Context &from, Context &to) { emu_switch(&from, to); }
inline void start(Context &c, unsigned char *stack, void (*entry)()) {
    void **top = reinterpret_cast<void **>(stack + stack_bytes - 8); // aligned as after a call
    *--top = reinterpret_cast<void *>(entry); // where the first change returns to
    c = top - 6;
}
#else
}  // namespace
}  // namespace emu
#include <ucontext.h>
namespace emu {
namespace {
typedef ucontext_t Context;
inline void change(Context &from, Context &to) { swapcontext(&from, &to); }
inline void start(Context &c, unsigned char *stack, void (*entry)()) {
    getcontext(&c);
    c.uc_stack.ss_sp = stack;
    c.uc_stack.ss_size = stack_bytes;
    makecontext(&c, entry, 0);
}
#endif

enum State { ready, at_warp, at_block, done };

struct Pending {
    void *to;
    const void *from;
    int bytes, group;
    bool valid;
};

struct Fiber {
    Context context;
    State state;
    emu_index index;
    std::vector<Pending> copies;
    int group; // number of the group of copies that is open
};

struct Warp {
    int here;
    void (*exchange)(void **);
    void *lanes[32];
};

Fiber fiber[most_threads];
Warp warp[most_threads / 32];
unsigned char *stacks;
Context home;
int threads, running, waiting, failure;
bool in_fibers;
const Entry *entry;
const void *parameters;

void leave() { change(fiber[running].context, home); }

// Runs the next thread that can.
void next() {
    int self = running;
    for (int i = 1; i <= threads; i++) {
        int j = (self + i) % threads;
        if (fiber[j].state != ready) continue;
        running = j;
        thread = fiber[j].index;
        if (j != self) change(fiber[self].context, fiber[j].context);
        return;
    }
    bool all = true;
    for (int j = 0; j < threads; j++) all = all && fiber[j].state == done;
    if (!all) failure = 3;
    leave();
}

void run_thread() {
    entry->body(parameters);
    fiber[running].state = done;
    next();
    abort(); // a thread that is done is never run again
}

void run_block() {
    for (int t = 0; t < threads; t++) {
        Fiber &f = fiber[t];
        f.state = ready;
        f.group = 0;
        f.copies.clear();
        f.index = {t % block_size.x, t / block_size.x % block_size.y, t / (block_size.x * block_size.y)};
        start(f.context, stacks + static_cast<size_t>(t) * stack_bytes, run_thread);
    }
    for (auto &w : warp) w.here = 0;
    waiting = 0;
    running = 0;
    thread = fiber[0].index;
    change(home, fiber[0].context);
}
}  // namespace

Entry::Entry(const char *name, long params, int threads, int features, void (*body)(const void *), int (*layout)(char *, int))
    : name(name), params(params), threads(threads), features(features), body(body), layout(layout), next(entries) {
    entries = this;
}

void fail(int code) {
    failure = code;
    if (in_fibers) leave();
}

void meet_block() {
    if (!in_fibers) return fail(3);
    fiber[running].state = at_block;
    if (++waiting < threads) return next();
    waiting = 0;
    for (int t = 0; t < threads; t++) {
        if (fiber[t].state != at_block) return fail(3);
        fiber[t].state = ready;
    }
}

void meet_warp(void (*exchange)(void **), void *mine) {
    if (!in_fibers) return fail(3);
    Warp &w = warp[running / 32];
    if (w.here > 0 && w.exchange != exchange) return fail(3);
    w.exchange = exchange;
    w.lanes[running % 32] = mine;
    fiber[running].state = at_warp;
    if (++w.here < 32) return next();
    w.here = 0;
    exchange(w.lanes);
    for (int t = running / 32 * 32, i = 0; i < 32; i++) fiber[t + i].state = ready;
}

void copy(void *to, const void *from, int bytes, bool valid) {
    uintptr_t misaligned = (reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % bytes;
    auto at = static_cast<unsigned char *>(to);
    if (!in_fibers || misaligned || at < block_memory || at + bytes > block_memory + shared_bytes) return fail(3);
    Fiber &f = fiber[running];
    f.copies.push_back({to, from, bytes, f.group, valid});
}

void commit() { fiber[running].group++; }

void wait(int groups) {
    Fiber &f = fiber[running];
    size_t kept = 0;
    for (const Pending &c : f.copies) {
        if (c.group >= f.group - groups) {
            f.copies[kept++] = c;
        } else if (c.valid) {
            memcpy(c.to, c.from, c.bytes);
        } else {
            memset(c.to, 0, c.bytes);
        }
    }
    f.copies.resize(kept);
}
}  // namespace emu

using namespace emu;

static const Entry *find(const char *name) {
    for (const Entry *e = entries; e; e = e->next)
        if (!strcmp(e->name, name)) return e;
    return nullptr;
}

const char *emu_kernel(int i) {
    const Entry *e = entries;
    while (e && i-- > 0) e = e->next;
    return e ? e->name : nullptr;
}

long emu_params(const char *kernel) {
    const Entry *e = find(kernel);
    return e ? e->params : -1;
}

const char *emu_layout(const char *kernel) {
    static char text[8 << 10];
    const Entry *e = find(kernel);
    return e && e->layout(text, sizeof text) < static_cast<int>(sizeof text) ? text : nullptr;
}

int emu_launch(const char *kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
               unsigned shared, const void *params) {
    static std::mutex one_at_a_time;
    std::lock_guard<std::mutex> lock(one_at_a_time);
    const Entry *e = find(kernel);
    if (!e) return 1;
    threads = block_x * block_y * block_z;
    if (threads <= 0 || threads > e->threads || ((e->features & fibers) && threads % 32)) return 2;
    if (shared > most_shared) return 4;
    if (!stacks) {
        stacks = static_cast<unsigned char *>(
            mmap(nullptr, static_cast<size_t>(most_threads) * stack_bytes + most_shared, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        if (stacks == MAP_FAILED) abort();
        block_memory = stacks + static_cast<size_t>(most_threads) * stack_bytes;
    }
    entry = e;
    parameters = params;
    shared_bytes = shared;
    block_size = {block_x, block_y, block_z};
    grid_size = {grid_x, grid_y, grid_z};
    failure = 0;
    in_fibers = e->features & fibers;
    for (block.z = 0; block.z < grid_z; block.z++)
        for (block.y = 0; block.y < grid_y; block.y++)
            for (block.x = 0; block.x < grid_x && !failure; block.x++) {
                memset(block_memory, 0xff, shared); // NaN: what is read before it is written shows
                if (in_fibers) {
                    run_block();
                    continue;
                }
                for (thread.z = 0; thread.z < block_z; thread.z++)
                    for (thread.y = 0; thread.y < block_y; thread.y++)
                        for (thread.x = 0; thread.x < block_x; thread.x++) e->body(params);
            }
    in_fibers = false;
    return failure;
}
