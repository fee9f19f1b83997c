"""Features of data sets that come from somebody else."""

import json
import sys

import pytest

from tests.tfds_sdss import fake_staging
from tfds_sdss import build
from tfds_sdss import features


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  folder = tmp_path_factory.mktemp("features")
  staged = fake_staging.write(folder / "staging", fake_staging.table(20))
  return build.build("dr17", str(folder / "data"), str(staged.root)).data_path


@pytest.mark.parametrize("key", ["pythonClassName", "python_class_name"])
def test_foreign_class_is_never_imported(built, tmp_path, monkeypatch, key):
  (tmp_path / "foreign_code.py").write_text("raise SystemExit")
  monkeypatch.syspath_prepend(str(tmp_path))
  path = built / "features.json"
  before = path.read_text()
  content = json.loads(before)
  image = content["featuresDict"]["features"]["image"]
  del image["pythonClassName"]
  image[key] = "foreign_code.Image"
  path.write_text(json.dumps(content))
  with pytest.raises(ValueError, match=r"names 'foreign_code\.Image'"):
    features.open_builder(built)
  path.write_text(json.dumps({"type": "foreign_code.Image", "content": {}}))
  with pytest.raises(build.DatasetNotBuiltError, match="names 'foreign_code"):
    build.load("dr17", str(built.parents[2]))
  assert "foreign_code" not in sys.modules
  path.write_text(before)
  assert features.open_builder(built).info.splits["train"].num_examples


def test_error_of_tfds_is_on_one_line(built):
  path = built / "features.json"
  before = path.read_text()
  path.write_text(before.replace("_datasets.core.", "_datasets.cora.", 1))
  with pytest.raises(build.DatasetNotBuiltError) as error:
    build.load("dr17", str(built.parents[2]))
  path.write_text(before)
  # The lines after it are commands to copy.
  first = str(error.value).splitlines()[0]
  assert "Could not import" in first
  assert "Delete that folder" in first
