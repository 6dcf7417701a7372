"""Ours beside PyTorch and ONNX Runtime without a GPU, cell by cell, each in one run with both sides in turn:

    python3 compare.py --binary bin/cmi-native [--cells 'faces64/2/.*'] [--results out/peers] [--again] [--prepare]

A cell is NETWORK/THREADS/BATCH/WORK. Cells that have a result are not measured again (--again: they are), so that the
whole can be made in pieces; report.py makes the document of what is there. Both sides have float32, the same network
shapes and number of threads. In a round every side runs in turn; a side's time is the fastest of its repetitions in the
round, and a ratio is taken within a round. For a derivative both sides compute the value too. Speed does not depend on
the weights: ours are the embedded prior's or made by formula, the peers' random. --prepare only compiles and exports.
Needs torch, numpy, safetensors; onnxruntime, onnx and onnxscript for that peer; a C++ compiler for torch.compile.
"""
import argparse, copy, datetime, json, os, platform, re, subprocess, sys, time, warnings
import torch

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "train"))
from unet import UNet

NETWORKS = {
    "faces64": (64, dict(), []),
    "ffhq": (256, dict(channels=128, mult=(1, 1, 2, 2, 4, 4), attention=(16,), head=64), ["--shapes", "ffhq"]),
}
WORK = {"forward": "forward", "vjp": "VJP", "jvp": "JVP", "d2": "jet"}  # and what it is called by `bench --only`
CELLS = [f"{n}/{t}/{b}/{w}" for n in NETWORKS for t in (1, 2) for b in (1, 8) for w in WORK]


def fastest(run, reps):
    best = float("inf")
    for _ in range(reps):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


class Ours:
    """The product's own benchmark, which waits for a line before each round."""

    def __init__(self, binary, network, threads, batch, work, reps):
        command = [binary, "bench", "--in-step", "--rounds", str(reps), "--batch", str(batch), "--only", WORK[work], *NETWORKS[network][2]]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "GOMAXPROCS": str(threads)})
        self.item = WORK[work]

    def round(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        seconds = json.loads(self.process.stdout.readline())
        if self.item == "forward":
            return min(seconds["forward"])
        return min(f + d for f, d in zip(seconds["forward"], seconds[self.item]))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def derivative(model, work, x, t, u):
    f = lambda z: model(z, t)
    def vjp():
        z = x.clone().requires_grad_()
        torch.autograd.grad(f(z), z, u)
    jvp = lambda z: torch.func.jvp(f, (z,), (x,))
    return {"vjp": vjp, "jvp": lambda: jvp(x), "d2": lambda: torch.func.jvp(lambda z: jvp(z)[1], (x,), (x,))}[work]


def inference(model, x, t):
    def run():
        with torch.inference_mode():
            model(x, t)
    return run


def session(model, network, x, t, folder):
    import onnxruntime
    file = os.path.join(folder, f"{network}-{x.shape[0]}.onnx")
    if not os.path.exists(file):
        torch.onnx.export(model, (x, t), file, input_names=["x", "t"], dynamo=True, external_data=True, verbose=False)
    o = onnxruntime.SessionOptions()
    o.intra_op_num_threads, o.inter_op_num_threads = torch.get_num_threads(), 1
    s = onnxruntime.InferenceSession(file, o, providers=["CPUExecutionProvider"])
    feed = {"x": x.numpy(), "t": t.numpy()}
    return lambda: s.run(None, feed)


def peers(network, batch, work, folder, without):
    """A function for each peer that can be had here."""
    size, shape, _ = NETWORKS[network]
    torch.manual_seed(1)
    model = UNet(**shape).eval().requires_grad_(False)
    x, t, u = torch.randn(batch, 3, size, size), torch.full((batch,), 300), torch.randn(batch, 6, size, size)
    last = lambda v: v.contiguous(memory_format=torch.channels_last)
    last_model = copy.deepcopy(model).to(memory_format=torch.channels_last)
    if work != "forward":
        return {"eager": derivative(model, work, x, t, u), "channels_last": derivative(last_model, work, last(x), t, last(u))}, {}
    makers = {
        "eager": lambda: inference(model, x, t),
        "channels_last": lambda: inference(last_model, last(x), t),
        "compile": lambda: inference(torch.compile(model), x, t),
        "onnxruntime": lambda: session(model, network, x, t, folder),
    }
    made, missing = {}, {}
    for name, make in makers.items():
        if name in without:
            missing[name] = "left out"
            continue
        try:
            run = make()
            run()
            made[name] = run
        except Exception as e:  # a peer that cannot run here is named, not hidden
            missing[name] = f"{type(e).__name__}: {(str(e).splitlines() or [''])[0]}"
            print(f"{name}: left out: {missing[name]}", file=sys.stderr)
    return made, missing


def measure(cell, a):
    network, threads, batch, work = cell.split("/")
    threads, batch = int(threads), int(batch)
    torch.set_num_threads(threads)
    reps = {1: 10, 8: 3}[batch] if network == "faces64" else 1
    runs, missing = peers(network, batch, work, a.results, a.without.split(','))
    if a.prepare:
        return None
    ours = Ours(a.binary, network, threads, batch, work, reps)
    start, rounds = time.monotonic(), []
    for r in range(a.rounds + 1):
        row = {"ours": ours.round()}
        for name, run in runs.items():
            time.sleep(0.05)  # the other side's threads fall asleep
            row[name] = fastest(run, reps)
        if r > 0 or a.no_warm_up:
            rounds.append(row)
        if time.monotonic() - start > a.budget and rounds:
            break
    ours.close()
    return {"cell": cell, "rounds": rounds, "missing": missing, "date": str(datetime.date.today()), "machine": machine(), "load": os.getloadavg()[0]}


def machine():
    import importlib.metadata
    version = lambda p: importlib.metadata.version(p).split("+")[0]
    try:
        with open("/proc/cpuinfo") as f:
            info = dict(line.split(":", 1) for line in f.read().split("\n\n")[0].splitlines() if ":" in line)
        info = {k.strip(): v.strip() for k, v in info.items()}
        name = f"{info['model name']} (family {info['cpu family']}, model {info['model']})"
    except (OSError, KeyError):
        name = platform.processor()
    return {"processor": name, "processors": os.cpu_count(), "torch": version("torch"), "onnxruntime": version("onnxruntime")}


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--binary", required=True)
    p.add_argument("--cells", default=".*", help="which: a regular expression")
    p.add_argument("--results", default="out/peers", help="folder of the results")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--budget", type=float, default=120, help="seconds for the rounds of a cell, the last one may go over")
    p.add_argument("--no-warm-up", action="store_true", help="count the first round too: for what takes minutes")
    p.add_argument("--without", default="", help="peers to leave out, such as compile, which takes minutes to compile ffhq")
    p.add_argument("--again", action="store_true")
    p.add_argument("--prepare", action="store_true")
    a = p.parse_args()
    warnings.filterwarnings("ignore")
    os.makedirs(a.results, exist_ok=True)
    for cell in CELLS:
        file = os.path.join(a.results, cell.replace("/", "-") + ".json")
        if not re.fullmatch(a.cells, cell) or os.path.exists(file) and not a.again:
            continue
        result = measure(cell, a)
        if result:
            with open(file, "w") as f:
                json.dump(result, f)
            medians = {n: sorted(r[n] for r in result["rounds"])[len(result["rounds"]) // 2] for n in result["rounds"][0]}
            print(cell, len(result["rounds"]), "rounds:", ", ".join(f"{n} {1e3 * v:.1f} ms" for n, v in medians.items()), flush=True)
        torch._dynamo.reset()
