"""Ours beside PyTorch and ONNX Runtime without a GPU, in one run on one machine:

    python3 compare.py --binary bin/cmi-native [--network faces64|ffhq|both] [--threads 1,2] [--batch 1,8] [--markdown FILE]

Both sides have float32, the same network shapes and number of threads. In a round every side runs in turn; a side's time
is the fastest of its repetitions in the round, and a ratio is taken within a round. For a derivative both sides compute
the value too. Speed does not depend on the weights, so ffhq (the released 256×256 network's shapes) has random ones.
Needs torch, numpy, safetensors; onnxruntime, onnx and onnxscript for that peer; a C++ compiler for torch.compile.
"""
import argparse, datetime, gc, io, json, os, statistics, subprocess, sys, tempfile, time, warnings
import torch
from safetensors.torch import load_file, save_file

here = os.path.dirname(os.path.abspath(__file__))
root = os.path.join(here, "..", "..")
sys.path.insert(0, os.path.join(root, "tools", "train"))
from unet import UNet

NETWORKS = {
    "faces64": (64, dict()),
    "ffhq": (256, dict(channels=128, mult=(1, 1, 2, 2, 4, 4), attention=(16,), head=64)),
}
# Ours is named by the items of `bench --json`; both sides are timed with the value.
WORK = ["forward", "value + VJP", "value + JVP", "value + D²"]
ITEMS = {"value + VJP": "VJP", "value + JVP": "JVP", "value + D²": "second-order jet"}

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("--binary", required=True)
p.add_argument("--network", default="both", choices=[*NETWORKS, "both"])
p.add_argument("--threads", default=f"{os.cpu_count()}", help="numbers, separated by commas")
p.add_argument("--batch", default="1", help="numbers, separated by commas")
p.add_argument("--rounds", type=int, default=5)
p.add_argument("--reps", type=int, default=0, help="repetitions of a side in a round (10 for faces64, 1 for ffhq)")
p.add_argument("--forward-only", action="store_true")
p.add_argument("--peers", default="eager,channels_last,compile,onnxruntime")
p.add_argument("--markdown", help="append the table to FILE")
a = p.parse_args()
warnings.filterwarnings("ignore")


def fastest(run, reps):
    best = float("inf")
    for _ in range(reps):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def ours(prior, threads, batch, reps):
    """The fastest time of each kind of work, in seconds."""
    command = [a.binary, "bench", "--json", "--prior", prior, "--batch", str(batch), "--rounds", str(reps)]
    if a.forward_only:
        command.append("--forward-only")
    out = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "GOMAXPROCS": str(threads)}).stdout
    seconds = {i["name"]: i["seconds"] for i in json.loads(out)}
    times = {"forward": min(seconds["forward"])}
    if not a.forward_only:
        for work, item in ITEMS.items():
            times[work] = min(f + d for f, d in zip(seconds["forward"], seconds[item]))
    return times


def derivatives(model, x, t, u):
    f = lambda z: model(z, t)
    def vjp():
        z = x.clone().requires_grad_()
        torch.autograd.grad(f(z), z, u)
    jvp = lambda z: torch.func.jvp(f, (z,), (x,))
    return {"value + VJP": vjp, "value + JVP": lambda: jvp(x), "value + D²": lambda: torch.func.jvp(lambda z: jvp(z)[1], (x,), (x,))}


