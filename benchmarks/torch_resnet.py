"""ResNet-34 with the paper's head in PyTorch, timed on request.

  python torch_resnet.py --batch=32

It imports nothing from this project, so that any Python with PyTorch can run
it. The first line on standard output describes the process as JSON. Then each
line on standard input, such as `train 3`, requests steps of one kind: `train`,
`eval`, or, compiled by torch.compile, `train_compiled`, `eval_compiled`. The
answer is a line with their seconds, or `error:` and the reason.

It follows PyTorch's own advice on speed: channels_last, bfloat16 autocast and
cuDNN's search for the fastest kernel on a GPU, inference_mode for evaluation.
The same normalised batch stays on the device.
"""

import argparse
import functools
import json
import os
import sys
import time

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
  """Two 3×3 convolutions and a shortcut."""

  def __init__(self, inputs: int, outputs: int, stride: int):
    super().__init__()
    self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    self.bn1 = nn.BatchNorm2d(outputs)
    self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
    self.bn2 = nn.BatchNorm2d(outputs)
    self.short = nn.Sequential()
    if stride > 1 or inputs != outputs:
      self.short = nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride, bias=False),
        nn.BatchNorm2d(outputs),
      )

  def forward(self, x):
    y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
    y = self.bn2(self.conv2(y))
    return functional.relu(y + self.short(x), inplace=True)


class ResNet(nn.Module):
  """The network of `galmet_jax.models`, `[B, 3, S, S]` to `[B, 1]`."""

  def __init__(self, stage_sizes=(3, 4, 6, 3), width=64, head_width=512):
    super().__init__()
    layers = [
      nn.Conv2d(3, width, 7, 2, 3, bias=False),
      nn.BatchNorm2d(width),
      nn.ReLU(inplace=True),
      nn.MaxPool2d(3, 2, 1),
    ]
    channels = width
    for stage, num_blocks in enumerate(stage_sizes):
      features = width * 2**stage
      for i in range(num_blocks):
        stride = 2 if stage and i == 0 else 1
        layers.append(Block(channels, features, stride))
        channels = features
    self.body = nn.Sequential(*layers)
    self.head = nn.Sequential(
      nn.BatchNorm1d(2 * channels),
      nn.Dropout(0.25),
      nn.Linear(2 * channels, head_width),
      nn.ReLU(inplace=True),
      nn.BatchNorm1d(head_width),
      nn.Dropout(0.5),
      nn.Linear(head_width, 1),
    )

  def forward(self, x):
    x = self.body(x)
    return self.head(torch.cat([x.amax((2, 3)), x.mean((2, 3))], 1))


class Bench:
  """A network, a batch and an optimizer."""

  def __init__(self, batch: int, size: int):
    torch.manual_seed(0)
    self.device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    self.model = ResNet().to(self.device, memory_format=torch.channels_last)
    self.images = torch.randn(batch, 3, size, size, device=self.device)
    self.images = self.images.to(memory_format=torch.channels_last)
    self.targets = torch.randn(batch, 1, device=self.device)
    self.optimizer = torch.optim.SGD(
      self.model.parameters(), lr=0.01, momentum=0.9
    )

  @functools.cached_property
  def compiled(self):
    return torch.compile(self.model)

  def autocast(self):
    on_gpu = self.device == "cuda"
    return torch.autocast(self.device, torch.bfloat16, enabled=on_gpu)

  def train(self, network) -> None:
    """Runs one training step with the RMSE loss."""
    self.optimizer.zero_grad(set_to_none=True)
    with self.autocast():
      predictions = network(self.images)
    error = predictions.float() - self.targets
    error.square().mean().sqrt().backward()
    self.optimizer.step()

  def eval(self, network) -> None:
    with torch.inference_mode(), self.autocast():
      network(self.images)

  def run(self, kind: str, steps: int) -> float:
    """Runs steps of a kind; returns their seconds."""
    name, _, compiled = kind.partition("_")
    step = {"train": self.train, "eval": self.eval}[name]
    network = self.compiled if compiled else self.model
    self.model.train(name == "train")
    self.wait()
    started = time.perf_counter()
    for _ in range(steps):
      step(network)
    self.wait()
    return time.perf_counter() - started

  def wait(self) -> None:
    if self.device == "cuda":
      torch.cuda.synchronize()


def main() -> None:
  """Answers each line of standard input."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--batch", type=int, required=True, help="images")
  parser.add_argument("--size", type=int, default=128, help="pixels")
  args = parser.parse_args()
  # Compilers print messages to standard output, which is for the answers.
  answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
  os.dup2(2, 1)
  bench = Bench(args.batch, args.size)
  facts = {
    "torch": torch.__version__,
    "device": bench.device,
    "dtype": "bfloat16" if bench.device == "cuda" else "float32",
    "threads": torch.get_num_threads(),
  }
  print(json.dumps(facts), file=answers)
  for line in sys.stdin:
    kind, steps = line.split()
    try:
      print(bench.run(kind, int(steps)), file=answers)
    except Exception as error:  # reported; the other kinds still run
      reason = " ".join(str(error).split())
      print(f"error: {type(error).__name__}: {reason[:300]}", file=answers)


if __name__ == "__main__":
  main()
