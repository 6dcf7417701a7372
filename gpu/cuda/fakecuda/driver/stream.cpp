// Streams, events and graphs.
#include "fake.h"

using namespace fake;

CUresult Stream::run(const std::function<bool()> &until) {
    while (!queue.empty() && !until()) {
        Work work = queue.front();
        queue.pop_front();
        if (CUresult r = work()) {
            queue.clear();
            owner->lost = r;
            return r;
        }
    }
    return CUDA_SUCCESS;
}

extern "C" {
CUresult CUDAAPI cuStreamCreate(CUstream *s, unsigned int flags) {
    ENTER(0);
    if (!s || flags > 1) return call.bad("result or flags");
    *s = reinterpret_cast<CUstream>(make<Stream>(stream));
    return call.end();
}

CUresult CUDAAPI cuStreamDestroy_v2(CUstream handle) {
    ENTER(releases);
    Stream *s = call.get<Stream>(handle, stream);
    if (!s) return call.result;
    if (!s->queue.empty()) return call.bad("work is still queued");
    remove(s);
    return call.end();
}

CUresult CUDAAPI cuStreamSynchronize(CUstream handle) {
    ENTER(0);
    Stream *s = call.get<Stream>(handle, stream);
    if (!s) return call.result;
    return s->run([] { return false; });
}

CUresult CUDAAPI cuStreamBeginCapture_v2(CUstream handle, CUstreamCaptureMode mode) {
    ENTER(0);
    Stream *s = call.get<Stream>(handle, stream);
    if (!s) return call.result;
    if (mode > CU_STREAM_CAPTURE_MODE_RELAXED) return call.bad("mode");
    if (mode != CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) return call.bad("a mode that lets other threads' calls end the capture");
    s->capturing = true;
    s->invalid = false;
    s->recorded.clear();
    return call.end();
}

CUresult CUDAAPI cuStreamEndCapture(CUstream handle, CUgraph *g) {
    ENTER(in_capture | releases);
    Stream *s = call.get<Stream>(handle, stream);
    if (!s) return call.result;
    if (!g) return call.bad("null");
    *g = nullptr;
    if (!s->capturing) return violation(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "cuStreamEndCapture without a capture");
    s->capturing = false;
    if (s->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (call.injected) return call.injected;
    Graph *graph = make<Graph>(fake::graph);
    graph->ops.swap(s->recorded);
    *g = reinterpret_cast<CUgraph>(graph);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuEventCreate(CUevent *e, unsigned int flags) {
    ENTER(0);
    if (!e || flags > 7) return call.bad("result or flags");
    Event *event = make<Event>(fake::event);
    event->timing = !(flags & 2);
    *e = reinterpret_cast<CUevent>(event);
    return call.end();
}

CUresult CUDAAPI cuEventRecord(CUevent handle, CUstream on) {
    ENTER(0);
    Event *e = call.get<Event>(handle, event);
    Stream *s = call.get<Stream>(on, stream);
    if (!e || !s) return call.result;
    int mark = ++e->recorded;
    s->queue.push_back([handle, mark] {
        auto it = live.find(handle);
        if (it == live.end()) return violation(CUDA_ERROR_INVALID_HANDLE, "an event was destroyed before it was passed");
        static_cast<Event *>(it->second)->passed = mark;
        return CUDA_SUCCESS;
    });
    return call.end();
}

CUresult CUDAAPI cuEventSynchronize(CUevent handle) {
    ENTER(0);
    Event *e = call.get<Event>(handle, event);
    if (!e) return call.result;
    std::vector<Stream *> streams;
    for (auto &l : live)
        if (l.second->kind == stream && l.second->owner == current) streams.push_back(static_cast<Stream *>(l.second));
    for (Stream *s : streams)
        if (CUresult r = s->run([e] { return e->passed == e->recorded; })) return r;
    return call.end();
}

CUresult CUDAAPI cuEventDestroy_v2(CUevent handle) {
    ENTER(releases);
    Event *e = call.get<Event>(handle, event);
    if (!e) return call.result;
    if (e->passed != e->recorded) return call.bad("the event is still queued");
    remove(e);
    return call.end();
}

CUresult CUDAAPI cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph handle, unsigned long long flags) {
    ENTER(0);
    Graph *g = call.get<Graph>(handle, graph);
    if (!g) return call.result;
    if (!exec || flags != 0) return call.bad("result or flags");
    Executable *x = make<Executable>(executable);
    x->ops = g->ops;
    *exec = reinterpret_cast<CUgraphExec>(x);
    return call.end();
}

CUresult CUDAAPI cuGraphLaunch(CUgraphExec handle, CUstream on) {
    ENTER(0);
    Executable *x = call.get<Executable>(handle, executable);
    Stream *s = call.get<Stream>(on, stream);
    if (!x || !s) return call.result;
    x->queued++;
    for (const LaunchOp &op : x->ops) s->queue.push_back([op] { return op.run(); });
    s->queue.push_back([x] {
        x->queued--;
        return CUDA_SUCCESS;
    });
    return call.end();
}

CUresult CUDAAPI cuGraphDestroy(CUgraph handle) {
    ENTER(releases);
    Graph *g = call.get<Graph>(handle, graph);
    if (!g) return call.result;
    remove(g);
    return call.end();
}

CUresult CUDAAPI cuGraphExecDestroy(CUgraphExec handle) {
    ENTER(releases);
    Executable *x = call.get<Executable>(handle, executable);
    if (!x) return call.result;
    if (x->queued) return call.bad("the graph is still queued");
    remove(x);
    return call.end();
}
}
