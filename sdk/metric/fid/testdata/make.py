"""Makes pool3.safetensors with PyTorch: the Inception v3 of the FID in evaluation mode, its weights by the formula of
testdata/golden/README.md, on the first two images x of testdata/golden/metrics.safetensors.

    python make.py
"""
import json, math, pathlib, zlib
import numpy as np, torch, torch.nn.functional as F
from safetensors.torch import load_file, save_file

here = pathlib.Path(__file__).resolve().parent
golden = here.parents[3] / "testdata/golden"
shapes = json.load(open(golden / "full/inception.tensors.json"))


def uniform(name, n, fan_in):
    u64 = np.uint64
    with np.errstate(over="ignore"):
        s = (u64(zlib.crc32(name.encode())) << u64(32)) | np.arange(n, dtype=u64)
        s = s + u64(0x9E3779B97F4A7C15)
        s = (s ^ (s >> u64(30))) * u64(0xBF58476D1CE4E5B9)
        s = (s ^ (s >> u64(27))) * u64(0x94D049BB133111EB)
        s = s ^ (s >> u64(31))
    u = (s >> u64(11)).astype(np.float64) / 2**53
    return torch.from_numpy(((2 * u - 1) * math.sqrt(3 / fan_in)).astype(np.float32))


def weight(name):
    shape = shapes[name]
    n = math.prod(shape)
    if len(shape) > 1: return uniform(name, n, math.prod(shape[1:]) / 2).view(shape).double()
    if name.endswith("running_var"): return 1 + uniform(name, n, 3).abs().double()
    if name.endswith(".weight"): return 1 + uniform(name, n, 75).double()
    return uniform(name, n, 300).double()


def conv(x, name, stride=1, same=False):
    w = weight(name + ".conv.weight")
    x = F.conv2d(x, w, None, stride, (w.shape[2] // 2, w.shape[3] // 2) if same else 0)
    bn = [weight(f"{name}.bn.{part}") for part in ("running_mean", "running_var", "weight", "bias")]
    return F.relu(F.batch_norm(x, *bn, False, 0, 1e-3))


def chain(x, name, *branches):
    for branch in branches: x = conv(x, name + branch, 1, True)
    return x


def mean(x): return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
def largest(x): return F.max_pool2d(x, 3, 1, 1)


def block_a(x, n):
    return torch.cat([chain(x, n, "branch1x1"), chain(x, n, "branch5x5_1", "branch5x5_2"),
                      chain(x, n, *[f"branch3x3dbl_{i}" for i in (1, 2, 3)]), chain(mean(x), n, "branch_pool")], 1)


def block_b(x, n):
    return torch.cat([chain(x, n, "branch1x1"), chain(x, n, *[f"branch7x7_{i}" for i in (1, 2, 3)]),
                      chain(x, n, *[f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5)]), chain(mean(x), n, "branch_pool")], 1)


def block_c(x, n, pool):
    a, b = chain(x, n, "branch3x3_1"), chain(x, n, "branch3x3dbl_1", "branch3x3dbl_2")
    return torch.cat([chain(x, n, "branch1x1"), chain(a, n, "branch3x3_2a"), chain(a, n, "branch3x3_2b"),
                      chain(b, n, "branch3x3dbl_3a"), chain(b, n, "branch3x3dbl_3b"), chain(pool(x), n, "branch_pool")], 1)


x = load_file(golden / "metrics.safetensors")["x"][:2].double()
x = 2 * F.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False) - 1
x = conv(x, "Conv2d_1a_3x3", 2)
x = conv(x, "Conv2d_2a_3x3")
x = F.max_pool2d(conv(x, "Conv2d_2b_3x3", 1, True), 3, 2)
x = F.max_pool2d(conv(conv(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3"), 3, 2)
for n in "bcd": x = block_a(x, f"Mixed_5{n}.")
double = conv(chain(x, "Mixed_6a.", "branch3x3dbl_1", "branch3x3dbl_2"), "Mixed_6a.branch3x3dbl_3", 2)
x = torch.cat([conv(x, "Mixed_6a.branch3x3", 2), double, F.max_pool2d(x, 3, 2)], 1)
for n in "bcde": x = block_b(x, f"Mixed_6{n}.")
three = conv(chain(x, "Mixed_7a.", "branch3x3_1"), "Mixed_7a.branch3x3_2", 2)
seven = conv(chain(x, "Mixed_7a.", *[f"branch7x7x3_{i}" for i in (1, 2, 3)]), "Mixed_7a.branch7x7x3_4", 2)
x = torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)
x = block_c(block_c(x, "Mixed_7b.", mean), "Mixed_7c.", largest)
save_file({"pool3": x.mean((2, 3)).float().contiguous()}, here / "pool3.safetensors")
