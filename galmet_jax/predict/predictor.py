"""A trained run or ensemble that predicts, without its training data."""

from collections.abc import Sequence
import dataclasses
import pathlib

from astropy import coordinates
import astropy.table
import numpy as np

from galmet_jax import workdir as workdir_lib
from galmet_jax.baselines import image_features
from galmet_jax.baselines import on_features
from galmet_jax.calibration import calibration
from galmet_jax.calibration import image_statistics
from galmet_jax.predict import flags as flags_lib
from galmet_jax.predict import inputs
from galmet_jax.predict import networks as networks_lib
from galmet_jax.predict.flags import Flag
from galmet_jax.tables import new_columns
from galmet_jax.tables import writer
from tfds_sdss import images as images_lib
from tfds_sdss import sample_info
from tfds_sdss.errors import DataError
from tfds_sdss.own import user_tables

_SAME_PLACE = 2.0  # arcsec
_MAX_BLACK = 0.5


@dataclasses.dataclass(frozen=True)
class Predictor:
  """A trained run or ensemble, and its calibration.

  Attributes:
    networks: the networks.
    calibration: calibration of the mean of their predictions.
    info: bands, scale and size of the images; units of the targets.
  """

  networks: networks_lib.Networks
  calibration: calibration.Calibration
  info: sample_info.Info

  @classmethod
  def load(cls, folder: str | pathlib.Path) -> "Predictor":
    """Reads a run or an ensemble; changes nothing in its folder.

    Args:
      folder: `--workdir` of the training.

    Raises:
      NoCheckpointError: if there is no trained run.
      ConfigError: if it has no calibration, or that of another checkpoint.
      CheckpointError, DamagedFileError: if a file cannot be read.
    """
    folder = pathlib.Path(folder)
    if not (folder / "fold_0").is_dir():
      workdir_lib.check_has_checkpoint(folder)
    found = calibration.Calibration.load(folder)
    return cls(
      networks_lib.Networks.load(folder, found.facts),
      found,
      sample_info.parse(found.facts["sample"]),
    )

  def predict(
    self, images: np.ndarray, ids: Sequence[int | str] | None = None
  ) -> astropy.table.Table:
    """Predicts images.

    Args:
      images: uint8 `[N, S, S, 3]` with the bands and the scale of `info`.
      ids: N ids, which choose the random views and are looked up among the
        training galaxies; None: the views depend on the pixels.

    Returns:
      A table with a row for each image, see docs/predict.md.

    Raises:
      ValueError: if the images have another shape or type.
    """
    size = self.info.image_size
    if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
      raise ValueError(
        f"expected images uint8 [N, {size}, {size}, 3], found {images.dtype} "
        f"{list(images.shape)}."
      )
    numbers = None
    if ids is not None:
      texts = [str(each) for each in ids]
      numbers = user_tables.numbers_of_ids(texts)
    values = self.compute(images, numbers, np.zeros(len(images), np.int32))
    values["flags"] |= duplicates(values.pop("key"))
    return writer.join(
      astropy.table.Table(), self.columns(values, {}, unshrink=False)
    )

  def predict_catalog(
    self,
    table: astropy.table.Table,
    images: str | pathlib.Path = "",
    columns: str = "",
    *,
    prefix: str = "",
    unshrink: bool = False,
    features: bool = False,
  ) -> astropy.table.Table:
    """Predicts the galaxies of a table, whose images are files.

    Args:
      table: N rows, with a column of file names or of ids.
      images: folder of the images; default: the working directory.
      columns: `ROLE=COLUMN,...`, as `--columns`.
      prefix: what the names of the new columns begin with.
      unshrink: whether to add the linearly calibrated predictions.
      features: whether to add ring colours, shape and noise of the images.

    Returns:
      The table and the columns of docs/predict.md; a row without a usable image
      has NaN and a flag.

    Raises:
      ConfigError: if the folder is absent, or a new column's name is taken.
      DataError: if the table has no rows, or a column is absent or invalid.
    """
    if not len(table):
      raise DataError("expected a table with rows, found none. Give others.")
    rows = inputs.read_table(table, columns, str(images), needs_images=True)
    parts: list[dict[str, np.ndarray]] = []
    details: dict[int, str] = {}
    for start in range(0, len(rows), inputs.CHUNK):
      stop = min(start + inputs.CHUNK, len(rows))
      part = np.arange(start, stop)
      pixels, flags, found = rows.read(part, self.info.image_size)
      parts.append(
        self.compute(
          pixels,
          rows.ids[part],
          flags,
          rows.positions[part],
          features=features,
        )
      )
      details |= {start + row: text for row, text in found.items()}
    values = {
      name: np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
    values["flags"] |= duplicates(rows.ids) | duplicates(values.pop("key"))
    new = self.columns(values, details, unshrink=unshrink)
    return writer.join(table, new, prefix)

  def compute(
    self,
    images: np.ndarray,
    ids: np.ndarray | None,
    flags: np.ndarray,
    positions: np.ndarray | None = None,
    *,
    features: bool = False,
  ) -> dict[str, np.ndarray]:
    """Predicts images, some of which may be absent.

    Args:
      images: uint8 `[N, S, S, 3]`, zero where absent.
      ids: int64 `[N]`, -1 where unknown; or None.
      flags: known flags, int32 `[N]`.
      positions: ra and dec, degrees, float64 `[N, 2]`, NaN where unknown.
      features: whether to compute the image features.

    Returns:
      `flags`, `ood_p` and `key` (a hash of the pixels), `[N]` each; `pred`,
      `tta_std` and `member_std`, `[N, T]` each; `features` `[N, 45]` if wanted.
    """
    flags = flags.astype(np.int32)
    black = np.array(list(map(images_lib.black_fraction, images))) > _MAX_BLACK
    flags |= np.where(black & (flags & flags_lib.NO_VALUE == 0), Flag.BLACK, 0)
    usable = flags & flags_lib.NO_VALUE == 0
    key = np.array([_hash(image) for image in images], np.int64)
    if ids is None:
      ids = np.full(len(images), -1, np.int64)
    known = np.isin(ids, self.calibration.training.objid)
    flags |= np.where(known, Flag.IN_TRAINING, 0)
    ids = np.where(ids < 0, key, ids)
    if positions is not None:
      flags |= np.where(self._trained_at(positions), Flag.IN_TRAINING, 0)
    # [M, V, N, T]; in double precision, so that equal values have no scatter.
    found = self.networks.predict(images, ids).astype(np.float64)
    models = self.calibration.feature_models
    of_images = np.empty((len(images), 0))
    if features or models:
      of_images = image_features.compute(images)
    if models:
      weight = self.calibration.facts["eval"]["gp_svr_weight"]
      found = on_features.mix(found, of_images, models, weight)
    of_member = found.mean(1)
    single = len(found) == 1
    values = {
      "pred": of_member.mean(0),
      "tta_std": found.mean(0).std(0),
      "member_std": of_member.std(0, ddof=0 if single else 1),
    }
    if features:
      values["features"] = of_images
    for name, each in values.items():
      values[name] = np.where(usable[:, None], each, np.nan)
    model = self.calibration.images
    p = np.full(len(images), np.nan)
    if usable.any():
      # All images, so that a row's numbers do not depend on the others.
      p = model.p_values(image_statistics.compute(images))
      p[~usable] = np.nan
    flags |= flags_lib.of_predictions(self.calibration, p, values["pred"])
    has_image = flags & (flags_lib.NO_VALUE & ~Flag.BLACK) == 0
    key = np.where(has_image, key, -1)
    return {"flags": flags.astype(np.int32), "ood_p": p, "key": key, **values}

  def columns(
    self,
    values: dict[str, np.ndarray],
    details: dict[int, str],
    *,
    unshrink: bool,
  ) -> list[new_columns.Column]:
    """Returns the columns of a table, with intervals, for `compute`'s values.

    Args:
      values: by name, `[N]` or `[N, T]`; other columns of galaxies are kept.
      details: by row, what was found instead of an image.
      unshrink: whether to add the linearly calibrated predictions.
    """
    columns = []
    for i, target in enumerate(self.calibration.targets):
      predicted = values["pred"][:, i]
      known = np.isfinite(predicted)
      of_target = {"pred": predicted, "tta_std": values["tta_std"][:, i]}
      for level, names in calibration.INTERVALS.items():
        bounds = target.residuals.bounds(np.nan_to_num(predicted), level)
        for name, bound in zip(names, bounds, strict=True):
          of_target[f"pred_{name}"] = np.where(known, bound, np.nan)
      of_target["pred_err"] = (
        of_target["pred_p84"] - of_target["pred_p16"]
      ) / 2
      if len(self.networks.variables) > 1:
        of_target["member_std"] = values["member_std"][:, i]
      if unshrink:
        of_target["pred_unshrunk"] = target.unshrink(predicted)
      columns += new_columns.for_target(
        target.name, self.unit(target.name), of_target
      )
    text = flags_lib.describe(values["flags"], details)
    of_galaxy = {
      name: each
      for name, each in values.items()
      if name not in ("pred", "tta_std", "member_std", "key", "features")
    }
    columns += new_columns.for_galaxies({**of_galaxy, "flag_text": text})
    if "features" in values:
      columns += new_columns.for_features(values["features"])
    return columns

  def unit(self, target: str) -> str:
    """Returns the unit of a target; empty if it has none."""
    column = self.info.by_name.get(target)
    return column.unit if column else ""

  def _trained_at(self, positions: np.ndarray) -> np.ndarray:
    """Whether a training galaxy lies within 2 arcsec, bool `[N]`."""
    near = np.zeros(len(positions), bool)
    trained = self.calibration.training.degrees
    known = np.isfinite(positions).all(1) & (np.abs(positions[:, 1]) <= 90)
    if len(trained) and known.any():
      there = coordinates.SkyCoord(*trained.T, unit="deg")
      here = coordinates.SkyCoord(*positions[known].T, unit="deg")
      _, separation, _ = here.match_to_catalog_sky(there)
      near[known] = separation.arcsec <= _SAME_PLACE
    return near


def duplicates(keys: np.ndarray) -> np.ndarray:
  """Returns the flag of rows whose key another row has, int32 `[N]`.

  Args:
    keys: int64 `[N]`; negative where unknown.
  """
  _, index, counts = np.unique(keys, return_inverse=True, return_counts=True)
  same = (counts[index] > 1) & (keys >= 0)
  return np.where(same, Flag.DUPLICATE, 0).astype(np.int32)


def _hash(image: np.ndarray) -> int:
  return user_tables.hash_bytes(image.tobytes())
