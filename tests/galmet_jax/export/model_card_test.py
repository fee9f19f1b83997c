"""Model cards: metadata, numbers, code, and the files that they may replace."""

import dataclasses
import json

import huggingface_hub
import jax
import numpy as np
import pytest

from galmet_jax import errors
from galmet_jax import evaluate
from galmet_jax import metrics
from galmet_jax import report
from galmet_jax import results
from galmet_jax.data import augment
from galmet_jax.devices import sharding
from galmet_jax.export import card_code
from galmet_jax.export import export
from galmet_jax.export import model_card
from galmet_jax.models import network
from galmet_jax.models import pretrained
from galmet_jax.run import Run
from tests import shrunk
from tests.galmet_jax.export import exporting
from tests.galmet_jax.models import small_networks


@pytest.fixture(scope="module")
def evaluated(mock_data_dir, tmp_path_factory):
  """An evaluated run of two targets: (run, summary)."""
  config, workdir = exporting.untrained(
    mock_data_dir,
    tmp_path_factory.mktemp("evaluated"),
    data__targets=("oh_p50", "lgm_tot_p50"),
  )
  with shrunk.without_figures():
    summary = report.evaluate_only(config, workdir)
  return Run.prepare(config, workdir, read_only=True), summary


def make(run, step=0):
  digests = {"predict.jaxexp": "0ab", "weights.safetensors": "1cd"}
  return model_card.make(run, step, digests)


def test_metadata_is_that_of_the_hub(evaluated, tmp_path):
  run, summary = evaluated
  (tmp_path / "README.md").write_text(make(run))
  card = huggingface_hub.ModelCard.load(tmp_path / "README.md")
  assert card.data.to_dict()["library_name"] == "jax"
  assert "arxiv:1810.12913" in card.data.tags
  found = {
    (result.dataset_split, result.metric_name): result
    for result in card.data.eval_results
  }
  for split in ("validation", "test"):
    for target, key in (
      ("oh_p50", split),
      ("lgm_tot_p50", f"{split}/lgm_tot_p50"),
    ):
      for name in metrics.NAMES:
        result = found.pop((split, f"{name} of {target}"))
        assert result.metric_value == summary[key][name]
        interval = list(result.metric_args["interval_68"])
        assert interval == summary[key][f"{name}_ci68"]
        assert result.dataset_type == "sdss_metallicity/mock"
  assert not found


def test_text_has_the_contract_and_the_numbers(evaluated):
  run, summary = evaluated
  text = make(run)
  block = summary["test/lgm_tot_p50"]
  low, high = block["rmse_ci68"]
  labels = run.data["train"].split.targets[:, 0]
  for expected in (
    "uint8 `[b, 128, 128, 3]`",
    "R, G, B = i, r, g; 5.05 petroR90_r wide",
    "central 96 × 96 pixels, in the bands i, r, g",
    "dex(solMass)",
    f"| {labels.min():.2f} to {labels.max():.2f} |",
    f"| test | `lgm_tot_p50` | {block['n']} | {block['rmse']:.4f} "
    f"({low:.4f} to {high:.4f}) |",
    "at least 6 months",
    "| `predict.jaxexp` | `0ab` |",
    "step 0 of",
    "eprint = {1810.12913}",
    "Predictions shrink to the mean",
  ):
    assert expected in text, expected
  # Folders are those of one machine.
  assert str(run.workdir.parent) not in text


def test_pretrained_weights_are_named_without_their_folder(evaluated):
  run, _ = evaluated
  for source, expected, base in (
    ("/home/somebody/own.safetensors", "| own.safetensors |", None),
    ("timm:resnet34.tv_in1k", "| timm:resnet34.tv_in1k |", "timm/resnet34"),
  ):
    config = run.config.copy_and_resolve_references()
    config.model.pretrained = source
    text = make(dataclasses.replace(run, config=config))
    assert expected in text
    assert "somebody" not in text
    assert (f"base_model: {base}" in text) == bool(base)


def changed(run, **fields):
  config = run.config.copy_and_resolve_references()
  config.update_from_flattened_dict(
    {name.replace("__", "."): value for name, value in fields.items()}
  )
  return dataclasses.replace(run, config=config)


@pytest.mark.parametrize(
  ("step", "fields"),
  [(1, {}), (0, {"eval__tta": "random"}), (0, {"eval__bands": ("r",) * 3})],
)
def test_metrics_of_other_weights_or_views_are_left_out(
  evaluated, step, fields
):
  text = make(changed(evaluated[0], **fields), step)
  assert "None: `summary.json` is not about" in text
  assert "model-index" not in text


def test_damaged_summary_is_not_used(evaluated, tmp_path, capsys):
  run, _ = evaluated
  data = (run.workdir / "summary.json").read_bytes()
  (tmp_path / "summary.json").write_bytes(data.replace(b"0.", b"1.", 1))
  text = make(dataclasses.replace(run, results=tmp_path))
  assert "None: `summary.json` is not about" in text
  assert "The card has no metrics" in capsys.readouterr().out


def test_summary_of_a_read_only_workdir_is_read(evaluated, tmp_path):
  run, summary = evaluated
  text = make(dataclasses.replace(run, results=tmp_path))
  assert f"{summary['test']['rmse']:.4f}" in text


def test_absent_metrics_are_dashes(evaluated, tmp_path):
  run, _ = evaluated
  summary = results.read_summary(run.workdir)
  summary["test"]["r2"] = None
  summary["test"]["r2_ci68"] = [None, None]
  (tmp_path / "summary.json").write_text(json.dumps(summary))
  text = make(dataclasses.replace(run, results=tmp_path))
  assert " | - (- to -) | " in text
  (tmp_path / "README.md").write_text(text)
  card = huggingface_hub.ModelCard.load(tmp_path / "README.md")
  names = [
    result.metric_name
    for result in card.data.eval_results
    if result.dataset_split == "test"
  ]
  assert "r2 of oh_p50" not in names
  assert "r2 of lgm_tot_p50" in names


