"""Writes the shards of a data set, in this process or in Apache Beam.

TFDS's own writer encodes slowly, keeps a whole split in memory and, without
TensorFlow, is limited to 1000 MiB per split. Here each shard is a small,
independent task whose bytes do not depend on the process that writes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import hashlib
import os
import pathlib
from typing import Any
from typing import Protocol

import tensorflow_datasets as tfds
from tensorflow_datasets.core import file_adapters
import tqdm

from tfds_sdss import beam_shards
from tfds_sdss import catalog
from tfds_sdss import files
from tfds_sdss import images
from tfds_sdss import records
from tfds_sdss import sample_info
from tfds_sdss import splits
from tfds_sdss.errors import DataError

# Maximum number of examples in a shard: some 40 MB in a task's memory.
MAX_EXAMPLES = 10_000
CHECKSUMS = "shards.sha256"
# The first version of the data set that has this file.
_WITH_CHECKSUMS = tfds.core.Version("2.0.0")


class Source(Protocol):
  """Examples in the order of the shards: a list, or `examples.Examples`."""

  def __len__(self) -> int: ...

  def __getitem__(self, part: slice, /) -> Source: ...

  def __iter__(self) -> Iterator[dict[str, Any]]: ...


@dataclasses.dataclass(frozen=True)
class Task:
  """One shard to write; small and picklable.

  Attributes:
    path: absolute path of the file.
    file_format: name of a TFDS file format.
    layout: field of each feature, see `records.layout`.
    info: label and images of the sample.
    source: examples of the shard.
  """

  path: str
  file_format: str
  layout: records.Layout
  info: sample_info.Info
  source: Source


def write_shard(task: Task) -> None:
  """Checks every label and image of one shard and writes it.

  Raises:
    DataError: if a label or an image is invalid, or an image has changed.
    OSError: if the file cannot be written.
  """
  path = pathlib.Path(task.path)
  adapter = file_adapters.ADAPTER_FOR_FORMAT[
    tfds.core.FileFormat.from_value(task.file_format)
  ]
  # Beam may run a task in two workers at once.
  part = path.with_name(f"{path.name}.{os.getpid()}.part")
  try:
    adapter.write_examples(part, _encoded(task))
  except RuntimeError as error:  # array_record's error for any disk fault
    raise OSError(
      f"{path} cannot be written: {error}. Free disk space and build again."
    ) from error
  part.replace(path)


def _encoded(task: Task) -> Iterator[tuple[int, bytes]]:
  """Yields (key, record), as TFDS's file adapters expect."""
  encoder = records.Encoder(task.layout)
  for key, example in enumerate(task.source):
    check_example(example, task.info)
    yield key, encoder.encode(example)


def check_example(example: Mapping[str, Any], info: sample_info.Info) -> None:
  """Raises DataError if an example's label or image is invalid."""
  objid = example["objid"]
  catalog.check_label(objid, example[info.label], info.by_name[info.label])
  images.check(objid, example["image"], info.image_size, png=info.png)


def sort_key(objid: int) -> tuple[float, int]:
  """Returns the sort key of an example within its split.

  The key is a hash, so that any part of a split is a random sample of it,
  whatever the order of the catalogue.
  """
  return splits.hash_fraction(objid, "order"), objid


def write(
  builder: tfds.core.DatasetBuilder,
  info: sample_info.Info,
  sources: Mapping[str, Source],
  download_config: tfds.download.DownloadConfig,
) -> None:
  """Writes all shards and their digests, and sets `builder.info.splits`.

  Args:
    builder: data set; the files are written to its data directory.
    info: description of the sample, with which each example is compared.
    sources: examples by split.
    download_config: the tasks run in Apache Beam if `beam_runner` or
      `beam_options` is set. Only `MAX_EXAMPLES` determines the number of
      shards.

  Raises:
    DataError: if a split is empty or an example is invalid.
    BeamError: if Apache Beam is requested but not installed.
  """
  empty = [split for split, source in sources.items() if not len(source)]
  if empty:
    raise DataError(
      f"expected at least one galaxy in each split, found none in "
      f"{', '.join(empty)}. Build from more galaxies."
    )
  by_split = {
    split: list(_tasks(builder, info, split, source))
    for split, source in sources.items()
  }
  tasks = [task for part in by_split.values() for task in part]
  if download_config.beam_runner or download_config.beam_options:
    beam_shards.run(
      write_shard,
      tasks,
      download_config.beam_runner,
      download_config.beam_options,
    )
  else:
    for task in tqdm.tqdm(tasks, "Writing", unit=" shards", disable=None):
      write_shard(task)
  infos = [
    tfds.core.SplitInfo(
      name=split,
      shard_lengths=[len(task.source) for task in part],
      num_bytes=sum(os.path.getsize(task.path) for task in part),
      filename_template=builder._get_filename_template(split_name=split),
    )
    for split, part in by_split.items()
  ]
  builder.info.set_splits(tfds.core.splits.SplitDict(infos))
  write_checksums([pathlib.Path(task.path) for task in tasks])


def _tasks(
  builder: tfds.core.DatasetBuilder,
  info: sample_info.Info,
  split: str,
  source: Source,
) -> Iterator[Task]:
  template = builder._get_filename_template(split_name=split)
  features = builder.info.features
  number = -(-len(source) // MAX_EXAMPLES)
  for index in range(number):
    # The lengths of a split's shards differ by at most one.
    start, stop = (len(source) * i // number for i in (index, index + 1))
    path = template.sharded_filepath(shard_index=index, num_shards=number)
    yield Task(
      # Beam's workers have another working directory.
      str(pathlib.Path(path).absolute()),
      builder.info.file_format.value,
      records.layout(features),
      info,
      source[start:stop],
    )


def write_checksums(paths: Sequence[pathlib.Path]) -> None:
  """Writes the shards' digests beside them, in the format of sha256sum."""
  lines = [f"{digest(path)}  {path.name}\n" for path in sorted(paths)]
  files.write_atomically(paths[0].parent / CHECKSUMS, "".join(lines).encode())


def read_checksums(folder: pathlib.Path) -> dict[str, str]:
  """Returns {name of a shard: digest}.

  Raises:
    FileNotFoundError: if the folder has no list of digests.
    ValueError: if the list is damaged.
  """
  lines = (folder / CHECKSUMS).read_text(encoding="ascii").splitlines()
  return {name: sha256 for sha256, name in (line.split("  ") for line in lines)}


def digest(path: pathlib.Path) -> str:
  """Returns the SHA-256 of a file in hexadecimal."""
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def compare(builder: tfds.core.DatasetBuilder) -> list[str]:
  """Compares each shard with its digest; returns a line per difference."""
  folder = pathlib.Path(builder.data_dir)
  names = {
    pathlib.Path(path).name
    for split in builder.info.splits.values()
    for path in split.filepaths
  }
  try:
    digests = read_checksums(folder)
  except FileNotFoundError:
    if builder.version < _WITH_CHECKSUMS:
      return []
    return [f"{CHECKSUMS} is absent"]
  except ValueError as error:
    return [f"{CHECKSUMS} is damaged: {error}"]
  problems = [
    f"{name} is not in both {CHECKSUMS} and dataset_info.json"
    for name in sorted(names ^ digests.keys())
  ]
  for name in sorted(names & digests.keys()):
    found = digest(folder / name)
    if found != digests[name]:
      problems.append(
        f"{name} is damaged: expected SHA-256 {digests[name]}, found {found}"
      )
  return problems
