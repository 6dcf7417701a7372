"""Make golden vectors of priors in other libraries' formats (testdata/golden/README.md, formats/), in float64.

Networks of random weights, written by diffusers as users have them. With --edm, a clone of
https://github.com/NVlabs/edm, also pickles of its networks. Usage:

    pip install torch numpy safetensors diffusers
    python tools/golden/formats.py [--seed 1] [--edm edm] OUT
    cmi-native verify --golden OUT
"""
import argparse
import json
import pathlib
import pickle
import sys

import numpy as np
import torch
from safetensors.torch import save_file

CASES = {
    # x0, resampling by residual blocks, scale and shift, classes, other groups, no attention in the middle
    "diffusers-x0-classes": (dict(
        sample_size=16, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, attention_head_dim=8, num_class_embeds=5,
        down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        downsample_type="resnet", upsample_type="resnet", resnet_time_scale_shift="scale_shift", add_attention=False),
        "DDIMScheduler", dict(prediction_type="sample", beta_schedule="scaled_linear", beta_start=0.0015, beta_end=0.0195, num_train_timesteps=500)),
    # one channel, padding below and to the right, three levels, a sigmoid schedule, names and file of 2022
    "diffusers-grey": (dict(
        sample_size=16, in_channels=1, out_channels=1, block_out_channels=(16, 16, 32), layers_per_block=1, norm_num_groups=16, attention_head_dim=None,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        downsample_padding=0, flip_sin_to_cos=False, freq_shift=1, norm_eps=1e-6),
        "DDPMScheduler", dict(prediction_type="epsilon", beta_schedule="sigmoid", num_train_timesteps=1000)),
    # learned variance
    "diffusers-variance": (dict(
        sample_size=8, in_channels=3, out_channels=6, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, attention_head_dim=16,
        down_block_types=("AttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "AttnUpBlock2D")),
        "DDPMScheduler", dict(prediction_type="epsilon", beta_schedule="squaredcos_cap_v2", variance_type="learned_range", num_train_timesteps=200)),
}


def randomise(model, seed):
    """Weights of which every one matters: published initialisations have layers of zeros."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            fan = p[0].numel() if p.dim() > 1 else 8
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float32) / fan ** 0.5)
            if p.dim() == 1 and name.endswith("weight"):
                p.add_(1)
    return model


def vectors(eps, shape, t, bar, seed):
    """Inputs, the predicted noise and its derivatives. eps maps x_t to the noise."""
    g = torch.Generator().manual_seed(seed)
    x, u, v, w = (torch.randn(shape, generator=g, dtype=torch.float64) for _ in range(4))
    out = {"x": x, "u": u, "v": v, "w": w, "eps": eps(x)}
    jvp = lambda f, v: lambda x: torch.func.jvp(f, (x,), (v,))[1]
    out["jvp"] = jvp(eps, v)(x)
    out["d2_vv"] = jvp(jvp(eps, v), v)(x)
    out["d2_vw"] = jvp(jvp(eps, v), w)(x)
    out["vjp"] = torch.func.vjp(eps, x)[1](u)[0]
    b = bar.reshape(-1, 1, 1, 1)
    out["x0"] = (x - (1 - b).sqrt() * out["eps"]) / b.sqrt()
    return {k: a.float().contiguous() for k, a in out.items()} | {"t": torch.tensor(t), "alpha_bar": bar.double()}


def diffusers_case(folder, name, seed):
    import diffusers
    unet, scheduler, options = CASES[name]
    model = randomise(diffusers.UNet2DModel(**unet), seed).eval().requires_grad_(False)
    for module in model.modules():  # the fused attention has no second derivative
        if hasattr(module, "set_processor"):
            module.set_processor(diffusers.models.attention_processor.AttnProcessor())
    schedule = getattr(diffusers, scheduler)(**options)
    folder.mkdir(parents=True, exist_ok=True)
    diffusers.DDPMPipeline(model, schedule).save_pretrained(folder / "model")
    if name == "diffusers-grey":
        old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        state = {}
        for key, value in model.state_dict().items():
            for new, was in old.items():
                key = key.replace(f".{new}.", f".{was}.")
            state[key] = value
        torch.save(state, folder / "model/unet/diffusion_pytorch_model.bin")
        (folder / "model/unet/diffusion_pytorch_model.safetensors").unlink()
    model = model.double()
    t = [options["num_train_timesteps"] // 7, options["num_train_timesteps"] - 60]
    bar = schedule.alphas_cumprod.double()[t]
    label = torch.tensor([1, 3]) if unet.get("num_class_embeds") else None
    b = bar.reshape(-1, 1, 1, 1)

    def eps(x):
        f = model(x, torch.tensor(t), class_labels=label).sample
        if options["prediction_type"] == "sample":
            return (x - b.sqrt() * f) / (1 - b).sqrt()
        return f[:, :x.shape[1]]

    channels, side = unet.get("in_channels", 3), unet["sample_size"]
    io = vectors(eps, (2, channels, side, side), t, bar, seed + 1)
    save_file(io | ({"label": label} if label is not None else {}), folder / "io.safetensors")
    (folder / "config.json").write_text(json.dumps({
        "format": "diffusers", "model": "model", "prediction_type": options["prediction_type"], "T": options["num_train_timesteps"],
        "image_size": side, "channels": channels}, indent=1))


EDM = {
    # NCSN++: Fourier embedding, a residual encoder, filters of four taps, classes
    "edm-ncsnpp": ("VEPrecond", "SongUNet", 4, dict(
        embedding_type="fourier", encoder_type="residual", channel_mult_noise=2, resample_filter=[1, 3, 3, 1],
        model_channels=16, channel_mult=[1, 2], num_blocks=1, attn_resolutions=[8])),
    # DDPM++ with classes and an input-skip encoder, an output-skip decoder
    "edm-skips": ("EDMPrecond", "SongUNet", 3, dict(
        encoder_type="skip", decoder_type="skip", resample_filter=[1, 3, 3, 1], model_channels=16, channel_mult=[1, 1, 2], num_blocks=1, attn_resolutions=[4])),
    "edm-adm-classes": ("EDMPrecond", "DhariwalUNet", 6, dict(model_channels=16, channel_mult=[1, 2], num_blocks=1, attn_resolutions=[8])),
}


def edm_case(folder, name, seed):
    from training import networks
    precond, network, classes, options = EDM[name]
    model = getattr(networks, precond)(img_resolution=16, img_channels=3, label_dim=classes, model_type=network, **options)
    model = randomise(model, seed).eval().requires_grad_(False)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "model.pkl", "wb") as f:
        pickle.dump({"ema": model}, f)
    model = model.double()
    betas = np.linspace(1e-4, 0.02, 1000)
    t = [150, 900]
    bar = torch.from_numpy(np.cumprod(1 - betas))[t]
    sigma = ((1 - bar) / bar).sqrt()
    label = torch.eye(classes, dtype=torch.float64)[[1, classes - 1]]
    b, s = bar.reshape(-1, 1, 1, 1), sigma.reshape(-1, 1, 1, 1)

    class Attention:  # the published one has no second derivative
        @staticmethod
        def apply(q, k):
            return torch.einsum("ncq,nck->nqk", q, k / np.sqrt(k.shape[1])).softmax(dim=2)

    networks.AttentionOp = Attention
    torch.Tensor.to = (lambda to: lambda self, *a, **k: self if a == (torch.float32,) else to(self, *a, **k))(torch.Tensor.to)
    # forward(force_fp32) casts to float32; here the same in float64
    def denoise(z):
        if precond == "VEPrecond":
            skip, out, inp, noise = 1, s, 1, (0.5 * s).log()
        else:
            d = model.sigma_data
            skip, out, inp, noise = d ** 2 / (s ** 2 + d ** 2), s * d / (s ** 2 + d ** 2).sqrt(), 1 / (d ** 2 + s ** 2).sqrt(), s.log() / 4
        return skip * z + out * model.model(inp * z, noise.flatten(), class_labels=label)

    eps = lambda x: (x / b.sqrt() - denoise(x / b.sqrt())) / s
    io = vectors(eps, (2, 3, 16, 16), t, bar, seed + 1)
    save_file(io | {"label": torch.tensor([1, classes - 1]), "sigma": sigma}, folder / "io.safetensors")
    (folder / "config.json").write_text(json.dumps({
        "format": "edm", "model": "model.pkl", "precond": precond, "network": network, "T": 1000, "image_size": 16, "channels": 3}, indent=1))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--edm")
    p.add_argument("out", type=pathlib.Path)
    o = p.parse_args()
    for i, name in enumerate(CASES):
        diffusers_case(o.out / "formats" / name, name, 100 * o.seed + 10 * i)
    if o.edm:
        sys.path.insert(0, o.edm)
        from torch_utils import persistence
        persistence._module_to_src = lambda module: "# the program's source stands here in a published file\n"  # its licence forbids copies
        for i, name in enumerate(EDM):
            edm_case(o.out / "formats" / name, name, 100 * o.seed + 10 * i + 5)


if __name__ == "__main__":
    main()
