import numpy as np
import pytest

from tests.tfds_sdss import fake_layout
from tfds_sdss import catalog
from tfds_sdss.errors import DataError
from tfds_sdss.errors import LabelError

OBJID = fake_layout.OBJID


def write(tmp_path, text):
  path = tmp_path / "catalog.csv"
  path.write_bytes(text.encode())
  return path


def test_reads_ids_exactly_and_in_order(tmp_path):
  text = f"oh_p50,objID,z\n8.9,{OBJID},0.1\n8.882136,1237648674532688079,nan\n"
  frame = catalog.read_catalog(write(tmp_path, text))
  assert frame.objid.dtype == np.int64
  assert frame.objid.tolist() == [OBJID, 1237648674532688079]
  assert frame.oh_p50.tolist() == [8.9, 8.882136]


@pytest.mark.parametrize(
  "text",
  [
    f"\ufeffobjID,oh_p50\r\n{OBJID},8.9\r\n",
    f"objID,oh_p50\r{OBJID},8.9\r",
    f"objID,oh_p50\n\n{OBJID},8.9\n\n  \n,\n",
    f"\n\nobjID, oh_p50\n{OBJID}, 8.9",
    f'"objID","oh_p50"\n"{OBJID}","8.9"\n',
    f"objID,oh_p50,,\n{OBJID},8.9,,\n",
    f'name,objID,oh_p50\n"two\nlines, a comma",{OBJID},8.9\n',
  ],
  ids=["BOM", "CR", "blank", "spaces", "quotes", "empty columns", "newline"],
)
def test_reads_tables_as_programs_write_them(tmp_path, text):
  frame = catalog.read_catalog(write(tmp_path, text))
  assert frame.objid.tolist() == [OBJID]
  assert frame.oh_p50.tolist() == [8.9]


@pytest.mark.parametrize(
  "text",
  [
    "1.23765E+18",
    "1237648702973411443.0",
    "9223372036854775808",
    "12376487029734114430",
    "-1237648702973411443",
    " 1237648702973411443",
    "١٢٣",
    "../1237648702973411443",
    "",
  ],
)
def test_mangled_ids_are_refused(tmp_path, text):
  path = write(tmp_path, f"objID,oh_p50\n{OBJID},8.9\n{text},8.9\n")
  with pytest.raises(DataError, match=r"row 3.*as text or 64-bit"):
    catalog.read_catalog(path)


@pytest.mark.parametrize(
  ("label", "found"),
  [
    ("nan", "nan"),
    ("", "nan"),
    ("-9999", "-9999, the SDSS marker"),
    ("-9990", "-9990, the SDSS marker"),
    ("6.9", "6.9"),
    ("10.1", "10.1"),
    ("inf", "inf"),
    ("high", "'high'"),
  ],
)
def test_impossible_labels_are_refused(tmp_path, label, found):
  path = write(tmp_path, f"objID,oh_p50\n{OBJID},{label}\n")
  with pytest.raises(LabelError, match=f"row 2.*{OBJID}.*{found}"):
    catalog.read_catalog(path)


@pytest.mark.parametrize("label", [7.0, 7.8517, 9.4656, 10.0])
def test_possible_labels_are_accepted(label):
  catalog.check_label(OBJID, label)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("", "an empty file"),
    ("\n \r", "an empty file"),
    ("objID,oh_p50\n", "at least one galaxy"),
    ("objID,oh_p50\n\n,\n", "at least one galaxy"),
    (f"objID,oh_p50\n{OBJID},8.9,\n", "row 2: expected 2 fields"),
    (f"objID;oh_p50\n{OBJID};8.9\n", "found objID;oh_p50"),
    (f"objID,oh_p50,objID\n{OBJID},8.9,1\n", "one column objID, found 2"),
    (f"oh_p50,oh_p50,objID\n8,8.9,{OBJID}\n", "one column oh_p50, found 2"),
    (f'objID,oh_p50\n"{OBJID},8.9\n1,8.9\n', "A quote may not be closed"),
    (f"objID,oh_p50\n{OBJID},{'8' * 200_000}\n", "row 2: .*field larger"),
    (f"objID,oh_p50\n{OBJID},8.9\n\0\0\n", "row 3: expected 2 fields"),
    ("objID,oh_p50\n12\0,8.9\n", "row 2: objID"),
    ("objID,z\n1,2\n", "columns objID and oh_p50 .* found objID,z"),
    (f"objID,oh_p50\n{OBJID}", "row 2: expected 2 fields"),
    (f"objID,oh_p50\n{OBJID},8.9,1\n", "row 2: expected 2 fields"),
    (f"objID,oh_p50\n{OBJID},8.9\n7,8\n{OBJID},8", f"row 4: .*{OBJID} is rep"),
  ],
)
def test_invalid_tables_are_refused(tmp_path, text, message):
  with pytest.raises(DataError, match=message):
    catalog.read_catalog(write(tmp_path, text))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_other_encodings_are_refused(tmp_path, encoding):
  path = tmp_path / "catalog.csv"
  path.write_bytes("objID,oh_p50,ö\n".encode(encoding))
  with pytest.raises(DataError, match="UTF-8"):
    catalog.read_catalog(path)
