"""What a few hundred labels buy: the tables of docs/few_labels.md.

  python -m benchmarks.few_labels --manual_dir=demo400 --data_dir=demo400/built

Predicts each galaxy of demo500 out of fold, several times with other folds. The
folds are the ranks of SHA-256 of a number and the objid.
--pretrained=run:RUNDIR adds the network of configs/few_labels.py, and its mean
with image features, as that config weighs them.
"""

import argparse
from collections.abc import Callable
import contextlib
import dataclasses
import hashlib
import pathlib
import time
from unittest import mock

from matplotlib import pyplot as plt
import ml_collections
import numpy as np
from sklearn import pipeline
from sklearn import preprocessing
from sklearn import svm

from configs import few_labels
from galmet_jax import figure_style
from galmet_jax import metrics
from galmet_jax import results
from galmet_jax import train as training
from galmet_jax.baselines import gp_svr
from galmet_jax.baselines import image_features
from galmet_jax.baselines import trees
from galmet_jax.data import dataset
from galmet_jax.data import galaxies
from tfds_sdss import build

_NUM_FOLDS = 5
_NUM_DRAWS = 10_000
# Numbers of training galaxies, besides all.
_NUMBERS = (50, 100, 200)
# Others are compared with it.
_REFERENCE = "SVR, ring colours"
_FEATURES = "GP and SVR, image features"
_NETWORK = "network from mocks"


@dataclasses.dataclass(frozen=True)
class Sample:
  """Galaxies and what the methods see of them.

  Attributes:
    split: the galaxies.
    rings: colours in circular rings, `[N, 21]`.
    features: image features, `[N, 45]`.
  """

  split: galaxies.Split
  rings: np.ndarray
  features: np.ndarray

  @property
  def labels(self) -> np.ndarray:
    return self.split.targets[:, 0].astype(np.float64)


def _mean(sample: Sample, train: np.ndarray, test: np.ndarray) -> np.ndarray:
  return np.full(len(test), sample.labels[train].mean())


def _svr(sample: Sample, train: np.ndarray, test: np.ndarray) -> np.ndarray:
  # These settings were chosen on the same galaxies.
  model = pipeline.make_pipeline(
    preprocessing.StandardScaler(), svm.SVR(C=1, epsilon=0.05, gamma=0.01)
  )
  model.fit(sample.rings[train], sample.labels[train])
  return model.predict(sample.rings[test])


def _forest(sample: Sample, train: np.ndarray, test: np.ndarray) -> np.ndarray:
  known, unknown = (_take(sample.split, index) for index in (train, test))
  return trees.predict_random_forest(known, unknown, seed=0)[:, 0]


def _gp_svr(sample: Sample, train: np.ndarray, test: np.ndarray) -> np.ndarray:
  model = gp_svr.GpSvr.fit(sample.features[train], sample.labels[train], seed=0)
  return model.predict(sample.features[test])


@dataclasses.dataclass(frozen=True)
class Network:
  """The network of configs/few_labels.py as a method.

  Attributes:
    config: the config.
    workdir: receives a run for each training set.
  """

  config: ml_collections.ConfigDict
  workdir: pathlib.Path

  def __call__(
    self, sample: Sample, train: np.ndarray, test: np.ndarray
  ) -> np.ndarray:
    parts = {
      "train": _take(sample.split, train),
      # The recipe is fixed: nothing is chosen with these.
      "validation": _take(sample.split, train[:16]),
      "test": _take(sample.split, test),
    }
    digest = hashlib.sha256(np.sort(test).tobytes()).hexdigest()[:12]
    folder = self.workdir / f"{digest}_{len(train)}"
    self.workdir.mkdir(parents=True, exist_ok=True)
    with (
      (self.workdir / "log.txt").open("a", encoding="utf-8") as log,
      contextlib.redirect_stdout(log),
      mock.patch.object(dataset, "load", return_value=parts),
    ):
      training.train_and_evaluate(self.config, folder)
    found = results.read_predictions(folder, "test").set_index("objid")
    return found.oh_p50_pred.loc[sample.split.objid[test]].to_numpy()


METHODS: dict[str, Callable] = {
  "training mean": _mean,
  "random forest, ring colours": _forest,
  _REFERENCE: _svr,
  _FEATURES: _gp_svr,
}


