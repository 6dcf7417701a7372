"""Ours beside PyTorch on one NVIDIA GPU, in one run:

    python3 gpu.py --binary bin/cmi-native [--network ffhq|imagenet|both] [--batch 1,8] [--precision tf32,bf16] [--markdown FILE]

A side's time is the median over the rounds; in a round both sides run in turn. PyTorch is the best of eager and
torch.compile, each with and without channels_last; what of these cannot run is named. bf16: PyTorch has weights and
activations in bfloat16, ours keeps activations in float32 and multiplies in bf16. For derivatives both sides compute the
value too. Steps: super-resolution × 4, one probe, Lanczos steps as in `bench`. Beside them PyTorch's best 8192³ matrix
product in each precision, and what share of it the forward's arithmetic reaches.
Speed does not depend on the weights, so they are random. `--device cpu --network faces64` tries the program without a GPU.
Needs torch and numpy; a C++ compiler for torch.compile.
"""
import argparse, datetime, gc, json, os, statistics, subprocess, sys, time, warnings
import torch

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "train"))
from unet import UNet
import steps

# image, network, GFLOP of one forward of one image (a multiplication and an addition are two).
NETWORKS = {
    "faces64": (64, dict(), None),
    "ffhq": (256, dict(channels=128, mult=(1, 1, 2, 2, 4, 4), attention=(16,), head=64), 388),
    "imagenet": (256, dict(channels=256, mult=(1, 1, 2, 2, 4, 4), blocks=2, attention=(8, 16, 32), head=64), 2240),
}
WORK = ["forward", "value + VJP", "value + JVP", "value + D²", "DPS step", "CMI+DPS step"]
# Ours, by the names of `bench --json`; items that come without their value have the forward of their round added.
ITEMS = {"value + VJP": "VJP", "value + JVP": "JVP", "value + D²": "second-order jet"}

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("--binary", required=True)
p.add_argument("--network", default="both", choices=[*NETWORKS, "both"])
p.add_argument("--batch", default="1,8", help="numbers, separated by commas")
p.add_argument("--precision", default="tf32,bf16", help="tf32, bf16, f32, separated by commas")
p.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
p.add_argument("--rounds", type=int, default=5)
p.add_argument("--reps", type=int, default=5, help="repetitions of a side in a round")
p.add_argument("--variants", default="eager,channels_last,compile,compile channels_last")
p.add_argument("--markdown", help="append the tables to FILE")
a = p.parse_args()
warnings.filterwarnings("ignore")
on_gpu = a.device == "cuda"
if on_gpu and not torch.cuda.is_available():
    sys.exit("gpu.py: PyTorch sees no CUDA device; --device cpu --network faces64 tries the program without one")


def wait():
    if on_gpu:
        torch.cuda.synchronize()


def seconds(run, reps):
    """The fastest of some repetitions."""
    best = float("inf")
    for _ in range(reps):
        wait()
        start = time.perf_counter()
        run()
        wait()
        best = min(best, time.perf_counter() - start)
    return best


def set_precision(precision):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "f32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


def matmul_rate(precision):
    """TFLOP/s of PyTorch's best large matrix product."""
    n, dtype = (8192 if on_gpu else 512), set_precision(precision)
    x, y = torch.randn(n, n, device=a.device, dtype=dtype), torch.randn(n, n, device=a.device, dtype=dtype)
    best = min(seconds(lambda: x @ y, 10), seconds(lambda: x @ y.T, 10))
    return 2e-12 * n**3 / best


