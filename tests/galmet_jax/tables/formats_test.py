import gzip
import io
import itertools
import shutil
import subprocess

from astropy.io import fits
from astropy.io import votable
from astropy.table import MaskedColumn
from astropy.table import Table
import numpy as np
import pandas as pd
import pytest

from galmet_jax.tables import writer
from tests.galmet_jax.tables import predicted


@pytest.mark.parametrize(
  "suffix", [*predicted.FORMATS, "csv.gz", "fits.gz", "vot.gz"]
)
def test_astropy_reads_what_was_written(tmp_path, suffix):
  table = writer.join(predicted.make_input(), predicted.make_columns())
  predicted.write(tmp_path / f"out.{suffix}", table)
  found = predicted.read(tmp_path / f"out.{suffix}")
  assert found.colnames == table.colnames
  predicted.expect_same(found, table)
  assert found["objID"][0] == found["sdss_objid"][0] == predicted.OBJID


@pytest.mark.parametrize("suffix", ["ecsv", "fits", "vot", "parquet"])
def test_units_ucds_descriptions_and_header_are_read_back(tmp_path, suffix):
  table = writer.join(predicted.make_input(), predicted.make_columns())
  predicted.write(tmp_path / f"out.{suffix}", table)
  found = predicted.read(tmp_path / f"out.{suffix}")
  if suffix == "fits":
    header = found.meta
    # The reader leaves UCDs and comments in the header; `join` sorts them in.
    found = writer.join(found, [])
  elif suffix == "vot":
    tree = votable.parse_single_table(tmp_path / "out.vot")
    header = {info.name: info.value for info in tree.infos}
  else:
    header = found.meta
  for old in table.columns.values():
    new = found[old.name]
    assert str(new.unit or "") == str(old.unit or "")
    assert (new.description or "") == (old.description or "")
    assert new.meta.get("ucd") == old.meta.get("ucd")
  for key, value in predicted.HEADER.items():
    assert type(value)(header[key]) == value


def test_pandas_reads_what_was_written(tmp_path):
  table = writer.join(predicted.make_input(), predicted.make_columns())
  predicted.write(tmp_path / "out.csv", table)
  predicted.write(tmp_path / "out.parquet", table)
  for frame in (
    pd.read_csv(tmp_path / "out.csv", dtype_backend="numpy_nullable"),
    pd.read_parquet(tmp_path / "out.parquet"),
  ):
    assert list(frame["objID"]) == list(table["objID"])
    assert frame["sdss_objid"][0] == predicted.OBJID
    assert list(frame["name"].fillna("")) == list(table["name"])
    np.testing.assert_array_equal(
      frame["oh_p50_pred"].astype(np.float32), table["oh_p50_pred"]
    )
  assert list(frame["other id.mask"]) == predicted.MISSING.tolist()
  csv = pd.read_csv(tmp_path / "out.csv", dtype={"other id": "Int64"})
  assert list(csv["other id"].isna()) == predicted.MISSING.tolist()
  assert csv["other id"][0] == predicted.OBJID


def test_csv_has_the_fewest_digits_and_its_columns_beside_it(tmp_path):
  predicted.write(tmp_path / "out.csv", LCCA=np.nan)
  lines = (tmp_path / "out.csv").read_text().splitlines()
  assert lines[1].startswith(
    f"{predicted.OBJID},{predicted.OBJID},NGC 99,1.5,17.1,8.7,"
  )
  # Text stays as it is, also a spreadsheet's formula.
  assert lines[2].startswith("2,,=1+2,0.3333333333333333,,,")
  text = (tmp_path / "out.columns.md").read_text()
  assert "| ra | deg | pos.eq.ra | Right ascension |" in text
  assert "| oh_p50_pred | dex | phys.abund.Z;meta.modelled |" in text
  assert "| NCAL | 302 | galaxies that calibrate the intervals |" in text
  assert "LCCA" not in text


