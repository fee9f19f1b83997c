"""The TFDS builder: galaxies' gri images and their 12 + log(O/H)."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import logging
import pathlib
import zipfile
import zlib

import numpy as np
import tensorflow_datasets as tfds
import tqdm

from tfds_sdss import catalog
from tfds_sdss import images
from tfds_sdss.sdss_metallicity import demo500

_log = logging.getLogger(__name__)


class DownloadFailedError(OSError):
  """The archive of the real galaxies could not be fetched."""


@dataclasses.dataclass(kw_only=True)
class SdssMetallicityConfig(tfds.core.BuilderConfig):
  """One sample of galaxies.

  Attributes:
    num_examples: how many galaxies are simulated or, for real ones, published.
  """

  num_examples: int


class Builder(tfds.core.GeneratorBasedBuilder):
  """Builds `sdss_metallicity`; README.md tells each step."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {  # noqa: RUF012  (TFDS reads it from the class)
    "1.0.0": "Mock galaxies and the 500 real galaxies of convnet-demo."
  }
  BUILDER_CONFIGS = [  # noqa: RUF012
    SdssMetallicityConfig(
      name="mock",
      description="Simulated galaxies whose metallicity is known exactly.",
      num_examples=2_000,
    ),
    SdssMetallicityConfig(
      name="demo500",
      description="500 SDSS galaxies of Wu & Boada (2019), convnet-demo.",
      num_examples=500,
    ),
  ]
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "Only for demo500, where there is no network: unpack "
    f"{demo500.ARCHIVE_URL} and give its folder, the one that holds catalogs/, "
    "train/ and test/, as manual_dir."
  )

  def __init__(self, *, file_format: str | None = None, **kwargs):
    """Makes ArrayRecord the default: without TensorFlow, TFRecord fails."""
    super().__init__(file_format=file_format or "array_record", **kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    features = {
      "image": tfds.features.Image(
        shape=(images.SIZE, images.SIZE, 3), encoding_format="jpeg"
      ),
      "objid": tfds.features.Scalar(np.int64, doc="SDSS objID"),
      "oh_p50": tfds.features.Scalar(np.float32, doc="12 + log(O/H), dex"),
    }
    if self.builder_config.name == "mock":
      # Here, since only this sample needs GalSim.
      from tfds_sdss import mock

      for name, description in mock.FEATURES.items():
        features[name] = tfds.features.Scalar(np.float32, doc=description)
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(features),
      supervised_keys=("image", "oh_p50"),
      homepage="https://arxiv.org/abs/1810.12913",
    )

  def _split_generators(self, dl_manager) -> dict[str, Iterator]:
    if self.builder_config.name == "mock":
      splits = self._simulate()
    else:
      splits = _read_demo500(dl_manager)
    _check_unique(splits)
    return {
      split: self._generate_examples(examples)
      for split, examples in splits.items()
    }

  def _generate_examples(self, examples: list[dict]) -> Iterator:
    """Yields (objID, example), each one checked."""
    for example in examples:
      catalog.check_label(example["objid"], example["oh_p50"])
      images.decode(example["objid"], example["image"])
      yield example["objid"], example

  def _simulate(self) -> dict[str, list[dict]]:
    """Renders all mock galaxies once, for the three splits share a stream."""
    from tfds_sdss import mock

    splits: dict[str, list[dict]] = {name: [] for name in catalog.SPLIT_PARTS}
    total = self.builder_config.num_examples
    _log.info("simulating %d galaxies on all cores: about a minute", total)
    for example in tqdm.tqdm(
      mock.generate(total, seed=0),
      total=total,
      desc="Simulating galaxies",
      unit=" galaxies",
      disable=None,
    ):
      splits[catalog.split_of(example["objid"])].append(example)
    return splits


def _read_demo500(dl_manager) -> dict[str, list[dict]]:
  """Reads the real galaxies from manual_dir or from upstream's archive."""
  hashes = demo500.read_hashes()
  try:
    manual_dir = pathlib.Path(dl_manager.manual_dir)
  except AssertionError:  # TFDS's way to say that it is absent or empty
    manual_dir = None
  # TFDS's default manual_dir is shared by all data sets, so that a filled one
  # says nothing yet about this set.
  if manual_dir and (manual_dir / "catalogs").is_dir():
    return demo500.read(manual_dir, hashes, complete=False)

  _log.info(
    "downloading %s; if the network fails, TFDS retries for some minutes",
    demo500.ARCHIVE_URL,
  )
  advice = (
    "Check the network and build again, or fetch the archive elsewhere, "
    "unpack it and give its folder: python -m tfds_sdss build "
    "sdss_metallicity/demo500 --manual_dir=FOLDER"
  )
  try:
    # TFDS's download_and_extract needs TensorFlow to unpack. It knows no
    # checksum of the archive either: GitHub compresses it anew now and then,
    # which is why demo500 compares the files inside.
    archive = pathlib.Path(dl_manager.download(demo500.ARCHIVE_URL))
  except (OSError, tfds.download.DownloadError) as error:
    raise DownloadFailedError(
      f"could not download {demo500.ARCHIVE_URL}: {error}. {advice}"
    ) from error
  try:
    return demo500.read(demo500.open_archive(archive), hashes, complete=True)
  except (zipfile.BadZipFile, zlib.error, catalog.DataError) as error:
    # TFDS would take the bad file from its cache for ever, and its note of the
    # bad file's digest would forbid another one.
    for path in (archive, archive.with_name(f"{archive.name}.INFO")):
      path.unlink()
    raise DownloadFailedError(
      f"{demo500.ARCHIVE_URL} is not the archive expected: {error} {advice}"
    ) from error


def _check_unique(splits: dict[str, list[dict]]) -> None:
  """Refuses an objID that comes twice, within a split or in two of them.

  TFDS's own check can't say so: without TensorFlow its message fails first.
  """
  split_of: dict[int, str] = {}
  for split, examples in splits.items():
    for example in examples:
      objid = example["objid"]
      if objid in split_of:
        raise catalog.DataError(
          f"objID {objid} comes twice: in {split_of[objid]} and in {split}. "
          "Keep one of them in the catalogue."
        )
      split_of[objid] = split
