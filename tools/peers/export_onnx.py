"""The face prior's network and one of its convolutions as ONNX files, for peers that read those: python3 export_onnx.py DIR

network.onnx takes x [1,3,64,64] and t [1] (int64); conv.onnx takes x [1,128,64,64] and is a 3×3 convolution to 128
channels. network.json holds an input and the output that PyTorch gives, so that a peer's result can be checked.
Needs torch, safetensors, onnx and onnxscript.
"""
import json, os, sys
import torch
from torch import nn
from safetensors.torch import load_file

here = os.path.dirname(os.path.abspath(__file__))
root = os.path.join(here, "..", "..")
sys.path.insert(0, os.path.join(root, "tools", "train"))
from unet import UNet

out = sys.argv[1]
os.makedirs(out, exist_ok=True)
torch.manual_seed(1)


def export(model, inputs, names, file):
    torch.onnx.export(model.eval(), inputs, os.path.join(out, file), input_names=names, output_names=["y"], dynamo=True, external_data=False, verbose=False)


model = UNet()
model.load_state_dict({k: v.float() for k, v in load_file(os.path.join(root, "sdk", "checkpoint", "faces64", "faces64.safetensors")).items()})
model.eval()
x, t = torch.randn(1, 3, 64, 64), torch.tensor([300])
export(model, (x, t), ["x", "t"], "network.onnx")
with torch.inference_mode():
    y = model(x, t)
with open(os.path.join(out, "network.json"), "w") as f:
    json.dump({"x": x.flatten().tolist(), "t": 300, "y": y.flatten().tolist(), "torch": torch.__version__}, f)
export(nn.Conv2d(128, 128, 3, padding=1), (torch.randn(1, 128, 64, 64),), ["x"], "conv.onnx")
