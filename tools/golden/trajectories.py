"""Make golden trajectories (testdata/golden/README.md, trajectories/) with PyTorch, in float64.

The network is the published UNet of guided-diffusion with the weights of testdata/golden/tiny16. Usage:

    pip install torch numpy safetensors
    git clone https://github.com/openai/guided-diffusion
    python tools/golden/trajectories.py --unet guided-diffusion --check        # recompute testdata/golden/trajectories
    python tools/golden/trajectories.py --unet guided-diffusion --seed 5 OUT   # OUT/tiny16, OUT/trajectories
    cmi-native verify --golden OUT
"""
import argparse
import json
import pathlib
import shutil
import sys

import numpy as np
import torch
from safetensors.torch import load_file, save_file

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "testdata" / "golden"
STEPS, SIGMA_Y, SIDE = 20, 0.05, 16


def network(unet_folder):
    """The UNet of tiny16 in float64."""
    sys.path.insert(0, unet_folder)
    from guided_diffusion import unet
    unet.checkpoint = lambda f, inputs, *_: f(*inputs)  # its gradient is in the parameters, too
    torch.Tensor.float = lambda self: self  # the published code falls back to float32 in norms and softmax
    c = json.loads((GOLDEN / "tiny16" / "config.json").read_text())
    model = unet.UNetModel(
        image_size=c["image_size"], in_channels=3, model_channels=c["model_channels"], out_channels=c["out_channels"],
        num_res_blocks=c["num_res_blocks"], attention_resolutions=tuple(c["attention_ds"]), channel_mult=tuple(c["channel_mult"]),
        num_heads=c["num_heads"], num_head_channels=c["num_head_channels"], use_scale_shift_norm=c["use_scale_shift_norm"],
        resblock_updown=c["resblock_updown"], use_new_attention_order=c["use_new_attention_order"], conv_resample=c["conv_resample"])
    model.load_state_dict(torch.load(GOLDEN / "tiny16" / "model.pt", map_location="cpu"))
    model.dtype = torch.float64
    model.time_embed.register_forward_pre_hook(lambda _, args: args[0].double())
    return model.double().eval().requires_grad_(False)


class Schedule:
    """The linear schedule of 1000 steps, respaced."""

    def __init__(self):
        from guided_diffusion.gaussian_diffusion import get_named_beta_schedule
        from guided_diffusion.respace import space_timesteps
        every = np.cumprod(1 - get_named_beta_schedule("linear", 1000))
        self.t = sorted(space_timesteps(1000, str(STEPS)))
        self.bar = every[self.t]
        self.prev = np.append(1.0, self.bar[:-1])
        self.beta = 1 - self.bar / self.prev
        variance = self.beta * (1 - self.prev) / (1 - self.bar)
        self.log_variance = np.log(np.append(variance[1], variance[1:]))


