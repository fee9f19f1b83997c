"""Writes resnets.npz: outputs of torchvision's ResNets for random weights.

  python -m tests.goldens.make_resnet_goldens

Needs torch, torchvision and numpy. Written with torch 2.15.0, torchvision
0.29.2 and numpy 2.4.6 on a CPU.
"""

import collections

import numpy as np
import torch
from torch import nn
import torchvision

from tests.galmet_jax.models import torchvision_names


class ConcatPool(nn.Module):
  """The maximum, then the mean: `[B, C, H, W]` to `[B, 2C]`."""

  def forward(self, x):
    return torch.cat([x.amax((2, 3)), x.mean((2, 3))], dim=1)


def head(inner, features, targets):
  """The paper's head (Wu & Boada 2019, section 3.1) for pooled features."""
  return nn.Sequential(
    collections.OrderedDict(
      bn1=nn.BatchNorm1d(inner, eps=1e-5),
      dropout1=nn.Dropout(0.25),
      dense1=nn.Linear(inner, features),
      relu=nn.ReLU(),
      bn2=nn.BatchNorm1d(features, eps=1e-5),
      dropout2=nn.Dropout(0.5),
      dense2=nn.Linear(features, targets),
    )
  )


def regressor(name, state):
  """Returns torchvision's network with our head and the given weights.

  `state` has no fc, as from `pretrained.to_torchvision`.
  """
  net = getattr(torchvision.models, name)()
  targets, features = state["head.dense2.weight"].shape
  net.head = head(2 * net.fc.in_features, features, targets)
  net.avgpool, net.fc = ConcatPool(), nn.Identity()
  net.load_state_dict(tensors(state))
  return net.eval()


def tensors(state):
  return {name: torch.from_numpy(leaf) for name, leaf in state.items()}


def outputs(name, state, x):
  """Returns the features `[B, H, W, C]` per stage, the logits and targets."""
  net = getattr(torchvision.models, name)()
  net.load_state_dict(tensors(torchvision_names.without(state, "head.")))
  net.eval()
  found = {}

  def keep(stage):
    def hook(_module, _inputs, maps):
      found[stage] = maps.permute(0, 2, 3, 1).numpy()

    return hook

  modules = (net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4)
  for stage, module in zip(torchvision_names.STAGES, modules, strict=True):
    module.register_forward_hook(keep(stage))
  x = torch.from_numpy(x).permute(0, 3, 1, 2)
  with torch.no_grad():
    found["logits"] = net(x).numpy()
    net = regressor(name, torchvision_names.without(state, "fc."))
    found["targets"] = net.head(net(x)).numpy()
  return found


def main():
  arrays = {}
  for name in torchvision_names.NETWORKS:
    state = torchvision_names.draw_network(name)
    x = torchvision_names.images(name)
    for key, value in outputs(name, state, x).items():
      print(name, key, value.shape, "deviation", value.std())
      if key in torchvision_names.STAGES:
        # The means cover the channels that `thin` drops.
        arrays[f"{name}/{key}/means"] = value.mean((1, 2))
        value = torchvision_names.thin(value)
      arrays[f"{name}/{key}"] = value
  np.savez_compressed(torchvision_names.GOLDENS, **arrays)


if __name__ == "__main__":
  main()