def peers(model, size, batch):
    """(peer, work, run) for all that can be had here."""
    x, t, u = torch.randn(batch, 3, size, size), torch.full((batch,), 300), torch.randn(batch, 6, size, size)
    wanted = a.peers.split(",")

    def inference(m, x):
        def run():
            with torch.inference_mode():
                m(x, t)
        return run

    for name in wanted:
        try:
            if name == "eager":
                yield name, "forward", inference(model, x)
                if not a.forward_only:
                    for work, run in derivatives(model, x, t, u).items():
                        yield name, work, run
            elif name == "channels_last":
                run = inference(model, x.contiguous(memory_format=torch.channels_last))
                def last(run=run):
                    model.to(memory_format=torch.channels_last)
                    run()
                yield name, "forward", last
            elif name == "compile":
                run = inference(torch.compile(model), x)
                run()
                yield name, "forward", run
            elif name == "onnxruntime":
                import onnxruntime
                file = os.path.join(tempfile.mkdtemp(), "network.onnx")
                torch.onnx.export(model, (x, t), file, input_names=["x", "t"], dynamo=True, external_data=True, verbose=False)
                o = onnxruntime.SessionOptions()
                o.intra_op_num_threads, o.inter_op_num_threads = torch.get_num_threads(), 1
                session = onnxruntime.InferenceSession(file, o, providers=["CPUExecutionProvider"])
                feed = {"x": x.numpy(), "t": t.numpy()}
                yield name, "forward", lambda: session.run(None, feed)
        except Exception as e:  # a peer that cannot run here is named, not hidden
            print(f"{name}: left out: {type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}", file=sys.stderr)


def compare(network, threads, batch):
    size, shape = NETWORKS[network]
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    model = UNet(**shape).eval()
    for q in model.parameters():
        q.requires_grad_(False)
    prior, reps = network, a.reps or 10
    if network != "faces64":
        reps = a.reps or 1
        prior = os.path.join(tempfile.gettempdir(), f"peers-{network}.safetensors")
        if not os.path.exists(prior):
            save_file({k: v.contiguous() for k, v in model.state_dict().items()}, prior)
    runs = list(peers(model, size, batch))
    for name, work, run in runs:
        fastest(run, 1)
    model.to(memory_format=torch.contiguous_format)
    mine, theirs = [], []
    for _ in range(a.rounds):
        mine.append(ours(prior, threads, batch, reps))
        row = {}
        for name, work, run in runs:
            if name == "channels_last":
                row[name, work] = fastest(run, reps)
                model.to(memory_format=torch.contiguous_format)
            else:
                row[name, work] = fastest(run, reps)
        theirs.append(row)
    for work in WORK:
        names = sorted({n for n, w in theirs[0] if w == work})
        if not names:
            continue
        mid = {n: statistics.median(r[n, work] for r in theirs) for n in names}
        best = min(mid, key=mid.get)
        ratios = sorted(r[best, work] / m[work] for r, m in zip(theirs, mine))
        others = ", ".join(f"{n} {1e3 * mid[n]:.1f}" for n in sorted(mid, key=mid.get) if n != best)
        yield f"| {network} | {threads} | {batch} | {work} | {1e3 * statistics.median(m[work] for m in mine):.1f} | {best} {1e3 * mid[best]:.1f} | {ratios[0]:.2f} | {statistics.median(ratios):.2f} | {ratios[-1]:.2f} | {others} |"


def processor():
    try:
        with open("/proc/cpuinfo") as f:
            info = dict(line.split(":", 1) for line in f.read().split("\n\n")[0].splitlines() if ":" in line)
        info = {k.strip(): v.strip() for k, v in info.items()}
        return f"{info['model name']} (family {info['cpu family']}, model {info['model']})"
    except (OSError, KeyError):
        import platform
        return platform.processor()


lines = [f"{datetime.date.today()}, {processor()}, {os.cpu_count()} processors, PyTorch {torch.__version__}, load before {os.getloadavg()[0]:.1f}", "",
         "| network | threads | batch | work | ours, ms | fastest peer, ms | ratio: min | median | max | other peers, ms |", "|---|---|---|---|---|---|---|---|---|---|"]
print("\n".join(lines), flush=True)
for network in NETWORKS if a.network == "both" else [a.network]:
    for threads in map(int, a.threads.split(",")):
        for batch in map(int, a.batch.split(",")):
            for line in compare(network, threads, batch):
                lines.append(line)
                print(line, flush=True)
            torch._dynamo.reset()
            gc.collect()
if a.markdown:
    with open(a.markdown, "a") as f:
        f.write("\n".join(lines) + "\n\n")
