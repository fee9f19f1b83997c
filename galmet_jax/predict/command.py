"""The command `--mode=predict`: a table of galaxies with predictions."""

import contextlib
import datetime
import pathlib
from typing import Any

import jax
import numpy as np

from galmet_jax import errors
from galmet_jax import progress
from galmet_jax.baselines import image_features
from galmet_jax.predict import chunks
from galmet_jax.predict import flags as flags_lib
from galmet_jax.predict import inputs
from galmet_jax.predict.predictor import Predictor
from galmet_jax.predict.predictor import duplicates
from galmet_jax.predict_flags import Request
from galmet_jax.tables import writer
import tfds_sdss
from tfds_sdss import beam_shards
from tfds_sdss import files


def predict(run: pathlib.Path, request: Request) -> pathlib.Path:
  """Predicts a table, a folder or a split, and writes a table.

  An interrupted prediction continues: finished chunks are in OUTPUT.chunks
  until the table is written.

  Args:
    run: folder of a run or an ensemble; nothing is changed there.
    request: what to predict.

  Returns:
    The path of the table.

  Raises:
    ConfigError, DataError: if the run, the input or the output cannot be used.
    FolderInUseError: if another process writes the same output.
  """
  if jax.process_count() > 1:
    raise errors.ConfigError(
      "--mode=predict: expected one process, found "
      f"{jax.process_count()}. For several machines give --beam_runner."
    )
  output = _check_output(request)
  _check_page(request)
  model = Predictor.load(run)
  rows = inputs.read(
    request.input,
    request.columns,
    request.images,
    request.data_dir or model.networks.config.data.data_dir,
    needs_images=not request.fetch,
  )
  writer.check_table(output, rows.table)
  # Names that collide are found before the work.
  empty = _no_values(model, len(rows), features=request.features)
  _join(model, rows, empty, {}, request)
  if request.fetch:
    # A slow import.
    from galmet_jax.predict import positions as positions_lib

    place = request.images or f"{output}.cutouts"
    positions_lib.fetch(
      rows, model.info, request, pathlib.Path(place).expanduser()
    )
  folder = output.with_name(f"{output.name}.chunks")
  is_split = request.input.startswith("tfds:")
  # Beam's workers have another working directory.
  job = chunks.Job(
    str(run.absolute()),
    str(folder.absolute()),
    len(rows),
    request.input if is_split else "",
    request.data_dir or model.networks.config.data.data_dir,
    request.features,
  )
  with files.lock(folder):
    chunks.prepare(job, rows, _settings(model))
    _compute(job, request)
    values, details = job.join()
    values["flags"] |= _repeated(rows, values.pop("key"))
    joined = _join(model, rows, {**values, **rows.extra}, details, request)
    writer.write(output, joined, _header(model, run))
    if request.page:
      _write_page(model, rows, values, details, request)
  chunks.remove(job)
  _print_summary(values["flags"], output)
  if request.page:
    print(f"Wrote {request.page}: open it in a browser.")
  return output


def _check_output(request: Request) -> pathlib.Path:
  output = files.local_path(request.output, "--output")
  writer.check_path(output)
  if not request.input.startswith("tfds:"):
    with contextlib.suppress(OSError):
      if output.samefile(pathlib.Path(request.input).expanduser()):
        raise errors.ConfigError(
          f"--output={output}: expected another file than the input, which "
          "would be overwritten. Give another name."
        )
  return output


def _check_page(request: Request) -> None:
  if not request.page:
    return
  path = files.local_path(request.page, "--page")
  if path.suffix != ".html" or not path.parent.is_dir() or path.is_dir():
    raise errors.ConfigError(
      f"--page={path}: expected a file whose name ends in .html, in a folder "
      "that exists. Give another name."
    )


def _write_page(
  model: Predictor,
  rows: inputs.Rows,
  values: dict[str, np.ndarray],
  details: dict[int, str],
  request: Request,
) -> None:
  # A slow import.
  from galmet_jax.predict import prediction_page

  path = files.local_path(request.page, "--page")
  new = model.columns(values, details, unshrink=False)
  facts = f"Input: {request.input}. Table with all columns: {request.output}."
  columns = {column.name: column.values for column in new}
  prediction_page.write(path, model, rows, columns, facts)


def _compute(job: chunks.Job, request: Request) -> None:
  left = [start for start in job.starts() if not job.is_done(start)]
  done = job.total - sum(min(chunks.SIZE, job.total - start) for start in left)
  if done:
    print(f"Continuing: {done:,} of {job.total:,} rows are predicted.")
  tasks = [chunks.Task(job, start) for start in left]
  if request.beam_runner or request.beam_options:
    options = beam_shards.pipeline_options(request.beam_options)
    beam_shards.run(chunks.compute, tasks, request.beam_runner, options)
    return
  bar = progress.bar(
    total=job.total, initial=done, desc="predict", unit="image"
  )
  with bar:
    for task in tasks:
      bar.update(chunks.compute(task))


def _repeated(rows: inputs.Rows, keys: np.ndarray) -> np.ndarray:
  """Returns the flag of rows with the same id or image as another."""
  return duplicates(rows.ids) | duplicates(keys)


def _no_values(
  model: Predictor, number: int, *, features: bool
) -> dict[str, np.ndarray]:
  shape = (number, len(model.calibration.targets))
  empty = np.full(shape, np.nan)
  values = {
    **dict.fromkeys(("pred", "tta_std", "member_std"), empty),
    "ood_p": empty[:, 0],
    "flags": np.zeros(number, np.int32),
  }
  if features:
    shape = (number, len(image_features.FEATURES))
    values["features"] = np.full(shape, np.nan)
  return values


def _join(model, rows, values, details, request: Request):
  columns = model.columns(values, details, unshrink=request.unshrink)
  return writer.join(rows.table, columns, request.prefix)


def _settings(model: Predictor) -> dict[str, Any]:
  return {
    "checkpoint": model.calibration.facts["checkpoint"],
    "eval": model.calibration.facts["eval"],
    "jax": jax.__version__,
    "devices": model.networks.mesh.size,
  }


def _header(model: Predictor, run: pathlib.Path) -> dict[str, Any]:
  found, info = model.calibration, model.info
  first = found.targets[0]
  return {
    "RUN": run.absolute().name,
    "CKPTSHA": found.facts["checkpoint"],
    "CFGSHA": model.networks.config_digest,
    "SWNAME": "galmet_jax",
    "SWVER": tfds_sdss.__version__,
    "JAXVER": jax.__version__,
    "DATE": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    "DATASET": found.facts["data"]["name"],
    "FIELD": info.describe_images(),
    "TARGET": ",".join(target.name for target in found.targets),
    "VIEWS": found.facts["eval"]["tta"],
    "NMEMBER": len(model.networks.variables),
    "NCAL": len(first.residuals),
    "NBINS": len(first.residuals.counts),
    "OODLEVEL": found.images.level,
    "LCCA": first.line[0],
    "LCCB": first.line[1],
  }


def _print_summary(flags: np.ndarray, output: pathlib.Path) -> None:
  predicted = int((flags & flags_lib.NO_VALUE == 0).sum())
  print(f"{predicted:,} of {len(flags):,} rows have a prediction.")
  for flag, meaning in flags_lib.MEANINGS.items():
    number = int((flags & flag != 0).sum())
    if number:
      print(f"  {flag.name} ({flag.value}): {number:,} rows: {meaning}")
  print(f"Wrote {output}.")
