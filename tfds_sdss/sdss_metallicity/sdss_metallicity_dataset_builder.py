"""TFDS builder of galaxies' gri images and their 12 + log(O/H)."""

from __future__ import annotations

import logging
import pathlib

import numpy as np
import tensorflow_datasets as tfds
import tqdm

from tfds_sdss import columns
from tfds_sdss import examples as examples_lib
from tfds_sdss import files
from tfds_sdss import origin
from tfds_sdss import quality
from tfds_sdss import sample as sample_lib
from tfds_sdss import sample_info
from tfds_sdss import shards
from tfds_sdss import splits
from tfds_sdss import staging
from tfds_sdss import tables
from tfds_sdss.errors import DataError
from tfds_sdss.mock import population
from tfds_sdss.own import galaxies
from tfds_sdss.sdss_metallicity import demo500
from tfds_sdss.sdss_metallicity import samples

_log = logging.getLogger(__name__)


class DownloadFailedError(OSError):
  """The archive of the real galaxies could not be downloaded."""


class Builder(tfds.core.dataset_builder.FileReaderBuilder):
  """Builder of `sdss_metallicity`; README.md describes each step."""

  VERSION = tfds.core.Version("2.0.0")
  RELEASE_NOTES = {  # noqa: RUF012  (TFDS reads it from the class)
    "1.0.0": "Mock galaxies and the 500 real galaxies of convnet-demo.",
    "2.0.0": "Samples from SDSS and Zenodo; feature fold; examples ordered by "
    "a hash of objid.",
  }
  BUILDER_CONFIGS = samples.OF_PROJECT
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "For dr17, dr14 and zenodo: the staging folder that python -m tfds_sdss "
    "fetch --source=dr17 --out=STAGING (or dr14, zenodo) fills. For demo500, "
    "only without network access: the folder with catalogs/, train/ and test/ "
    f"of {demo500.ARCHIVE_URL}, unpacked."
  )

  def __init__(
    self,
    *,
    file_format: str | None = None,
    max_loss: float = staging.MAX_LOSS,
    **kwargs,
  ):
    """Creates the builder.

    Args:
      file_format: file format of TFDS; None for the format of a set that is
        already built, or else ArrayRecord.
      max_loss: largest accepted fraction of a staging folder's galaxies without
        an image.
      **kwargs: arguments of TFDS's builders.
    """
    super().__init__(file_format=file_format, **kwargs)
    # TFDS's default, TFRecord, needs TensorFlow.
    if file_format is None and not self.info.initialized:
      self.info.set_file_format("array_record", override=True)
    self._max_loss = max_loss

  def _info(self) -> tfds.core.DatasetInfo:
    config = self.builder_config
    if config.own:
      return self.dataset_info_from_configs(
        features=tfds.features.FeaturesDict(config.own.features()),
        supervised_keys=("image", config.own.info.label),
      )
    size = config.image_size
    features = {
      "image": tfds.features.Image(
        shape=(size, size, 3), encoding_format="jpeg"
      ),
      "objid": tfds.features.Scalar(np.int64, doc="SDSS objID"),
      "oh_p50": tfds.features.Scalar(np.float32, doc="12 + log(O/H), dex"),
      "fold": tfds.features.Scalar(np.int64, doc="0 to 9, by a hash"),
    }
    for name in config.columns:
      column = columns.BY_NAME[name]
      is_integer = np.issubdtype(column.dtype, np.integer)
      # The only types of numbers in a tf.train.Example.
      dtype = np.int64 if is_integer else np.float32
      unit = f", {column.unit}" if column.unit else ""
      doc = f"{column.description}{unit}"
      features[name] = tfds.features.Scalar(dtype, doc=doc)
    if config.num_examples:
      # Only these samples need GalSim.
      from tfds_sdss.mock import render

      described = dict(render.FEATURES)
      if config.name == "mock_pretrain":
        described |= population.DERIVED
      for name, description in described.items():
        features[name] = tfds.features.Scalar(np.float32, doc=description)
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(features),
      supervised_keys=("image", "oh_p50"),
      homepage="https://arxiv.org/abs/1810.12913",
    )

  def _download_and_prepare(self, dl_manager, download_config) -> None:
    """Writes all files of the set."""
    folder = pathlib.Path(self.data_dir)
    # Another build deletes this folder only if nothing holds its lock.
    with files.lock(folder):
      if self.builder_config.own:
        self._write_own(folder, self.builder_config.own, download_config)
      elif self.builder_config.columns:
        self._write_staged(folder, dl_manager, download_config)
      else:
        self._write_small(folder, dl_manager, download_config)
      (folder / files.LOCK).unlink()

  def _write_small(self, folder, dl_manager, download_config) -> None:
    """Writes a set whose galaxies are made or read before the first shard."""
    if self.builder_config.num_examples:
      source, examples_of = self.info.full_name, self._simulate()
    else:
      source, examples_of = _read_demo500(dl_manager)
    limit = download_config.max_examples_per_split
    sources = {
      split: examples[:limit]
      for split, examples in _in_order(examples_of).items()
    }
    info = sample_info.of_project(self.builder_config.name, self.info.features)
    shards.write(self, info, sources, download_config)
    origin.write(folder, source, origin.digest_of_examples(sources))
    sample_info.write(folder, info)

  def _write_staged(self, folder, dl_manager, download_config) -> None:
    """Writes a set from the staging folder, which is TFDS's manual_dir."""
    config = self.builder_config
    root = _manual_dir(dl_manager)
    if root is None:
      raise DataError(
        f"expected the staging folder of {config.name}, found none. Fetch it: "
        f"python -m tfds_sdss fetch --source={config.name} --out=STAGING, then "
        f"python -m tfds_sdss build sdss_metallicity/{config.name} "
        "--staging=STAGING"
      )
    sample = sample_lib.read(
      root, config.name, config.columns, config.image_size, self._max_loss
    ).first(download_config.max_examples_per_split)
    info = sample_info.of_project(
      config.name, self.info.features, sample.pixel_scale
    )
    origin.write(folder, str(root.absolute()), origin.digest(sample.frame))
    self._write_sample(folder, info, sample, root, download_config)

  def _write_own(self, folder, own: galaxies.Galaxies, download_config) -> None:
    """Writes a set of the user's galaxies, which are read already."""
    sample = own.sample.first(download_config.max_examples_per_split)
    origin.write(folder, own.source, own.digest())
    self._write_sample(folder, own.info, sample, own.images, download_config)

  def _write_sample(self, folder, info, sample, root, download_config) -> None:
    # The tasks read this catalogue. It also belongs to the built set, because
    # the features round float64 to float32.
    path = folder / sample_lib.CATALOG
    tables.write(path, sample.frame, sample.described)
    sources = examples_lib.examples_by_split(sample, path, root)
    shards.write(self, info, sources, download_config)
    sample_info.write(folder, info)
    quality.write(folder, sample)

  def _simulate(self) -> dict[str, list[dict]]:
    """Renders the mock galaxies and assigns them to splits."""
    from tfds_sdss.mock import render

    examples: dict[str, list[dict]] = {name: [] for name in splits.SPLIT_PARTS}
    config = self.builder_config
    total = config.num_examples
    _log.info("simulating %d galaxies on all cores", total)
    for example in tqdm.tqdm(
      render.generate(total, config.seed),
      total=total,
      desc="Simulating galaxies",
      unit=" galaxies",
      disable=None,
    ):
      if config.name == "mock_pretrain":
        example |= population.derive(example)
      examples[splits.split_of(example["objid"])].append(example)
    return examples


