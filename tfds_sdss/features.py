"""Features of a built data set, which may come from somebody else."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import tensorflow_datasets as tfds

from tfds_sdss import records

# Keys of features.json that name classes. TFDS imports their modules, and so
# would run any code that Python finds.
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type", "proto_cls")
_PACKAGE = "tensorflow_datasets."


def open_builder(folder: pathlib.Path) -> tfds.core.DatasetBuilder:
  """Returns the builder of a built sample.

  Args:
    folder: `data_dir`/sdss_metallicity/CONFIG/VERSION.

  Raises:
    ValueError: if the features are not those of a sample. TFDS and protobuf
      raise many other exceptions for damaged files.
  """
  _check_classes(json.loads((folder / "features.json").read_bytes()))
  builder = tfds.builder_from_directory(folder)
  # A sample of one's own may have no oh_p50.
  _, label = builder.info.supervised_keys or ("image", "oh_p50")
  _check_features(builder.info.features, label)
  return builder


def _check_classes(value: Any) -> None:
  if isinstance(value, dict):
    for key in _CLASS_KEYS:
      found = value.get(key)
      if isinstance(found, str) and not found.startswith(_PACKAGE):
        raise ValueError(f"features.json names {found!r}, not a class of TFDS")
    value = list(value.values())
  if isinstance(value, list):
    for item in value:
      _check_classes(item)


def _check_features(features: tfds.features.FeaturesDict, label: str) -> None:
  fields = records.layout(features)
  for name, expected in (
    ("image", ("bytes_list",)),
    ("objid", ("int64_list",)),
    (label, ("float_list", "int64_list")),
  ):
    if fields.get(name) not in expected:
      raise ValueError(
        f"expected {name} as {expected[0]}, found {fields.get(name)}"
      )
  height, width, colours = features["image"].shape
  if not (height and height == width and colours == 3):
    raise ValueError(f"images have the shape {features['image'].shape}")