def reduction(n, f):
    """The bicubic reduction by f with anti-aliasing (Keys, a = -1/2), symmetric at the border."""
    def keys(x):
        x = np.abs(x)
        return np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, np.where(x < 2, ((-0.5 * x + 2.5) * x - 4) * x + 2, 0))
    m = np.zeros((n // f, n))
    for o in range(n // f):
        centre = (o + 0.5) * f - 0.5
        at = np.arange(int(np.ceil(centre - 2 * f)), int(np.floor(centre + 2 * f)) + 1)
        w = keys((at - centre) / f)
        for i, v in zip(at, w / w.sum()):
            i %= 2 * n
            m[o, i if i < n else 2 * n - 1 - i] += v
    return m


class Operator:
    """A dense matrix on the measured coordinates; measurements have the shape out."""

    def __init__(self, task, extra):
        eye = np.eye(SIDE)
        if task == "inpaint":
            mask = extra["mask"].double().numpy().reshape(-1)
            channel, self.out = np.diag(mask), (3, SIDE, SIDE)
        elif task == "sr4":
            channel, self.out = np.kron(reduction(SIDE, 4), reduction(SIDE, 4)), (3, SIDE // 4, SIDE // 4)
        else:
            k = extra["kernel"].double().numpy()
            channel, self.out = np.zeros((SIDE * SIDE,) * 2), (3, SIDE, SIDE)
            for dy in range(k.shape[0]):
                for dx in range(k.shape[1]):
                    shift = np.kron(np.roll(eye, dy - k.shape[0] // 2, 1), np.roll(eye, dx - k.shape[1] // 2, 1))
                    channel += k[dy, dx] * shift
        whole = torch.tensor(np.kron(np.eye(3), channel))
        self.a = whole
        self.rows = whole.abs().sum(1) > 0
        e, u = torch.linalg.eigh((whole @ whole.T)[self.rows][:, self.rows])
        self.e, self.u = e.clamp(min=0), u

    def apply(self, x):
        return (x.reshape(len(x), -1) @ self.a.T).reshape(len(x), *self.out)

    def adjoint(self, y):
        return (y.reshape(len(y), -1) @ self.a).reshape(len(y), 3, SIDE, SIDE)

    def power(self, z, r2, p):
        """(r² A Aᵀ + σ_y² I)^p z on the measured coordinates, 0 elsewhere."""
        out = torch.zeros_like(z).reshape(len(z), -1)
        part = z.reshape(len(z), -1)[:, self.rows]
        out[:, self.rows] = part @ self.u * (r2 * self.e + SIGMA_Y ** 2) ** p @ self.u.T
        return out.reshape(z.shape)

    def known(self, z):
        return (z.reshape(len(z), -1) * self.rows).reshape(z.shape)


def norm(x):
    return x.reshape(len(x), -1).norm(dim=1).reshape(-1, 1, 1, 1)


def dot(a, b):
    return (a * b).reshape(len(a), -1).sum(1).reshape(-1, 1, 1, 1)


class Step:
    """What all methods know of the step i -> i - 1 from x."""

    def __init__(self, model, s, op, data, x, i):
        self.s, self.op, self.data, self.x, self.i = s, op, data, x, i
        self.bar, self.prev, self.beta = s.bar[i], s.prev[i], s.beta[i]
        t = torch.full((len(x),), s.t[i])
        self.x0_of = lambda v: (v - np.sqrt(1 - self.bar) * model(v, t)[:, :3]) / np.sqrt(self.bar)
        out = model(x, t)
        self.x0 = (x - np.sqrt(1 - self.bar) * out[:, :3]) / np.sqrt(self.bar)
        self.clipped = self.x0.clamp(-1, 1)
        fraction = (out[:, 3:] + 1) / 2
        self.std = torch.exp(0.5 * (fraction * np.log(self.beta) + (1 - fraction) * s.log_variance[i]))
        self.noise = data["noise"][i] if i > 0 else torch.zeros_like(x)

    def ddpm(self):
        """(sample, mean) of DDPM from the clipped mean."""
        mean = np.sqrt(self.prev) * self.beta / (1 - self.bar) * self.clipped
        mean = mean + np.sqrt(1 - self.beta) * (1 - self.prev) / (1 - self.bar) * self.x
        return mean + self.std * self.noise, mean

    def ddim(self, eta):
        eps = (self.x - np.sqrt(self.bar) * self.clipped) / np.sqrt(1 - self.bar)
        sigma = eta * np.sqrt((1 - self.prev) / (1 - self.bar)) * np.sqrt(1 - self.bar / self.prev)
        return np.sqrt(self.prev) * self.clipped + np.sqrt(max(0, 1 - self.prev - sigma ** 2)) * eps + sigma * self.noise

    def gradient(self):
        """The gradient in x of the norm of y - A clip(x0), one norm an image."""
        x = self.x.detach().requires_grad_()
        norm(self.data["y"] - self.op.apply(self.x0_of(x).clamp(-1, 1))).sum().backward()
        return x.grad

    def noisy_measurement(self):
        return np.sqrt(self.bar) * self.data["y"] + np.sqrt(1 - self.bar) * self.data["measurement_noise"][self.i]

    def term(self):
        """β ∇I by one probe and two Arnoldi steps, limited to 0.2 of the step's standard deviation."""
        r2, c, op = 1 - self.bar, (1 - self.bar) / np.sqrt(self.bar), self.op
        jvp = lambda v: torch.func.jvp(self.x0_of, (self.x,), (v,))[1]
        z = op.known(self.data["probes"][self.i])
        size, n = norm(z), len(z)
        q, t = [z / size], torch.zeros(n, 2, 2)
        for j in range(2):
            u = op.power(q[j], r2, -0.5)
            w = op.power(c * op.apply(jvp(op.adjoint(u))) + SIGMA_Y ** 2 * u, r2, -0.5)
            for _ in range(2):
                for k in range(j + 1):
                    d = dot(w, q[k])
                    t[:, k, j] += d.reshape(-1)
                    w = w - d * q[k]
            if j == 0:
                t[:, 1, 0] = norm(w).reshape(-1)
                q.append(w / norm(w))
        e, y = torch.linalg.eigh((t + t.transpose(1, 2)) / 2)
        floor = SIGMA_Y ** 2 / (r2 * op.e.max() + SIGMA_Y ** 2)
        weight = torch.where(e <= floor, torch.zeros_like(e), e.clamp(min=1e-30) ** -0.5)
        coef = torch.einsum("nke,ne,ne->nk", y, weight, y[:, 0]) * size.reshape(-1, 1)
        v = op.adjoint(op.power(sum(coef[:, k].reshape(-1, 1, 1, 1) * q[k] for k in range(2)), r2, -0.5))
        second = torch.func.jvp(lambda x: torch.func.jvp(self.x0_of, (x,), (v,))[1], (self.x,), (v,))[1]
        g = self.beta * 0.5 * c * second
        return g * (0.2 * norm(self.std) / norm(g)).clamp(max=1)


def method(name, task, st):
    op, y = st.op, st.data.get("y")
    if name == "ddpm":
        return st.ddpm()[0]
    if name == "ddim":
        return st.ddim(0.5)
    if name == "pigdm":
        r2, x = 1 - st.bar, st.x.detach().requires_grad_()
        w = op.adjoint(op.power(y - op.apply(st.x0), r2, -1))
        (st.x0_of(x) * w).sum().backward()
        return st.ddim(1) + np.sqrt(st.prev * st.bar) * r2 * x.grad
    sample, mean = st.ddpm()
    g = st.gradient()
    if name == "dps":
        return sample - (0.5 if task == "inpaint" else 0.3) * g
    if name == "mcg":
        up = (lambda v: v) if task == "inpaint" else (lambda v: v.repeat_interleave(4, 2).repeat_interleave(4, 3))
        q = sample - g
        return q + up(op.known(st.noisy_measurement()) - op.apply(q))
    if st.i == 0:  # dsg
        return sample
    r = norm(st.std)
    d = 0.8 * (sample - mean) - 0.2 * r * g / (norm(g) + 1e-8)
    return mean + r * d / (norm(d) + 1e-8)


def run(model, s, task, name, data):
    """Every state of a run, first to last: [STEPS, N, 3, SIDE, SIDE]."""
    base, cmi = name.removesuffix("+cmi"), name.endswith("+cmi")
    op, x, states = Operator(task, data), data["x_init"], []
    for i in reversed(range(STEPS)):
        st = Step(model, s, op, data, x, i)
        x = method(base, task, st).detach()
        if cmi:
            x = x + st.term().detach()
        states.append(x)
    return torch.stack(states)


def names(task):
    return ["ddpm", "ddim"] + [m + c for m in ["dps", "dsg", "pigdm"] + ["mcg"] * (task != "blur") for c in ["", "+cmi"]]


def inputs(model, s, task, seed):
    """Measurements of two of the network's own samples, and the run's randomness."""
    g = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float32).double()
    image = (2, 3, SIDE, SIDE)
    data = {"x_init": normal(*image), "noise": normal(STEPS, *image)}
    if task == "inpaint":
        data["mask"] = torch.zeros(1, 1, SIDE, SIDE)
        data["mask"].view(-1)[torch.randperm(SIDE * SIDE, generator=g)[:26 + seed % 100]] = 1
    if task == "blur":
        data["kernel"] = load_file(GOLDEN / "trajectories" / "blur.safetensors")["kernel"]
    op = Operator(task, data)
    own = {"x_init": normal(*image), "noise": normal(STEPS, *image)}
    data["truth"] = run(model, s, task, "ddpm", own | {k: v for k, v in data.items() if k in ("mask", "kernel")})[-1].clamp(-1, 1)
    data["y"] = (op.apply(data["truth"]) + op.known(SIGMA_Y * normal(2, *op.out))).float().double()
    data["probes"] = normal(STEPS, 2, *op.out).sign()
    data["measurement_noise"] = normal(STEPS, 2, *op.out)
    return data


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--unet", required=True, help="a clone of openai/guided-diffusion")
    p.add_argument("--check", action="store_true", help="recompute the vectors in testdata and print the relative errors")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--tasks", default="inpaint,sr4,blur")
    p.add_argument("out", nargs="?", type=pathlib.Path)
    a = p.parse_args()
    if not a.check and a.out is None:
        p.error("give OUT, a folder for the vectors, or --check")
    torch.set_default_dtype(torch.float64)
    model, s = network(a.unet), None
    s = Schedule()
    for task in a.tasks.split(","):
        if a.check:
            stored = {k: v.double() for k, v in load_file(GOLDEN / "trajectories" / f"{task}.safetensors").items()}
            for name in names(task):
                want, got = stored[name + ".trajectory"], run(model, s, task, name, stored)
                step = max(((g - w).norm() / w.norm()).item() for g, w in zip(got, want))
                print(f"{task} {name}: {step:.1e}")
            continue
        data = inputs(model, s, task, a.seed)
        data |= {name + ".trajectory": run(model, s, task, name, data) for name in names(task)}
        (a.out / "trajectories").mkdir(parents=True, exist_ok=True)
        save_file({k: v.float().contiguous() for k, v in data.items()}, a.out / "trajectories" / f"{task}.safetensors")
    if not a.check:
        shutil.copytree(GOLDEN / "tiny16", a.out / "tiny16", dirs_exist_ok=True)


if __name__ == "__main__":
    main()