def ours(network, batch, precision):
    """The times of each kind of work in each round, in seconds."""
    device = f"cuda:{precision}" if on_gpu else "cpu"
    shapes = [] if network == "faces64" else ["--shapes", network]
    command = [a.binary, "bench", "--json", "--device", device, *shapes, "--batch", str(batch), "--rounds", str(a.reps)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    items = {i["name"]: i["seconds"] for i in json.loads(done.stdout)}
    times = {"forward": min(items["forward"])}
    for work, item in ITEMS.items():
        times[work] = min(f + d for f, d in zip(items["forward"], items[item]))
    for name, rounds in items.items():
        if name == "DPS step":
            times[name] = min(rounds)
        elif name.startswith("CMI+DPS step"):
            times["CMI+DPS step"] = min(rounds)
    missing = [w for w in WORK if w not in times]
    if missing:
        sys.exit(f"gpu.py: {' '.join(command)} does not time {missing}")
    return times, next(int(n.split("=")[1]) for n in items if n.startswith("CMI+DPS step"))


def peer_runs(network, batch, precision, lanczos):
    """(work, variant, run) for PyTorch; a variant whose first run fails is named and left out."""
    size, shape, _ = NETWORKS[network]
    dtype = set_precision(precision)
    for variant in a.variants.split(","):
        torch.manual_seed(1)
        model = UNet(**shape).to(a.device, dtype).eval().requires_grad_(False)
        if dtype == torch.bfloat16:  # the embedding starts in float32
            embed = model.time_embed.forward
            model.time_embed.forward = lambda e, embed=embed: embed(e.to(dtype))
        x = torch.randn(batch, 3, size, size, device=a.device)
        if "channels_last" in variant:
            model, x = model.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
        net = torch.compile(model) if "compile" in variant else model
        call = lambda p, t, net=net: net(p.to(dtype), t)
        t = torch.full((batch,), 300, device=a.device)
        u = torch.randn(batch, 6, size, size, device=a.device, dtype=dtype)
        op = steps.SuperResolution(size, device=a.device)
        y = op.apply(torch.randn_like(x))
        z, noise = torch.sign(torch.randn_like(y)), torch.randn_like(x)
        f = lambda p: call(p, t)

        def forward():
            with torch.inference_mode():
                f(x)

        def vjp():
            q = x.clone().requires_grad_()
            torch.autograd.grad(f(q), q, u)

        jvp = lambda q: torch.func.jvp(f, (q,), (x,))
        second = lambda: torch.func.jvp(lambda q: jvp(q)[1], (x,), (x,))
        step = lambda cmi: steps.step(call, x, t, op, y, z, 0.36, 0.4, 0.05, 3.0, lanczos, noise, cmi)
        for work, run in zip(WORK, [forward, vjp, lambda: jvp(x), second, lambda: step(False), lambda: step(True)]):
            try:
                seconds(run, 2)  # compiles
                yield work, variant, run
            except Exception as e:  # what cannot run is named, not hidden
                line = (str(e).splitlines() or [""])[0]
                print(f"{network}, batch {batch}, {precision}: PyTorch {variant}: {work}: left out: {type(e).__name__}: {line[:160]}", file=sys.stderr)


def conv_rates(batch, precision):
    """TFLOP/s of our convolutions of the released networks, each alone."""
    device = f"cuda:{precision}" if on_gpu else "cpu"
    command = [a.binary, "bench", "--convs", "--json", "--device", device, "--batch", str(batch), "--rounds", str(a.reps)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(network, batch, precision, rate):
    size, shape, gflop = NETWORKS[network]
    first, lanczos = ours(network, batch, precision)
    mine, theirs = [first], []
    runs = list(peer_runs(network, batch, precision, lanczos))
    for r in range(a.rounds):
        if r:
            mine.append(ours(network, batch, precision)[0])
        theirs.append({(w, v): seconds(run, a.reps) for w, v, run in runs})
    for work in WORK:
        m = statistics.median(x[work] for x in mine)
        variants = {v: statistics.median(t[w, v] for t in theirs) for w, v in theirs[0] if w == work}
        line = f"| {network} | {batch} | {precision} | {work} | {1e3 * m:.2f} |"
        if variants:
            best = min(variants, key=variants.get)
            ratios = sorted(t[work, best] / x[work] for t, x in zip(theirs, mine))
            others = ", ".join(f"{v} {1e3 * s:.2f}" for v, s in sorted(variants.items(), key=lambda i: i[1]) if v != best)
            line += f" {best} {1e3 * variants[best]:.2f} | {statistics.median(ratios):.2f} ({ratios[0]:.2f} … {ratios[-1]:.2f}) | {others} |"
        else:
            line += " none runs | – | |"
        if work == "forward" and gflop:
            reached = 1e-3 * gflop * batch / m
            line += f" {reached:.1f} TFLOP/s, {100 * reached / rate:.0f} % of the matrix product |"
        else:
            line += " |"
        yield line


def main():
    lines = [f"{datetime.date.today()}, {torch.cuda.get_device_name() if on_gpu else 'processor'}, PyTorch {torch.__version__}", "",
             "| 8192³ product, PyTorch | TFLOP/s |", "|---|---|"]
    precisions = a.precision.split(",") if on_gpu else ["f32"]
    rates = {precision: matmul_rate(precision) for precision in precisions}
    lines += [f"| {precision} | {rate:.1f} |" for precision, rate in rates.items()]
    lines += ["", "| network | batch | precision | work | ours, ms | PyTorch's best, ms | PyTorch / ours (range) | its others, ms | rate |", "|---|---|---|---|---|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    for network in ["ffhq", "imagenet"] if a.network == "both" else [a.network]:
        for batch in map(int, a.batch.split(",")):
            for precision in precisions:
                for line in compare(network, batch, precision, rates[precision]):
                    lines.append(line)
                    print(line, flush=True)
                torch._dynamo.reset()
                gc.collect()
                if on_gpu:
                    torch.cuda.empty_cache()
    lines += ["", "| batch | precision | convolution | map | TFLOP/s | of the matrix product |", "|---|---|---|---|---|---|"]
    print("\n".join(lines[-3:]), flush=True)
    for batch in map(int, a.batch.split(",")):
        for precision in precisions:
            for r in conv_rates(batch, precision):
                shape = f"{r['kernel']}×{r['kernel']}, {r['in']} → {r['out']} at {r['side']}²"
                lines.append(f"| {batch} | {precision} | {shape} | {r['map']} | {r['tflops']:.2f} | {100 * r['tflops'] / rates[precision]:.0f} % |")
                print(lines[-1], flush=True)
    if a.markdown:
        with open(a.markdown, "a") as f:
            f.write("\n".join(lines) + "\n\n")


if __name__ == "__main__":
    main()
