"""A data set can be built from the staging folder of the benchmarks."""

from benchmarks import staging_folder
from tfds_sdss import build
from tfds_sdss import verify


def test_staging_folder_can_be_built(tmp_path, monkeypatch):
  monkeypatch.setattr(staging_folder, "_NUM_MOCKS", 3)
  folder = staging_folder.make(tmp_path / "staging", 60)
  entries = folder.read_manifest()
  assert len(entries) == 60
  assert all(folder.has_image(entry) for entry in entries.values())
  # A second call changes nothing.
  assert staging_folder.make(folder.root, 60).root == folder.root
  data_dir = str(tmp_path / "data")
  builder = build.build("dr17", data_dir, str(folder.root))
  assert builder.info.splits.total_num_examples == 60
  assert verify.verify("dr17", data_dir).problems == []
