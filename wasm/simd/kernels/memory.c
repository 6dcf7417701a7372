// The heap: a list of blocks in the order of their addresses, first fit, joined
// again when they are freed. Only the first thread allocates.
#include "device.h"

struct block {
  struct block *next;
  unsigned bytes; // behind the head
  unsigned used;
  unsigned unused[13]; // a head is a cache line
};

// grow appends a free block, or enlarges the last one if that is free.
static struct block *grow(struct block *last, unsigned bytes) {
  unsigned pages = (bytes + sizeof(struct block) + PAGE - 1) / PAGE;
  unsigned at = __builtin_wasm_memory_grow(0, pages);
  if (at == ~0u) return 0;
  at *= PAGE;
  if (last && !last->used && (unsigned)(last + 1) + last->bytes == at) {
    last->bytes += pages * PAGE;
    return last;
  }
  struct block *b = (struct block *)at;
  *b = (struct block){0, pages * PAGE - sizeof *b, 0, {0}};
  if (last) last->next = b;
  return b;
}

EXPORT(alloc) void *allocate(unsigned bytes) {
  if (bytes > 0xfff00000u) return 0;
  bytes = bytes ? (bytes + 63) & ~63u : 64;
  struct block *last = 0, *b = CONTROL->blocks;
  while (b && (b->used || b->bytes < bytes)) {
    last = b;
    b = b->next;
  }
  if (!b) {
    unsigned missing = last && !last->used ? bytes - last->bytes : bytes;
    if (!(b = grow(last, missing))) return 0;
    if (!CONTROL->blocks) CONTROL->blocks = b;
    if (b->bytes < bytes) return 0;
  }
  if (b->bytes >= bytes + 4 * sizeof *b) {
    struct block *rest = (struct block *)((char *)(b + 1) + bytes);
    *rest = (struct block){b->next, b->bytes - bytes - sizeof *b, 0, {0}};
    b->next = rest;
    b->bytes = bytes;
  }
  b->used = 1;
  return b + 1;
}

// held is the bytes of all that is allocated.
EXPORT(held) unsigned held(void) {
  unsigned bytes = 0;
  for (struct block *b = CONTROL->blocks; b; b = b->next) bytes += b->used ? b->bytes : 0;
  return bytes;
}

static void join(struct block *b) {
  struct block *n = b->next;
  if (n && !b->used && !n->used && (char *)(b + 1) + b->bytes == (char *)n) {
    b->bytes += sizeof *n + n->bytes;
    b->next = n->next;
  }
}

EXPORT(free) void release(void *p) {
  if (!p) return;
  struct block *b = (struct block *)p - 1, *before = 0;
  b->used = 0;
  join(b);
  for (struct block *i = CONTROL->blocks; i && i != b; i = i->next) before = i;
  if (before) join(before);
}

// resize makes p hold so many floats, its contents unspecified.
static int resize(float **p, unsigned floats) {
  release(*p);
  if (!(*p = allocate(floats * 4))) CONTROL->failed = 1;
  return *p != 0;
}

void unwritten(float *p, unsigned floats) {
  if (CONTROL->poisons)
    for (unsigned i = 0; i < floats; i++) p[i] = __builtin_nanf("");
}

int stage_of(unsigned floats) {
  if (CONTROL->stage_floats < floats) {
    CONTROL->stage_floats = 0;
    if (!resize(&CONTROL->stage, floats)) return 0;
    CONTROL->stage_floats = floats;
  }
  unwritten(CONTROL->stage, floats);
  return 1;
}

int scratch_of(unsigned floats) {
  if (CONTROL->scratch_floats < floats) {
    CONTROL->scratch_floats = 0;
    for (int t = 0; t < CONTROL->threads; t++)
      if (!resize(&CONTROL->scratch[t], floats)) return 0;
    CONTROL->scratch_floats = floats;
  }
  return 1;
}
