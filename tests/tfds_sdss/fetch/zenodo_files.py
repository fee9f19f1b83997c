"""Small versions of the two files of the Zenodo record."""

import io
import tarfile

from tests.tfds_sdss.fetch import stand_in_sample


def catalog(frame) -> bytes:
  columns = {"objid": "objID", "oh_p50": "oh_p50", "lgm_tot_p50": "lgm_tot_p50"}
  columns |= {"h_alpha_flux": "h_alpha_flux"}
  text = frame[list(columns)].rename(columns=columns).assign(comment="x, y")
  return text.to_csv(index=False).encode()


def tar(members: dict[str, bytes], extra=()) -> bytes:
  file = io.BytesIO()
  with tarfile.open(fileobj=file, mode="w:gz") as packed:
    folder = tarfile.TarInfo("images-sdss")
    folder.type = tarfile.DIRTYPE
    packed.addfile(folder)
    for name, data in members.items():
      member = tarfile.TarInfo(name)
      member.size = len(data)
      packed.addfile(member, io.BytesIO(data))
    for member in extra:
      packed.addfile(member)
  return file.getvalue()


def images(objids) -> dict[str, bytes]:
  return {
    f"images-sdss/{objid}.jpg": stand_in_sample.jpeg_of(objid, 160)
    for objid in objids
  }


def archive(objids) -> bytes:
  """Returns an archive of these galaxies' images."""
  return tar(images(objids))