def digest_of_source(name: str, root: pathlib.Path) -> str:
  """Returns the digest of the galaxies that a folder holds for a sample.

  Args:
    name: a sample that is built from a folder.
    root: staging folder, or unpacked archive of demo500.

  Raises:
    DataError: if the sample cannot be built from the folder.
  """
  config = Builder.builder_configs[name]
  if not config.columns:
    examples_of = _in_order(demo500.read(root, complete=False))
    return origin.digest_of_examples(examples_of)
  # A sample that exists has passed max_loss.
  sample = sample_lib.read(
    root, name, config.columns, config.image_size, max_loss=1
  )
  return origin.digest(sample.frame)


def _in_order(examples_of: dict[str, list[dict]]) -> dict[str, list[dict]]:
  """Returns the examples with their folds, in the order of the shards."""
  for examples in examples_of.values():
    for example in examples:
      example["fold"] = splits.fold_of(example["objid"])
    examples.sort(key=lambda example: shards.sort_key(example["objid"]))
  return examples_of


def _manual_dir(dl_manager) -> pathlib.Path | None:
  try:
    return pathlib.Path(dl_manager.manual_dir)
  except AssertionError:  # TFDS's error for an absent or empty folder
    return None


def _read_demo500(dl_manager) -> tuple[str, dict[str, list[dict]]]:
  """Reads the real galaxies, and returns their folder or address as well."""
  manual_dir = _manual_dir(dl_manager)
  # All data sets share TFDS's default manual_dir: it may contain another one.
  if manual_dir and (manual_dir / "catalogs").is_dir():
    return str(manual_dir.absolute()), demo500.read(manual_dir, complete=False)

  _log.info("downloading %s", demo500.ARCHIVE_URL)
  advice = (
    "Check the network and build again, or unpack the archive into a folder "
    "and run: python -m tfds_sdss build sdss_metallicity/demo500 "
    "--staging=FOLDER"
  )
  try:
    # TFDS's download_and_extract needs TensorFlow to unpack. The archive has no
    # checksum, because GitHub may compress it again: demo500 checks its files.
    demo500.check_network(pathlib.Path(dl_manager.download_dir))
    archive = pathlib.Path(dl_manager.download(demo500.ARCHIVE_URL))
  except (OSError, tfds.download.DownloadError) as error:
    raise DownloadFailedError(
      f"could not download {demo500.ARCHIVE_URL}: {error}. {advice}"
    ) from error
  try:
    with demo500.open_archive(archive) as root:
      examples_of = demo500.read(root, complete=True)
  except (*demo500.ARCHIVE_ERRORS, DataError) as error:
    # TFDS would reuse the bad file from its cache, and reject a better one,
    # whose digest differs from the recorded one.
    for path in (archive, archive.with_name(f"{archive.name}.INFO")):
      path.unlink(missing_ok=True)
    raise DownloadFailedError(
      f"{demo500.ARCHIVE_URL} is not the expected archive: {error} {advice}"
    ) from error
  return demo500.ARCHIVE_URL, examples_of
