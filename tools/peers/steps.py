"""A DPS step and a CMI+DPS step for super-resolution × 4, written in PyTorch as one would there: automatic differentiation,
torch.func.jvp for the Lanczos steps, nested for the second derivative. The work of docs/architecture.md's cost model, no more.

`python3 steps.py --golden DIR` compares the information term with the golden vectors, on the CPU.
"""
import argparse, json, math, os, sys
import torch

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "train"))
from unet import UNet


def bicubic(n, f):
    """[n/f, n]: bicubic reduction (a = −½) with anti-aliasing and a symmetric border."""
    def keys(x):
        x = abs(x)
        if x < 1: return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0
    m = torch.zeros(n // f, n, dtype=torch.float64)
    for o in range(n // f):
        centre = (o + 0.5) * f - 0.5
        taps = range(math.ceil(centre - 2 * f), math.floor(centre + 2 * f) + 1)
        total = sum(keys((i - centre) / f) for i in taps)
        for i in taps:
            j = i % (2 * n)
            m[o, j if j < n else 2 * n - 1 - j] += keys((i - centre) / f) / total
    return m


class SuperResolution:
    """A = D ⊗ D for each channel, with (r²AAᵀ + s²)^p by the eigenvalues of D Dᵀ."""
    def __init__(s, n, f=4, device="cpu", dtype=torch.float32):
        d = bicubic(n, f)
        values, vectors = torch.linalg.eigh(d @ d.T)
        s.d, s.u, s.spectrum = d.to(device, dtype), vectors.to(device, dtype), (values[:, None] * values).to(device, dtype)
    def apply(s, x): return s.d @ x @ s.d.T
    def adjoint(s, y): return s.d.T @ y @ s.d
    def power(s, y, r2, s2, p): return s.u @ ((s.u.T @ y @ s.u) * (r2 * s.spectrum + s2) ** p) @ s.u.T
    def largest(s): return s.spectrum.max().item()


def tweedie(model, t, alpha_bar):
    """x_t → the Tweedie mean, unclipped, and the rest of the network's output."""
    def f(x):
        out = model(x, t).to(x.dtype)
        return (x - math.sqrt(1 - alpha_bar) * out[:, :3]) / math.sqrt(alpha_bar), out[:, 3:]
    return f


def flat(x): return x.flatten(1)
def dots(x, y): return (flat(x) * flat(y)).sum(1)
def scaled(c, x): return c.to(x.dtype)[:, None, None, None] * x


def direction(x0, x, op, z, alpha_bar, sigma_y, steps):
    """v = Aᵀ P^(−½) Ŝ^(−½) z of each image, by Arnoldi steps of one JVP each."""
    c, r2, s2 = (1 - alpha_bar) / math.sqrt(alpha_bar), 1 - alpha_bar, sigma_y**2
    whiten = lambda y: op.power(y, r2, s2, -0.5)
    if steps == 0:
        return op.adjoint(whiten(z))
    def apply(q):
        w = whiten(q)
        jv = torch.func.jvp(x0, (x,), (op.adjoint(w),))[1]
        return whiten(c * op.apply(jv) + s2 * w)
    length = dots(z, z).sqrt()
    basis, h = [scaled(1 / length, z)], torch.zeros(len(z), steps, steps, dtype=torch.float64)
    for j in range(steps):
        w = apply(basis[j])
        for _ in range(2):
            for l, q in enumerate(basis):
                d = dots(w, q)
                h[:, l, j] += d.double().cpu()
                w = w - scaled(d, q)
        if j + 1 < steps:
            norm = dots(w, w).sqrt()
            h[:, j + 1, j] = norm.double().cpu()
            basis.append(scaled(1 / norm, w))
    values, vectors = torch.linalg.eigh((h + h.transpose(1, 2)) / 2)
    floor = s2 / (r2 * op.largest() + s2)
    weights = torch.where(values > floor, values.clamp(min=1e-30) ** -0.5, 0)
    combine = (vectors @ (weights * vectors[:, 0])[:, :, None])[:, :, 0].to(z.device) * length.double()[:, None]
    w = sum(scaled(combine[:, l], q) for l, q in enumerate(basis))
    return op.adjoint(whiten(w))


def information_gradient(x0, x, op, z, alpha_bar, sigma_y, steps):
    """½ c D²x̂0[v, v]."""
    v = direction(x0, x, op, z, alpha_bar, sigma_y, steps)
    tangent = lambda p: torch.func.jvp(x0, (p,), (v,))[1]
    second = torch.func.jvp(tangent, (x,), (v,))[1]
    return v, 0.5 * (1 - alpha_bar) / math.sqrt(alpha_bar) * second


def step(model, x, t, op, y, z, alpha_bar, alpha_bar_next, sigma_y, scale, lanczos, noise, cmi):
    """x_t → x_{t−1} by DPS, with the information term where cmi is set."""
    f = tweedie(model, t, alpha_bar)
    beta = 1 - alpha_bar / alpha_bar_next
    start = x.detach().requires_grad_()
    x0, variance = f(start)
    residual = flat(y - op.apply(x0.clamp(-1, 1))).norm(dim=1).sum()
    g, = torch.autograd.grad(residual, start)
    with torch.no_grad():
        x0 = x0.detach().clamp(-1, 1)
        tilde = beta * (1 - alpha_bar_next) / (1 - alpha_bar)
        part = (variance.detach() + 1) / 2
        deviation = (0.5 * (part * math.log(beta) + (1 - part) * math.log(tilde))).exp()
        mean = beta * math.sqrt(alpha_bar_next) / (1 - alpha_bar) * x0 + (1 - alpha_bar_next) * math.sqrt(1 - beta) / (1 - alpha_bar) * x
        new = mean + deviation * noise - scale * g
        if cmi:
            with torch.enable_grad():  # SiLU has a forward derivative of its derivative only there
                _, gradient = information_gradient(lambda p: f(p)[0], x, op, z, alpha_bar, sigma_y, lanczos)
            new = new + beta * gradient * (0.5 * flat(scale * g).norm(dim=1) / (beta * flat(gradient).norm(dim=1)).clamp(min=1e-30)).clamp(max=1)[:, None, None, None]
    return new


def check(folder):
    """The term on the golden folder's trained network and measurement."""
    import safetensors.torch
    load = lambda name: safetensors.torch.load(open(os.path.join(folder, name), "rb").read())
    config = json.load(open(os.path.join(folder, "tiny16", "config.json")))
    model = UNet(config["model_channels"], config["channel_mult"], config["num_res_blocks"], config["attention_ds"], config["num_head_channels"])
    model.load_state_dict(torch.load(os.path.join(folder, "tiny16", "model.pt"), weights_only=True))
    model = model.double().eval().requires_grad_(False)
    time_in_double = model.time_embed.forward
    model.time_embed.forward = lambda e: time_in_double(e.double())
    vectors = {k: v.double() for k, v in load("information/sr4.safetensors").items()}
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)[int(vectors["timestep"])].item()
    x, t = vectors["x"], vectors["timestep"].long().expand(len(vectors["x"]))
    f, op, worst = tweedie(model, t, alpha_bar), SuperResolution(16, dtype=torch.float64), 0.0
    error = lambda got, want: ((got - want).norm() / want.norm()).item()
    rows = [("x0", error(f(x)[0], vectors["x0"]), 1e-5)]
    for k in (0, 1, 2, 3, 6):
        v, gradient = information_gradient(lambda p: f(p)[0], x, op, vectors["z"], alpha_bar, 0.05, k)
        rows += [(f"v.k{k}", error(v, vectors[f"v.k{k}"]), 1e-3), (f"grad.k{k}", error(gradient, vectors[f"grad.k{k}"]), 2e-3)]
    failed = 0
    for name, e, bound in rows:
        failed += not e <= bound
        print(f"{'pass' if e <= bound else 'FAIL'}  {e:.1e}  {bound:.0e}  {name}")
    return failed


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--golden", default=os.path.join(here, "..", "..", "testdata", "golden"))
    sys.exit(1 if check(p.parse_args().golden) else 0)
