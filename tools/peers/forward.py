"""The network's forward beside PyTorch's, interleaved on the same machine: python3 forward.py --binary bin/cmi-native

Both sides run the embedded face prior in float32 with the same number of threads. A round is some forwards of one side,
then of the other; the ratio is taken within a round, and the median and the range over the rounds are printed.
Needs torch, numpy, safetensors.
"""
import argparse, json, os, statistics, subprocess, sys, time
import torch
from safetensors.torch import load_file

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "train"))
from unet import UNet

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("--binary", required=True)
p.add_argument("--rounds", type=int, default=7)
p.add_argument("--forwards", type=int, default=20, help="of each side in a round")
a = p.parse_args()

threads = os.cpu_count()
torch.set_num_threads(threads)
weights = load_file(os.path.join(here, "..", "..", "sdk", "checkpoint", "faces64", "faces64.safetensors"))
model = UNet().eval()
model.load_state_dict({k: v.float() for k, v in weights.items()})
x, t = torch.randn(1, 3, 64, 64), torch.tensor([300])

def peer():
    times = []
    with torch.inference_mode():
        for i in range(a.forwards + 3):
            start = time.perf_counter()
            model(x, t)
            if i >= 3: times.append(time.perf_counter() - start)
    return statistics.median(times)

def ours():
    out = subprocess.run([a.binary, "bench", "--only", "forward", "--json", "--rounds", str(a.forwards)], check=True, capture_output=True, text=True).stdout
    return statistics.median(json.loads(out)[0]["seconds"])

rows = [(ours(), peer()) for _ in range(a.rounds)]
speed = sorted(p / o for o, p in rows)
print(f"forward, batch 1, {threads} threads: this {1e3 * statistics.median(o for o, _ in rows):.1f} ms, PyTorch {torch.__version__} (eager) {1e3 * statistics.median(p for _, p in rows):.1f} ms")
print(f"this / PyTorch in speed: median {statistics.median(speed):.2f}, range {speed[0]:.2f} to {speed[-1]:.2f} over {a.rounds} rounds")
