"""Images that many galaxies have: placeholders of a service."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses

import pandas as pd

from tfds_sdss import images
from tfds_sdss import staging
from tfds_sdss.fetch import cutouts


def count(
  frame: pd.DataFrame, manifest: Mapping[int, staging.Entry]
) -> images.Copies:
  """Returns the counts of the catalogue's images in the manifest."""
  objids = frame.objid.tolist()
  copies = images.Copies(dict(zip(objids, frame.sky_group, strict=True)))
  for objid in objids:
    if (entry := manifest.get(objid)) and entry.is_image:
      copies.add(objid, entry.sha256)
  return copies


def discard(
  folder: staging.Staging,
  entries: list[staging.Entry],
  copies: images.Copies,
  permanent: bool,
) -> None:
  """Turns refused images into failures, in the folder and in `entries`.

  Args:
    folder: staging folder.
    entries: entries of the catalogue; changed in place.
    copies: counts of the images.
    permanent: whether another request is pointless.
  """
  refused = copies.refused()
  if not refused:
    return
  with folder.open_manifest() as append:
    for number, entry in enumerate(entries):
      if entry.sha256 in refused:
        entries[number] = dataclasses.replace(
          entry,
          reason=cutouts.COPY,
          permanent=permanent,
          sha256="",
          zeros=None,
          detail=f"more than {images.MAX_COPIES} galaxies have this image",
        )
        append(entries[number])
        folder.image_path(entry.objid).unlink(missing_ok=True)
