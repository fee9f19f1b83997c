"""Writes a data set's shards: one task per shard, here or in Apache Beam.

TFDS's own road encodes slowly, holds a split in memory and, without
TensorFlow, ends at 1000 MiB of it. Here a task is small and independent, and
the shards have the same bytes on either road.
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
from typing import NamedTuple
from typing import Protocol

import tensorflow_datasets as tfds
from tensorflow_datasets.core import file_adapters
import tqdm

from tfds_sdss import beam
from tfds_sdss import catalog
from tfds_sdss import images
from tfds_sdss import records
from tfds_sdss import splits
from tfds_sdss.errors import DataError

# Examples per shard, at most: some 40 MB, which a task holds in memory.
MAX_EXAMPLES = 10_000
CHECKSUMS = "shards.sha256"


class Source(Protocol):
  """Some examples of one split, in the order in which they are stored."""

  def __len__(self) -> int: ...

  def part(self, start: int, stop: int) -> Source:
    """Returns the examples from start to stop."""

  def examples(self) -> Iterator[dict[str, Any]]:
    """Yields them, images as JPEG bytes."""


@dataclasses.dataclass(frozen=True)
class InMemory:
  """Examples at hand, for small samples."""

  rows: Sequence[dict[str, Any]]

  def __len__(self) -> int:
    return len(self.rows)

  def part(self, start: int, stop: int) -> InMemory:
    """Returns the examples from start to stop."""
    return InMemory(self.rows[start:stop])

  def examples(self) -> Iterator[dict[str, Any]]:
    """Yields them, images as JPEG bytes."""
    return iter(self.rows)


@dataclasses.dataclass(frozen=True)
class Task:
  """One shard to be written; small, and can be pickled.

  Attributes:
    path: the file.
    file_format: name of a TFDS file format.
    layout: see `records.layout`.
    size: width and height of the images, pixels.
    source: what goes in.
  """

  path: str
  file_format: str
  layout: records.Layout
  size: int
  source: Source


class Written(NamedTuple):
  """What became of a task.

  Attributes:
    length: number of examples.
    num_bytes: size of the file.
    sha256: its digest in hexadecimal.
  """

  length: int
  num_bytes: int
  sha256: str


def write_shard(task: Task) -> Written:
  """Writes one shard; each label and each image is checked first.

  Raises:
    DataError: if a label or an image is bad, or an image is not what it was.
    OSError: if the file can't be written.
  """
  path = pathlib.Path(task.path)
  adapter = file_adapters.ADAPTER_FOR_FORMAT[
    tfds.core.FileFormat.from_value(task.file_format)
  ]
  # Beam may give a task to two workers.
  part = path.with_name(f"{path.name}.{os.getpid()}.part")
  try:
    adapter.write_examples(part, _encoded(task))
  except RuntimeError as error:  # array_record's for any fault of the disk
    raise OSError(
      f"{path} cannot be written: {error}. Make room and build again."
    ) from error
  part.replace(path)
  with path.open("rb") as file:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
  return Written(len(task.source), path.stat().st_size, digest)


def _encoded(task: Task) -> Iterator[tuple[int, bytes]]:
  """Yields (key, record), as TFDS's file adapters expect it."""
  encoder = records.Encoder(task.layout)
  for key, example in enumerate(task.source.examples()):
    check(example, task.size)
    yield key, encoder.encode(example)


def check(example: Mapping[str, Any], size: int) -> None:
  """Refuses an example with a bad label or a bad image.

  Raises:
    DataError: if so.
  """
  catalog.check_label(example["objid"], example["oh_p50"])
  images.check(example["objid"], example["image"], size)


def sort_key(objid: int) -> tuple[float, int]:
  """Returns the place of an example within its split.

  A hash, so that any part of a split is a random sample of it, and so that
  the order of the catalogue's rows does not matter.
  """
  return splits.hash_fraction(objid, "order"), objid


def write(
  builder: tfds.core.DatasetBuilder,
  splits: Mapping[str, Source],
  download_config: tfds.download.DownloadConfig,
) -> None:
  """Writes all shards of a set and their digests; sets `builder.info.splits`.

  Args:
    builder: the set; its data directory is the one to be filled.
    splits: the examples by split.
    download_config: `beam_runner` or `beam_options` send the tasks through
      Apache Beam; `max_examples_per_split` cuts each split. The number of
      shards follows from `MAX_EXAMPLES` alone.

  Raises:
    DataError: if a split is empty or an example is bad.
    BeamError: if Apache Beam is asked for and not installed.
  """
  limit = download_config.max_examples_per_split
  if limit is not None:
    splits = {
      name: source.part(0, min(limit, len(source)))
      for name, source in splits.items()
    }
  empty = [name for name, source in splits.items() if not len(source)]
  if empty:
    raise DataError(
      f"expected at least one galaxy in each split, found none in "
      f"{', '.join(empty)}. Build from more galaxies."
    )
  fields = records.layout(builder.info.features)
  size = builder.info.features["image"].shape[0]
  tasks, names = [], []
  for name, source in splits.items():
    template = builder._get_filename_template(split_name=name)
    number = -(-len(source) // MAX_EXAMPLES)
    for index in range(number):
      # Shards of a split differ in length by one at most.
      start, stop = (len(source) * i // number for i in (index, index + 1))
      path = template.sharded_filepath(shard_index=index, num_shards=number)
      tasks.append(
        Task(
          str(pathlib.Path(path).absolute()),  # workers have their own folder
          builder.info.file_format.value,
          fields,
          size,
          source.part(start, stop),
        )
      )
      names.append(name)
  if download_config.beam_runner or download_config.beam_options:
    results = beam.run(
      write_shard,
      tasks,
      download_config.beam_runner,
      download_config.beam_options,
      pathlib.Path(builder.data_dir).absolute() / "shards.json",
    )
    written = [Written(*result) for result in results]
  else:
    bar = tqdm.tqdm(tasks, desc="Writing", unit=" shards", disable=None)
    written = [write_shard(task) for task in bar]
  infos = []
  for name in splits:
    of_split = [w for w, n in zip(written, names, strict=True) if n == name]
    infos.append(
      tfds.core.SplitInfo(
        name=name,
        shard_lengths=[shard.length for shard in of_split],
        num_bytes=sum(shard.num_bytes for shard in of_split),
        filename_template=builder._get_filename_template(split_name=name),
      )
    )
  builder.info.set_splits(tfds.core.splits.SplitDict(infos))
  write_checksums(
    pathlib.Path(builder.data_dir),
    {
      pathlib.Path(task.path).name: shard.sha256
      for task, shard in zip(tasks, written, strict=True)
    },
  )


def write_checksums(folder: pathlib.Path, digests: Mapping[str, str]) -> None:
  """Writes the shards' digests, to be read by `sha256sum --check` too."""
  lines = [f"{digest}  {name}\n" for name, digest in sorted(digests.items())]
  (folder / CHECKSUMS).write_text("".join(lines), encoding="ascii")


def read_checksums(folder: pathlib.Path) -> dict[str, str]:
  """Returns {name of a shard: digest}.

  Raises:
    FileNotFoundError: if the set has no list of them.
    ValueError: if the list is damaged.
  """
  text = (folder / CHECKSUMS).read_text(encoding="ascii")
  return {
    name: digest
    for digest, name in (line.split("  ") for line in text.splitlines())
  }
