// Commands: the kernel's number, the number of words of its arguments, and they.
#include "device.h"

enum {
#define NUMBER(name) CMD_##name,
  KERNELS(NUMBER)
};

// run executes a list of commands. 1 says that a kernel found no memory, and the
// rest was not run; 2 that a command is unknown.
EXPORT(run) int run(int *commands, int words) {
  CONTROL->failed = 0;
  for (int i = 0; i < words; i += 2 + commands[i + 1]) {
    void *args = commands + i + 2;
    switch (commands[i]) {
#define CALL(name) \
  case CMD_##name: name##_run(args); break;
      KERNELS(CALL)
    default:
      return 2;
    }
    if (CONTROL->failed) return 1;
  }
  return 0;
}