def main() -> None:
  """Prints the tables, and draws the learning curve."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--manual_dir", help="folder of the files of demo500")
  parser.add_argument("--data_dir", help="as for python -m tfds_sdss build")
  parser.add_argument(
    "--foldings", default="3,4,5", help="numbers, separated by commas"
  )
  parser.add_argument("--figure", type=pathlib.Path, help="a PNG to write")
  parser.add_argument("--pretrained", help="run:RUNDIR of mock_pretrain.py")
  parser.add_argument(
    "--workdir",
    type=pathlib.Path,
    default=pathlib.Path("runs/few_labels_folds"),
  )
  args = parser.parse_args()
  foldings = [int(number) for number in args.foldings.split(",")]
  sample = _load(args.data_dir, args.manual_dir)
  print(f"{len(sample.split)} galaxies, {_NUM_FOLDS} folds, ", end="")
  print(f"mean over the foldings {args.foldings}\n")
  print(f"| method | RMSE, dex (95 %) | minus {_REFERENCE} (95 %) |")
  print("|---|---|---|")
  methods = dict(METHODS)
  if args.pretrained:
    methods[_NETWORK] = Network(_config(args), args.workdir)
  number = len(sample.split)
  numbers = [*_NUMBERS, number - number // _NUM_FOLDS]
  # Errors `[foldings, N]` for each number of training galaxies.
  errors = {
    name: [
      np.stack([_errors(sample, method, salt, n) for salt in foldings])
      for n in numbers
    ]
    for name, method in methods.items()
  }
  if args.pretrained:
    weight = few_labels.get_config().eval.gp_svr_weight
    errors[f"{1 - weight:.0%} of it, {weight:.0%} of the GP and SVR"] = [
      (1 - weight) * network + weight * features
      for network, features in zip(
        errors[_NETWORK], errors[_FEATURES], strict=True
      )
    ]
  for name, found in errors.items():
    print(_row(name, found[-1], errors[_REFERENCE][-1]), flush=True)
  shuffled = dataclasses.replace(sample, split=_shuffled(sample.split))
  error = _errors(shuffled, _gp_svr, foldings[0], numbers[-1])
  print(f"\nLabels shuffled, GP and SVR: {np.sqrt(np.mean(error**2)):.4f} dex.")
  print(f"\n| labels | {' | '.join(errors)} |\n|---|{'---|' * len(errors)}")
  curves = {name: list(map(_rmse, found)) for name, found in errors.items()}
  for i, n in enumerate(numbers):
    cells = [f"{curve[i]:.4f}" for curve in curves.values()]
    print(f"| {n} | {' | '.join(cells)} |")
  if args.figure:
    _draw(args.figure, numbers, curves, f"{number} real galaxies, out of fold")


def _config(args: argparse.Namespace) -> ml_collections.ConfigDict:
  config = few_labels.get_config()
  config.data.data_dir = args.data_dir
  config.data.manual_dir = args.manual_dir
  config.model.pretrained = args.pretrained
  config.eval.splits = ("test",)
  config.eval.baselines = False
  config.eval.figures = False
  config.eval.gp_svr_weight = 0.0
  return config


def _load(data_dir: str | None, manual_dir: str | None) -> Sample:
  builder = build.build("demo500", data_dir, manual_dir)
  config = ml_collections.ConfigDict({"crop": 96, "targets": ("oh_p50",)})
  splits = galaxies.load(builder, config).values()
  split = galaxies.Split(
    np.concatenate([split.objid for split in splits]),
    np.concatenate([split.images for split in splits]),
    np.concatenate([split.targets for split in splits]),
    {},
  )
  started = time.perf_counter()
  features = np.array([image_features.compute_one(x) for x in split.images])
  seconds = time.perf_counter() - started
  print(
    f"Features: {1e3 * seconds / len(split):.1f} ms for an image, one core."
  )
  return Sample(split, trees.ring_colours(split), features)


def _take(split: galaxies.Split, index: np.ndarray) -> galaxies.Split:
  return galaxies.Split(
    split.objid[index], split.images[index], split.targets[index], {}
  )


def _shuffled(split: galaxies.Split) -> galaxies.Split:
  order = np.random.default_rng(0).permutation(len(split))
  return dataclasses.replace(split, targets=split.targets[order])


def _errors(
  sample: Sample, method: Callable, salt: int, number: int
) -> np.ndarray:
  """Returns errors `[N]` out of fold, after training on `number` galaxies."""
  rank = np.argsort(
    [
      hashlib.sha256(f"{salt}:{objid}".encode()).hexdigest()[:12]
      for objid in sample.split.objid
    ]
  )
  fold = np.empty(len(rank), int)
  fold[rank] = np.arange(len(rank)) % _NUM_FOLDS
  found = np.empty(len(rank))
  for k in range(_NUM_FOLDS):
    # In random order, so that the first ones are a random part.
    train, test = rank[fold[rank] != k][:number], np.flatnonzero(fold == k)
    found[test] = method(sample, train, test)
  return found - sample.labels


def _rmse(errors: np.ndarray) -> float:
  """Returns the mean over foldings of the RMSE, of errors `[foldings, N]`."""
  return float(np.sqrt((errors**2).mean(1)).mean())


def _row(name: str, errors: np.ndarray, reference: np.ndarray) -> str:
  def statistic(index):
    parts = [np.sqrt(x[:, index].mean(-1)).mean(0) for x in squares]
    return {"rmse": parts[0], "difference": parts[0] - parts[1]}

  squares = errors**2, reference**2
  draws = metrics.bootstrap(statistic, errors.shape[1], _NUM_DRAWS, seed=0)
  limits = {key: np.percentile(x, [2.5, 97.5]) for key, x in draws.items()}
  low, high = limits["rmse"]
  cells = [name, f"{_rmse(errors):.4f} ({low:.4f}-{high:.4f})", ""]
  if name != _REFERENCE:
    low, high = limits["difference"]
    difference = _rmse(errors) - _rmse(reference)
    cells[2] = f"{difference:+.4f} ({low:+.4f} to {high:+.4f})"
  return f"| {' | '.join(cells)} |"


def _draw(
  path: pathlib.Path,
  numbers: list[int],
  curves: dict[str, list[float]],
  title: str,
) -> None:
  figure, panel = plt.subplots(figsize=(5, 4))
  for name, curve in curves.items():
    if name == "training mean":  # far above the others
      continue
    panel.plot(numbers, curve, marker="o", label=name)
  panel.set(
    xscale="log",
    xticks=numbers,
    xticklabels=numbers,
    xlabel="Training galaxies",
    ylabel="RMSE (dex)",
    title=title,
  )
  panel.minorticks_off()
  # Below the axes, where it hides no curve.
  panel.legend(loc="upper left", bbox_to_anchor=(-0.1, -0.16), frameon=False)
  figure_style.save(figure, path)


if __name__ == "__main__":
  main()