def test_coverage_of_a_calibration(evaluated, tmp_path):
  run, _ = evaluated
  summary = results.read_summary(run.workdir)
  run = dataclasses.replace(run, results=tmp_path)
  for block in (summary["test"], summary["test/lgm_tot_p50"]):
    block.pop("calibration", None)
  (tmp_path / "summary.json").write_text(json.dumps(summary))
  assert "| level |" not in make(run)
  summary["test"]["calibration"] = {
    "coverage": [
      [0.5, 0.51, 0.3, 0.7],
      [0.68, 0.665, 0.55, 0.8],
      [0.95, None, None, None],
    ]
  }
  (tmp_path / "summary.json").write_text(json.dumps(summary))
  text = make(run)
  assert "| level |" in text
  assert "| test | `oh_p50` | 0.680 | 0.665 | 0.550 | 0.800 |" in text
  assert "| test | `oh_p50` | 0.950 | - | - | - |" in text
  assert "| 0.500 |" not in text


def test_card_of_an_export_is_replaced(evaluated, tmp_path):
  path = tmp_path / "README.md"
  assert model_card.choose_path(tmp_path) == path
  path.write_text(make(evaluated[0]))
  assert model_card.choose_path(tmp_path) == path


@pytest.mark.parametrize(
  "edit",
  [
    lambda text: "My project.\n",
    lambda text: "",
    lambda text: text.replace("library_name: jax", "license: mit", 1),
    lambda text: text + "My notes.\n",
    lambda text: text[: len(text) // 2],
  ],
  ids=["other", "empty", "edited", "appended", "cut"],
)
def test_other_files_are_kept(evaluated, tmp_path, edit):
  path = tmp_path / "README.md"
  text = edit(make(evaluated[0]))
  path.write_text(text)
  second = tmp_path / "MODEL_CARD.md"
  assert model_card.choose_path(tmp_path) == second
  second.write_text(text)
  with pytest.raises(errors.ConfigError, match="Rename one of them"):
    model_card.choose_path(tmp_path)
  assert path.read_text() == text


def test_folders_and_links_are_kept(tmp_path):
  (tmp_path / "README.md").mkdir()
  (tmp_path / "MODEL_CARD.md").symlink_to(tmp_path / "nowhere")
  with pytest.raises(errors.ConfigError, match="would be lost"):
    model_card.choose_path(tmp_path)


def test_export_keeps_a_readme(evaluated, capsys):
  run, _ = evaluated
  readme = run.workdir / "README.md"
  readme.write_text("My folder.\n")
  export.export(run.config, run.workdir)
  assert readme.read_text() == "My folder.\n"
  assert (run.workdir / "MODEL_CARD.md").exists()
  assert "the card is MODEL_CARD.md" in capsys.readouterr().out
  (run.workdir / "MODEL_CARD.md").write_text("Mine as well.\n")
  names = {path.name for path in run.workdir.iterdir()}
  (run.workdir / "predict.jaxexp").unlink()
  with pytest.raises(errors.ConfigError, match="Rename one of them"):
    export.export(run.config, run.workdir)
  # Nothing was written.
  found = {path.name for path in run.workdir.iterdir()}
  assert found == names - {"predict.jaxexp"}


@pytest.mark.parametrize(
  "frame",
  [
    augment.Frame(64, 64),
    augment.Frame(64, 32, ("g", "r", "r")),
  ],
)
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_pytorch_code_computes_the_same(
  frame, block, mock_data_dir, tmp_path, monkeypatch
):
  pytest.importorskip("torch")
  pytest.importorskip("torchvision")
  config = shrunk.config(
    mock_data_dir,
    model__width=64,
    model__block=block,
    data__targets=("oh_p50", "lgm_tot_p50"),
  )
  model = network.from_config(config.model, 2)
  variables = small_networks.drawn(model)
  pretrained.save(variables, tmp_path / "weights.safetensors")
  (tmp_path / "card.md").write_text(card_code.weights(config, frame, 70))
  _, code = exporting.code_blocks(tmp_path / "card.md")
  images = np.random.default_rng(0).integers(0, 256, (3, 70, 70, 3), np.uint8)
  zeros = "np.zeros((2, 70, 70, 3), np.uint8)"
  assert zeros in code
  names = {"own_images": images}
  monkeypatch.chdir(tmp_path)
  exec(code.replace(zeros, "own_images"), names)
  mesh = sharding.make_mesh(jax.devices()[:1])
  step = evaluate.make_eval_step(model, frame, mesh)
  expected = step(variables, augment.pack(images), augment.plain_views(3))
  found = names["predictions"].numpy()
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
  ("fields", "crop"),
  [
    ({"model__width": 8}, 64),
    ({"model__width": 64, "model__stage_sizes": (1, 1)}, 64),
    ({"model__width": 64}, 65),
  ],
)
def test_no_pytorch_code_without_a_network_of_torchvision(fields, crop):
  config = shrunk.config("data", **fields)
  frame = augment.Frame(crop, crop)
  assert "import torch" not in card_code.weights(config, frame, 128)
  config.update_from_flattened_dict(
    {"model.width": 64, "model.stage_sizes": (1, 1, 1, 1)}
  )
  frame = augment.Frame(64, 64)
  assert "import torch" in card_code.weights(config, frame, 128)
