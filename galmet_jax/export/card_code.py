"""Code in a model card, which readers run without this project."""

import jax
import ml_collections

from galmet_jax.data import augment


def use(size: int) -> str:
  """Describes predict.jaxexp, for images of a width of `size` pixels."""
  return f"""`predict.jaxexp` needs `pip install jax flatbuffers` only, with JAX
{jax.__version__} or later:

```python
import pathlib

import jax
import jax.export
import numpy as np

data = pathlib.Path("predict.jaxexp").read_bytes()
predict = jax.jit(jax.export.deserialize(bytearray(data)).call)
images = np.zeros((2, {size}, {size}, 3), np.uint8)  # your images
predictions = predict(images)
```

It runs on CPUs, NVIDIA GPUs and TPUs and compiles once for each size of a
batch. JAX reads a file for at least 6 months after it was exported. For an
archive keep the checkpoint or the weights."""


def weights(
  config: ml_collections.ConfigDict, frame: augment.Frame, size: int
) -> str:
  """Describes weights.safetensors, with code if torchvision's class fits.

  Args:
    config: the whole config, of a resnet.
    frame: crop, resolution and bands that the network sees.
    size: width and height of the images, pixels.
  """
  model = config.model
  names = (
    "`weights.safetensors` has the weights with the names of torchvision's "
    "ResNets, and the head as `head.*`. The network computes "
    f"in {model.dtype}."
  )
  read = """
```python
import safetensors.numpy

weights = safetensors.numpy.load_file("weights.safetensors")
```"""
  stages = list(model.stage_sizes)
  # torchvision's sizes are fixed, and a crop may begin at half a pixel.
  if model.width != 64 or len(stages) != 4 or (size - frame.crop) % 2:
    return f"{names}\n{read}"
  block = {"basic": "BasicBlock", "bottleneck": "Bottleneck"}[model.block]
  features = 2 * 512 * {"basic": 1, "bottleneck": 4}[model.block]
  start = (size - frame.crop) // 2
  inside = f"{start}:{start + frame.crop}"
  width, side = model.head_width, frame.crop // frame.resolution
  order = [augment.BANDS.index(band) for band in frame.bands]
  return f"""{names}
{read}

In PyTorch:

```python
import collections

import numpy as np
import safetensors.torch
import torch
from torch import nn
import torchvision


class ConcatPool(nn.Module):
  def forward(self, x):
    return torch.cat([x.amax((2, 3)), x.mean((2, 3))], dim=1)


block = torchvision.models.resnet.{block}
net = torchvision.models.ResNet(block, {stages})
net.avgpool, net.fc = ConcatPool(), nn.Identity()
net.head = nn.Sequential(collections.OrderedDict(
  bn1=nn.BatchNorm1d({features}), dense1=nn.Linear({features}, {width}),
  relu=nn.ReLU(), bn2=nn.BatchNorm1d({width}),
  dense2=nn.Linear({width}, {len(config.data.targets)})))
net.load_state_dict(safetensors.torch.load_file("weights.safetensors"))
net.eval()

images = np.zeros((2, {size}, {size}, 3), np.uint8)  # your images
x = torch.tensor(images)[:, {inside}, {inside}, {order}]
x = nn.functional.avg_pool2d(x.permute(0, 3, 1, 2) / 255, {side})
mean = torch.tensor({list(augment.IMAGENET_MEAN)}).reshape(3, 1, 1)
deviation = torch.tensor({list(augment.IMAGENET_STD)}).reshape(3, 1, 1)
with torch.no_grad():
  predictions = net.head(net((x - mean) / deviation))
```"""
