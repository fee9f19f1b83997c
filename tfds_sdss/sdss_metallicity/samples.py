"""Samples of `sdss_metallicity`: their configs for the builder."""

from __future__ import annotations

import dataclasses

import tensorflow_datasets as tfds

from tfds_sdss import columns
from tfds_sdss import images
from tfds_sdss.own import galaxies


@dataclasses.dataclass(kw_only=True)
class SdssMetallicityConfig(tfds.core.BuilderConfig):
  """One sample of galaxies.

  Attributes:
    num_examples: number of galaxies to simulate; None for the other samples.
    seed: of the simulated galaxies.
    image_size: width and height of the images, pixels.
    columns: columns of the catalogue that become features; empty if the sample
      is not made from a staging folder.
    own: galaxies of the user; None for this project's samples.
  """

  num_examples: int | None = None
  seed: int = 0
  image_size: int = images.SIZE
  columns: tuple[str, ...] = ()
  # TFDS logs and compares configs.
  own: galaxies.Galaxies | None = dataclasses.field(
    default=None, repr=False, compare=False
  )


# One config each.
OF_PROJECT = [
  SdssMetallicityConfig(
    name="mock",
    version=tfds.core.Version("3.0.0"),
    release_notes={
      "3.0.0": "Distances from astropy's cosmology. Magnitudes change by "
      "less than 0.001 mag, and half of the images in a few pixels. Labels "
      "and splits are those of 2.0.0.",
    },
    description="Simulated galaxies whose metallicity is known exactly.",
    num_examples=2_000,
  ),
  SdssMetallicityConfig(
    name="mock_pretrain",
    description="Simulated galaxies with all their properties, to pre-train.",
    num_examples=26_000,
    # No galaxy of `mock`.
    seed=77,
  ),
  SdssMetallicityConfig(
    name="demo500",
    description="500 SDSS galaxies of Wu & Boada (2019), convnet-demo.",
  ),
  SdssMetallicityConfig(
    name="dr17",
    description="The galaxies of Wu & Boada's query, from SDSS DR17.",
    columns=columns.SKYSERVER,
  ),
  SdssMetallicityConfig(
    name="dr14",
    description="The galaxies of Wu & Boada's query, from SDSS DR14.",
    columns=columns.SKYSERVER,
  ),
  SdssMetallicityConfig(
    name="zenodo",
    version=tfds.core.Version("2.1.0"),
    release_notes={
      "2.1.0": "All columns of the catalogue: magnitudes, radii, ids, "
      "bptclass, reliable and more. Values out of range are missing.",
    },
    description="The images and the catalogue of Zenodo 14712542.",
    image_size=160,
    columns=columns.ZENODO,
  ),
]
