// The threads: numbered tasks are taken by a counter. Kernels follow each other
// within microseconds, so that a helper looks for work for a moment before it sleeps.
#include "device.h"

void set_stack(unsigned top); // stack.s

static unsigned stack_top(int thread) { return STACKS + (unsigned)(thread + 1) * STACK; }

EXPORT(start) void start(int threads, int may_wait) {
  set_stack(stack_top(0));
  CONTROL->threads = threads;
  CONTROL->may_wait = may_wait;
}

// run_task runs task i on a thread. The thread's scratch is handed out anew for every
// task, so that a task which reads what an earlier one left there is found.
static void run_task(task *t, void *args, int i, int thread) {
  unwritten(CONTROL->scratch[thread], CONTROL->scratch_asked);
  t(args, i, thread);
}

#ifdef __wasm_atomics__
#define GET(x) __atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define SET(x, v) __atomic_store_n(&(x), v, __ATOMIC_SEQ_CST)
#define ADD(x, v) __atomic_add_fetch(&(x), v, __ATOMIC_SEQ_CST)
enum { SPINS = 20000 }; // about 20 µs

// work takes tasks until none is left.
static void work(int thread) {
  for (;;) {
    int n = GET(CONTROL->left);
    if (n <= 0) return;
    if (!__atomic_compare_exchange_n(&CONTROL->left, &n, n - 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) continue;
    run_task(CONTROL->task, CONTROL->args, n - 1, thread);
    if (ADD(CONTROL->undone, -1) == 0 && GET(CONTROL->waiting)) __builtin_wasm_memory_atomic_notify(&CONTROL->undone, 1);
  }
}

EXPORT(help) void help(int thread) {
  set_stack(stack_top(thread));
  for (;;) {
    for (int i = 0; i < SPINS && GET(CONTROL->left) <= 0; i++) {
    }
    if (GET(CONTROL->left) <= 0) {
      ADD(CONTROL->sleeping, 1);
      __builtin_wasm_memory_atomic_wait32(&CONTROL->left, 0, -1);
      ADD(CONTROL->sleeping, -1);
    }
    work(thread);
  }
}

static void share(int n) {
  SET(CONTROL->undone, n);
  SET(CONTROL->left, n);
  if (GET(CONTROL->sleeping) > 0) __builtin_wasm_memory_atomic_notify(&CONTROL->left, (unsigned)n - 1);
  work(0);
  for (int i = 0; GET(CONTROL->undone) > 0; i++) {
    if (i < SPINS || !CONTROL->may_wait) continue;
    SET(CONTROL->waiting, 1);
    int undone = GET(CONTROL->undone);
    if (undone > 0) __builtin_wasm_memory_atomic_wait32(&CONTROL->undone, undone, 1000000);
    SET(CONTROL->waiting, 0);
  }
}
#else
EXPORT(help) void help(int thread) {}
static void share(int n) {}
#endif

void parallel(int n, task *t, void *args, unsigned scratch_floats) {
  if (scratch_floats && !scratch_of(scratch_floats)) return;
  CONTROL->scratch_asked = scratch_floats;
  if (CONTROL->threads > 1 && n > 1) {
    CONTROL->task = t;
    CONTROL->args = args;
    share(n);
    return;
  }
  for (int i = 0; i < n; i++) run_task(t, args, i, 0);
}
