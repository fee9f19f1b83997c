"""Fake images, and a small convnet-demo as a folder or an archive."""

import hashlib
import io
import pathlib
import re
import zipfile

import numpy as np
from PIL import Image

from tfds_sdss.sdss_metallicity import demo500

OBJID = 1237648704043942146


def jpeg(seed: int, size: int = 128, mode: str = "RGB", kind: str = "JPEG"):
  """Returns the image file of a random 4 x 4 checkerboard."""
  colours = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
  image = Image.fromarray(colours).resize((size, size)).convert(mode)
  file = io.BytesIO()
  image.save(file, kind)
  return file.getvalue()


def example(objid: int, oh_p50: float = 8.9) -> dict:
  return {"image": jpeg(objid), "objid": objid, "oh_p50": oh_p50}


def write(root: pathlib.Path, num_train: int = 12, num_test: int = 4) -> None:
  """Writes catalogues and images in the layout of convnet-demo."""
  (root / "catalogs").mkdir(parents=True)
  first = OBJID
  for name, number in (("train", num_train), ("test", num_test)):
    (root / name).mkdir()
    lines = ["objID,oh_p50"]
    for objid in range(first, first + number):
      lines.append(f"{objid},{8.5 + objid % 10 / 20:.6f}")
      (root / name / f"{objid}.jpg").write_bytes(jpeg(objid))
    (root / "catalogs" / f"{name}.csv").write_text("\n".join(lines) + "\n")
    first += number


def write_hashes(root: pathlib.Path, path: pathlib.Path) -> None:
  """Writes the digests of all files below root in sha256sum's format."""
  path.write_text(
    "".join(
      f"{hashlib.sha256(file.read_bytes()).hexdigest()}  "
      f"{file.relative_to(root).as_posix()}\n"
      for file in sorted(root.glob("*/*"))
    )
  )


def replace_upstream(tmp_path: pathlib.Path, monkeypatch) -> pathlib.Path:
  """Writes a small convnet-demo whose digests replace upstream's."""
  root = tmp_path / "layout"
  write(root)
  write_hashes(root, tmp_path / "hashes")
  monkeypatch.setattr(demo500, "HASHES", tmp_path / "hashes")
  return root


def archive(root: pathlib.Path, top: str = "convnet-demo-3469bbc") -> bytes:
  """Returns a zip archive with one folder at the top, like GitHub's."""
  file = io.BytesIO()
  with zipfile.ZipFile(file, "w") as packed:
    packed.writestr(f"{top}/", "")
    packed.writestr(f"{top}/README.md", "not a galaxy")
    for path in sorted(root.glob("*/*")):
      packed.write(path, f"{top}/{path.relative_to(root).as_posix()}")
  return file.getvalue()


def make_older(folder: pathlib.Path, version: str = "1.0.0") -> None:
  """Changes the version of a built folder."""
  folder = folder.rename(folder.parent / version)
  info = folder / "dataset_info.json"
  text = info.read_text()
  changed = re.sub(r'("version": )"[0-9.]+"', rf'\1"{version}"', text)
  assert changed != text
  info.write_text(changed)
