"""Unpacks the images of the archive on Zenodo."""

from __future__ import annotations

from collections.abc import Callable
import hashlib
import io
import pathlib
import re
import tarfile
import zlib

from tfds_sdss import images
from tfds_sdss import staging
from tfds_sdss.fetch import cutouts
from tfds_sdss.fetch import http_responses
from tfds_sdss.fetch import zenodo

# Images hardly shrink when they are packed: more is a decompression bomb.
_MAX_RATIO = 20
_MIN_UNPACKED = 1 << 27  # of a small archive, bytes
# tarfile reads the long name of a member, and its other extensions, at once.
_MAX_EXTENSION = 1 << 16
_EXTENSIONS = (
  tarfile.GNUTYPE_LONGNAME,
  tarfile.GNUTYPE_LONGLINK,
  tarfile.XHDTYPE,
  tarfile.XGLTYPE,
  tarfile.SOLARIS_XHDTYPE,
)


def is_finished(
  entry: staging.Entry | None, origin: zenodo.File, folder: staging.Staging
) -> bool:
  """Whether an earlier run has processed a galaxy of the same archive."""
  if entry is None or entry.url.partition("#")[0] != origin.version:
    return False
  return not entry.is_image or folder.has_image(entry)


def unpack(
  archive: pathlib.Path,
  origin: zenodo.File,
  objids: set[int],
  folder: staging.Staging,
  on_entry: Callable[[staging.Entry], None],
) -> None:
  """Unpacks the images of `objids`, and calls `on_entry` with each entry.

  Only regular files called OBJID.jpg are read. The staging folder determines
  their paths: no name in the archive becomes a path.

  Raises:
    FetchError: if the archive is damaged.
  """
  known = folder.read_manifest()
  left = set(objids)
  with folder.open_manifest() as append:

    def record(entry: staging.Entry) -> None:
      if known.get(entry.objid) != entry:
        append(entry)
      left.discard(entry.objid)
      on_entry(entry)

    total, largest = 0, max(_MIN_UNPACKED, _MAX_RATIO * archive.stat().st_size)
    try:
      with tarfile.open(archive, "r|gz", tarinfo=_Member) as packed:
        for member in packed:
          # They would take more memory than the images.
          packed.members.clear()  # type: ignore[attr-defined]
          total += member.size
          if total > largest:
            raise tarfile.ReadError(
              f"its {archive.stat().st_size} bytes unpack to more than "
              f"{largest}"
            )
          name = pathlib.PurePosixPath(member.name)
          if not member.isreg() or name.suffix != ".jpg":
            continue
          if not re.fullmatch("[0-9]{1,19}", name.stem):
            continue
          if int(name.stem) not in left:
            continue
          url = f"{origin.version}#{name.name}"
          record(_unpack_one(packed, member, int(name.stem), url, folder))
    # The last four are errors of gzip and tarfile for some damages.
    except (
      tarfile.TarError,
      EOFError,
      OSError,
      zlib.error,
      ValueError,
      TypeError,
      RecursionError,
    ) as error:
      if isinstance(error, OSError) and error.errno is not None:
        raise  # from the operating system, such as a full disk
      raise http_responses.FetchError(
        f"{archive} is damaged: {error}. Delete it and run the same command "
        "again."
      ) from error
    for objid in sorted(left):
      record(
        staging.Entry(
          objid,
          origin.version,
          reason="not_in_archive",
          permanent=True,
          detail=f"no {objid}.jpg in {zenodo.ARCHIVE}",
        )
      )


class _Member(tarfile.TarInfo):
  """A member of an archive, whose extensions are limited in size."""

  @classmethod
  def frombuf(cls, buf, encoding, errors):
    member = super().frombuf(buf, encoding, errors)
    largest = _MAX_EXTENSION if member.type in _EXTENSIONS else zenodo.MAX_SIZE
    if not 0 <= member.size <= largest:
      raise tarfile.ReadError(f"a member has a size of {member.size} bytes")
    return member


def _unpack_one(
  packed: tarfile.TarFile,
  member: tarfile.TarInfo,
  objid: int,
  url: str,
  folder: staging.Staging,
) -> staging.Entry:
  file = packed.extractfile(member) or io.BytesIO()
  data = file.read(images.MAX_BYTES + 1)
  try:
    zeros = cutouts.check_image(objid, data, zenodo.SIZE)
  except http_responses.ResponseError as error:
    # Always permanent: unlike a server, the archive does not change.
    return staging.Entry(
      objid, url, reason=error.reason, permanent=True, detail=str(error)
    )
  digest = hashlib.sha256(data).hexdigest()
  entry = staging.Entry(objid, url, sha256=digest, zeros=zeros)
  if not folder.has_image(entry):
    folder.write_image(objid, data)
  return entry
