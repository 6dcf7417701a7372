// What the fake driver remembers, and how it judges a call.
#include "fake.h"
#include <set>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace fake {
std::recursive_mutex lock;
std::map<void *, Object *> live;
std::map<void *, Function *> functions;
thread_local Context *current;

static std::vector<std::string> violations;
static std::map<std::string, long> counts;
static long calls, fail_at;
static int fail_with;
static bool initialised;

CUresult violation(CUresult r, const char *format, ...) {
    char text[400];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    violations.push_back(text);
    return r;
}

long setting(const char *name, long otherwise) {
    const char *v = getenv(name);
    return v && *v ? strtol(v, nullptr, 0) : otherwise;
}

// The results after which CUDA lets a context do no more.
static bool is_sticky(int r) {
    static const std::set<int> sticky = {4, 46, 214, 220, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 911, 999};
    return sticky.count(r) > 0;
}

Call::Call(const char *name, int rules) : name(name), hold(lock) {
    counts[name]++;
    calls++;
    if (!strcmp(name, "cuInit")) initialised = true;
    if (!initialised && !(rules & any_time)) {
        result = violation(CUDA_ERROR_NOT_INITIALIZED, "%s before cuInit", name);
        return;
    }
    bool needs_context = !(rules & (no_context | any_time));
    if (needs_context) {
        if (!current) {
            result = violation(CUDA_ERROR_INVALID_CONTEXT, "%s: no context is current on this thread", name);
            return;
        }
        if (current->thread != std::this_thread::get_id()) {
            result = violation(CUDA_ERROR_INVALID_CONTEXT, "%s: on another thread than the context's", name);
            return;
        }
    }
    if (fail_at && calls == fail_at) {
        if (is_sticky(fail_with) && current) current->lost = CUresult(fail_with);
        injected = CUresult(fail_with);
        if (!(rules & releases)) result = injected; // what is released is gone all the same
    }
    if (result || !needs_context) return;
    if (current->lost && !(rules & any_time)) {
        result = current->lost;
        return;
    }
    if (!(rules & in_capture))
        for (auto &l : live) {
            if (l.second->kind != stream || l.second->owner != current) continue;
            Stream *s = static_cast<Stream *>(l.second);
            if (!s->capturing) continue;
            s->invalid = true;
            result = violation(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "%s inside a capture", name);
        }
}

void remove(Object *o) {
    live.erase(o);
    delete o;
}

bool busy(Context *c) {
    for (auto &l : live)
        if (l.second->kind == stream && l.second->owner == c && !static_cast<Stream *>(l.second)->queue.empty()) return true;
    return false;
}
}  // namespace fake

// What tests use.
extern "C" {
// The next n-th call from now fails with a CUresult; n = 0 ends that.
void fakecuda_fail(long n, int result) {
    std::lock_guard<std::recursive_mutex> hold(fake::lock);
    fake::fail_at = n ? fake::calls + n : 0;
    fake::fail_with = result;
}

// How often a function was called; all calls for an empty name.
long fakecuda_calls(const char *name) {
    std::lock_guard<std::recursive_mutex> hold(fake::lock);
    if (!*name) return fake::calls;
    auto it = fake::counts.find(name);
    return it == fake::counts.end() ? 0 : it->second;
}

// What is still there: contexts, and everything in them.
long fakecuda_live() {
    std::lock_guard<std::recursive_mutex> hold(fake::lock);
    long n = fake::live.size();
    for (auto &l : fake::live)
        if (l.second->kind == fake::context) {
            auto c = static_cast<fake::Context *>(l.second);
            n += c->arrays.size() + c->pinned.size();
        }
    return n;
}

// Writes the violations so far, a line each, forgets them and says how many there were.
int fakecuda_violations(char *to, int size) {
    std::lock_guard<std::recursive_mutex> hold(fake::lock);
    int n = fake::violations.size(), used = 0;
    for (auto &v : fake::violations) used += snprintf(to + used, used < size ? size - used : 0, "%s\n", v.c_str()), used = used < size ? used : size;
    fake::violations.clear();
    return n;
}
}