def test_fits_has_neither_comments_nor_long_keywords(tmp_path):
  predicted.write(
    tmp_path / "out.fits", RUN="/a folder/é/of 'users'" * 9, LCCB=np.nan
  )
  with fits.open(tmp_path / "out.fits") as file:
    cards = file[1].header.cards
    keys = list(file[1].header)
    assert not {"COMMENT", "HIERARCH", "CONTINUE", "LCCB"} & set(keys)
    assert max(map(len, keys)) <= 8
    assert cards["NCAL"].comment == writer.COMMENTS["NCAL"]
    assert cards["CKPTSHA"].value == predicted.HEADER["CKPTSHA"]
    assert len(cards["RUN"].value) == 68
    assert cards["RUN"].value.endswith('of "users"')
    file.verify("exception")


@pytest.mark.parametrize(
  "suffix", [*predicted.FORMATS, "csv.gz", "fits.gz", "vot.gz"]
)
def test_the_same_table_gives_the_same_bytes(tmp_path, suffix, monkeypatch):
  first = predicted.write(tmp_path / f"out.{suffix}")
  later = itertools.count(2_000_000_000)
  monkeypatch.setattr("time.time", lambda: next(later))
  (tmp_path / "folder").mkdir()
  assert predicted.write(tmp_path / "folder" / f"out.{suffix}") == first
  # Arrow encodes the header in base64.
  if "csv" not in suffix.split(".") and suffix != "parquet":
    other = predicted.write(
      tmp_path / f"out.{suffix}", DATE="2026-11-12T13:14:15"
    )
    if suffix.endswith(".gz"):
      first, other = gzip.decompress(first), gzip.decompress(other)
    assert other.replace(b"-11-12T13:14:15", b"-01-02T03:04:05") == first


@pytest.fixture(scope="module")
def stilts():
  """Runs STILTS, the engine of TOPCAT."""
  program = shutil.which("stilts")
  if not program:
    pytest.skip("STILTS is not installed (Debian: apt-get install stilts)")

  def run(*arguments) -> str:
    done = subprocess.run(
      [program, *map(str, arguments)],
      check=True,
      capture_output=True,
      text=True,
    )
    assert not done.stderr
    return done.stdout

  return run


@pytest.mark.parametrize("suffix", ["fits", "vot"])
def test_stilts_reads_units_ucds_descriptions(tmp_path, stilts, suffix):
  path = tmp_path / f"out.{suffix}"
  table = writer.join(predicted.make_input(), predicted.make_columns())
  predicted.write(path, table)
  text = stilts("tpipe", f"in={path}", "omode=meta")
  for key, value in predicted.HEADER.items():
    assert f"{key}:\n    {value}\n" in text
  assert "COMMENT" not in text
  assert "oh_p50_pred(Float)/dex - Prediction of oh_p50" in text
  # The table of columns has UCDs.
  meta = Table.read(
    stilts("tpipe", f"in={path}", "cmd=meta Name Units UCD", "ofmt=csv"),
    format="ascii.csv",
  )
  assert {
    row["Name"]: str(row["UCD"])
    for row in meta
    if row["UCD"] is not np.ma.masked
  } == {old.name: old.meta["ucd"] for old in table.columns.values() if old.meta}
  values = pd.read_csv(
    io.StringIO(stilts("tpipe", f"in={path}", "ofmt=csv")),
    dtype={"other id": "Int64"},
  )
  assert list(values["objID"]) == list(table["objID"])
  assert list(values["other id"].isna()) == predicted.MISSING.tolist()
  assert list(values["oh_p50_pred"].isna()) == predicted.MISSING.tolist()


def test_stilts_finds_nothing_wrong_in_a_votable(tmp_path, stilts):
  table = writer.join(predicted.make_input(), predicted.make_columns())
  table["infinite"] = [np.inf, -np.inf, 0.0, np.nan]
  table["truth"] = [True, False, True, True]
  table["maybe"] = MaskedColumn(table["truth"], mask=predicted.MISSING)
  table["one"] = ["a", "", "b", "c"]
  table["array"] = np.arange(8).reshape(4, 2)
  predicted.write(tmp_path / "out.vot", table)
  assert stilts("votlint", tmp_path / "out.vot") == ""
