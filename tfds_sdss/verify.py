"""Reads a built sample completely and reports its faults."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import hashlib
import pathlib
from typing import NamedTuple

import numpy as np
import pandas as pd
import tensorflow_datasets as tfds
import tqdm

from tfds_sdss import build
from tfds_sdss import files
from tfds_sdss import origin
from tfds_sdss import records
from tfds_sdss import sample
from tfds_sdss import sample_info
from tfds_sdss import shards
from tfds_sdss import splits
from tfds_sdss import tables
from tfds_sdss.errors import DataError

_NUM_SHOWN = 20  # problems printed in full
# Kinds of the columns of catalog.parquet that are compared, as in numpy.dtype.
_KINDS = {
  "objid": "i",
  "image_sha256": "O",
  "sky_group": "i",
  "split": "O",
  "fold": "i",
}


@dataclasses.dataclass(frozen=True)
class Report:
  """Result of `verify`.

  Attributes:
    name: sample, such as `sdss_metallicity/mock/3.0.0`.
    table: one row per split: `recorded` and `read` galaxies, then the mean,
      std, min, quartiles and max of the labels.
    problems: one line each.
    label: name and unit of the labels.
  """

  name: str
  table: pd.DataFrame
  problems: list[str]
  label: str = "12 + log(O/H) in dex"

  def __str__(self) -> str:
    lines = [
      f"{self.name}: {self.label}",
      self.table.to_string(float_format="{:.4f}".format),
    ]
    if not self.problems:
      return "\n".join([*lines, "No problems found."])
    lines += [f"{len(self.problems)} problem(s):"]
    lines += [f"  {problem}" for problem in self.problems[:_NUM_SHOWN]]
    if len(self.problems) > _NUM_SHOWN:
      lines += [f"  and {len(self.problems) - _NUM_SHOWN} more"]
    lines += ["Delete the folder and build the sample again."]
    return "\n".join(lines)


class _Galaxy(NamedTuple):
  objid: int
  label: float
  image_sha256: str


def verify(config_name: str, data_dir: str | None = None) -> Report:
  """Checks every galaxy of a sample.

  Checks the SHA-256 and the length of each shard, each image and each label,
  and that no objID and no image occurs twice. For samples built from a staging
  folder, also checks that the galaxies are those of catalog.parquet and that no
  position on the sky is in two splits or two folds.

  Raises:
    DatasetNotBuiltError: if the sample is not built.
    RecordError: if the sample is not in ArrayRecord.
  """
  builder = build.load(config_name, data_dir)
  folder = pathlib.Path(builder.data_dir)
  info = sample_info.read(folder)
  problems = shards.compare(builder)
  rows = {}
  galaxies: dict[str, list[_Galaxy]] = {}
  for split in splits.SPLIT_PARTS:
    if split not in builder.info.splits:
      problems.append(f"{split}: the split is absent")
      continue
    found = galaxies[split] = list(_read(builder, info, split, problems))
    recorded = builder.info.splits[split].num_examples
    if len(found) != recorded:
      problems.append(
        f"{split}: expected {recorded} galaxies, read {len(found)}"
      )
    labels = pd.Series([galaxy.label for galaxy in found], dtype=float)
    statistics = labels.describe().drop("count")
    rows[split] = {"recorded": recorded, "read": len(found), **statistics}
  problems += _check_repeated(galaxies)
  if (folder / sample.CATALOG).exists():
    problems += _check_catalog(folder / sample.CATALOG, info.label, galaxies)
  elif folder.parent.name not in build.WITHOUT_CATALOG:
    problems.append(f"{sample.CATALOG} is absent")
  table = pd.DataFrame.from_dict(rows, orient="index")
  try:
    origin.read(folder)
  except files.DamagedFileError as error:
    problems.append(str(error))
  report = Report(builder.info.full_name, table, problems)
  if info.label == "oh_p50":
    return report
  unit = info.by_name[info.label].unit
  label = f"{info.label} in {unit}" if unit else info.label
  return dataclasses.replace(report, label=label)


def _read(
  builder: tfds.core.DatasetBuilder,
  info: sample_info.Info,
  split: str,
  problems: list[str],
) -> Iterator[_Galaxy]:
  """Yields the readable galaxies of a split; adds the faults to `problems`."""
  names = ("image", "objid", info.label)
  fields = records.layout({name: builder.info.features[name] for name in names})
  # Two threads are slower than one.
  with tqdm.tqdm(
    total=builder.info.splits[split].num_examples,
    desc=f"Verifying {split}",
    unit=" galaxies",
    disable=None,
  ) as bar:
    for batch in records.read(builder, split):
      for position, error in batch.faults.items():
        name = batch.path.name if position is None else f"record {position}"
        problems.append(f"{split}: {name} is damaged: {error}")
      for record in batch.records:
        try:
          example = records.decode(fields, record)
          image, objid, label = (example[name] for name in names)
          digest = hashlib.sha256(image).hexdigest()
          yield _Galaxy(objid, label, digest)
          shards.check_example(example, info)
        except records.RecordError as error:
          problems.append(f"{split}: a record cannot be read: {error}")
        except DataError as error:
          problems.append(f"{split}: {error}")
      bar.update(len(batch.records) + len(batch.faults))


def _check_repeated(galaxies: dict[str, list[_Galaxy]]) -> list[str]:
  """Finds objIDs and images that occur twice, in one split or in two."""
  problems = []
  first_split: dict[int, str] = {}
  first_image: dict[str, int] = {}
  for split, members in galaxies.items():
    for objid, _, digest in members:
      if objid in first_split:
        problems.append(
          f"objID {objid} is repeated: in {first_split[objid]} and in {split}"
        )
      first_split.setdefault(objid, split)
      twin = first_image.setdefault(digest, objid)
      if twin != objid:
        problems.append(
          f"objID {twin} in {first_split[twin]} and {objid} in {split} have "
          "the same image"
        )
  return problems


def _check_catalog(
  path: pathlib.Path, label: str, galaxies: dict[str, list[_Galaxy]]
) -> list[str]:
  """Compares the shards with catalog.parquet; checks its splits and folds."""
  try:
    frame = tables.read(path)
  except (files.DamagedFileError, OSError) as error:
    return [f"{path.name} cannot be read: {error}"]
  wrong = [
    f"{name} is {frame[name].dtype if name in frame else 'absent'}"
    for name, kinds in {**_KINDS, label: "if"}.items()
    if name not in frame or frame[name].dtype.kind not in kinds
  ]
  if wrong:
    return [f"{path.name} cannot be read: {', '.join(wrong)}"]
  # A column of the user may have the name "label".
  frame = frame[[*_KINDS, label]].rename(columns={label: "label"})
  problems = []
  for name in ("split", "fold"):
    counts = frame.groupby("sky_group")[name].nunique()
    divided = counts.index[counts > 1].tolist()
    if divided:
      problems.append(
        f"{path.name}: galaxies within 2 arcsec of each other are in different "
        f"{name}s: sky_group {sample.shorten_list(divided)}"
      )
  for split, members in galaxies.items():
    listed = frame.loc[frame["split"] == split, list(_Galaxy._fields)]
    both = listed.merge(
      pd.DataFrame(members, columns=_Galaxy._fields).drop_duplicates("objid"),
      on="objid",
      how="outer",
      suffixes=("", "_found"),
      indicator="side",
    )
    differs = (both["side"] == "both") & (
      # The shards have float32.
      (
        both["label"].astype(np.float32)
        != both["label_found"].astype(np.float32)
      )
      | (both["image_sha256"] != both["image_sha256_found"])
    )
    for fault, mask in (
      (f"only in {path.name}", both["side"] == "left_only"),
      ("only in the shards", both["side"] == "right_only"),
      (f"with another label or image in {path.name}", differs),
    ):
      objids = both.loc[mask, "objid"].tolist()
      if objids:
        problems.append(f"{split}: objID {sample.shorten_list(objids)} {fault}")
  return problems
