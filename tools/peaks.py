#!/usr/bin/env python3
"""Runs a command on every file of some folders and prints what each took: exit code, peak memory, seconds, last message.

    tools/peaks.py FOLDER... -- COMMAND... {} ...        {} stands for the file

The worst comes last. A run of more than two minutes is killed and has the code -9. Standard library alone, Linux."""
import os, signal, sys, tempfile, time

if "--" not in sys.argv or "{}" not in sys.argv:
    sys.exit(__doc__)
split = sys.argv.index("--")
files = sorted(os.path.join(folder, name) for top in sys.argv[1:split] for folder, _, names in os.walk(top) for name in names)
rows = []
for path in files:
    with tempfile.TemporaryFile() as log:
        start = time.time()
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            command = [path if word == "{}" else word for word in sys.argv[split + 1:]]
            os.execvp(command[0], command)
        signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
        signal.alarm(120)
        _, status, used = os.wait4(child, 0)
        signal.alarm(0)
        log.seek(0)
        lines = log.read().decode(errors="replace").strip().splitlines() or [""]
    rows.append((used.ru_maxrss / 1024, os.waitstatus_to_exitcode(status), time.time() - start, path, lines[-1]))
print("code\tMiB\tseconds\tfile\tlast message")
for mib, code, seconds, path, message in sorted(rows):
    print(f"{code}\t{mib:.0f}\t{seconds:.1f}\t{path}\t{message}")
