"""What one image and one record cost, here and by the libraries' own ways.

  python -m benchmarks.codecs   # half a minute

One JSON line per figure: microseconds, the least of five rounds over the same
synthetic galaxies. The rounds of all variants alternate.
"""

from __future__ import annotations

import io
import json
import time

import numpy as np
from PIL import Image
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer

from tfds_sdss import images
from tfds_sdss import records
from tfds_sdss.mock import render
from tfds_sdss.sdss_metallicity import sdss_metallicity_dataset_builder

_ROUNDS = 5
_NUM_GALAXIES = 200


def main() -> None:
  """Runs the benchmarks."""
  jpegs = [x["image"] for x in render.generate(_NUM_GALAXIES, 1, processes=1)]
  builder = sdss_metallicity_dataset_builder.Builder(config="dr17")
  features = builder.info.features
  fields = records.layout(features)
  rng = np.random.default_rng(0)
  examples = [
    {
      name: (
        jpeg
        if field == "bytes_list"
        else int(rng.integers(1 << 60))
        if field == "int64_list"
        else float(np.float32(rng.normal()))
      )
      for name, field in fields.items()
    }
    for jpeg in jpegs
  ]
  encoder = records.Encoder(fields)
  serializer = example_serializer.ExampleSerializer(
    features.get_serialized_info()
  )
  undecoded = {"image": tfds.decode.SkipDecoding()}
  encoded = [encoder.encode(example) for example in examples]

  def pillow(jpeg: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
      return np.asarray(image)

  report(
    {
      "jpeg_pillow": (pillow, jpegs),
      "jpeg_decode": (lambda x: images.decode(0, x), jpegs),
      "jpeg_check": (lambda x: images.check(0, x), jpegs),
      "write_tfds": (
        lambda x: serializer.serialize_example(features.encode_example(x)),
        examples,
      ),
      "write_records": (encoder.encode, examples),
      "read_tfds": (
        lambda x: features.deserialize_example_np(x, decoders=undecoded),
        encoded,
      ),
      "read_records": (lambda x: records.decode(fields, x), encoded),
    }
  )


def report(variants: dict) -> None:
  """Times each variant over its items and prints the figures."""
  least = dict.fromkeys(variants, float("inf"))
  for _ in range(_ROUNDS):
    for name, (function, items) in variants.items():
      begun = time.perf_counter()
      for item in items:
        function(item)
      spent = (time.perf_counter() - begun) / len(items)
      least[name] = min(least[name], spent)
  for name, seconds in least.items():
    line = {"name": name, "value": round(seconds * 1e6, 1), "unit": "us"}
    print(json.dumps(line))


if __name__ == "__main__":
  main()
