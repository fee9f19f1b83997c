"""Small versions of the two files of the Zenodo record."""

import io
import tarfile

from tests.tfds_sdss.fetch import stand_in_sample

# Names in the file, where SDSS and this project differ.
NAMES = {"objid": "objID", "dr7objid": "DR7ObjID", "specobjid": "specObjID"}
FEW = ("objid", "oh_p50", "lgm_tot_p50", "h_alpha_flux")


def catalog(frame, names=FEW) -> bytes:
  """Returns galaxies.csv with the columns `names` and one more."""
  text = frame[list(names)].rename(columns=NAMES).assign(comment="x, y")
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
