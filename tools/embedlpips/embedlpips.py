"""Joins the layer weights of LPIPS v0.1, three PyTorch files, into the safetensors file that is embedded in the SDK.

    python tools/embedlpips/embedlpips.py alex.pth squeeze.pth vgg.pth sdk/metric/lpips/lin.safetensors

The tensor linK.model.1.weight of NET.pth becomes NET.linK.model.1.weight, unchanged (F32).
Needs torch and safetensors.
"""
import pathlib
import sys

import torch
from safetensors.torch import save_file

*sources, target = map(pathlib.Path, sys.argv[1:])
tensors = {
    f"{source.stem}.{name}": value.contiguous()
    for source in sorted(sources)
    for name, value in torch.load(source, map_location="cpu", weights_only=True).items()
}
save_file(tensors, target)
print(f"{target}: {len(tensors)} tensors, {target.stat().st_size} bytes")
