"""Export of a run for other programs (`--mode=export`)."""

from collections.abc import Iterator
import contextlib
import hashlib
import pathlib
from typing import Any

import jax
from jax import export as jax_export
import jax.numpy as jnp
import ml_collections

from galmet_jax import errors
from galmet_jax import workdir as workdir_lib
from galmet_jax.data import augment
from galmet_jax.data import dataset
from galmet_jax.devices import processes
from galmet_jax.devices.cpu import xla
from galmet_jax.export import model_card
from galmet_jax.models import pretrained
from galmet_jax.models import resnet
from galmet_jax.run import Run
from galmet_jax.train_state import TrainState
from tfds_sdss import files

_CANONICAL = "jax_hlo_source_file_canonicalization_regex"
_PLATFORMS = ("cpu", "cuda", "tpu")


def export(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> pathlib.Path:
  """Writes the network that `eval.checkpoint` selects.

  The files are predict.jaxexp (`serialize`), weights.safetensors
  (`pretrained.to_torchvision` documents its names; not for a network that
  torchvision does not have) and the model card README.md.

  Returns:
    The folder of the files: the workdir if it can be written.

  Raises:
    ConfigError: if the card would replace files that are not cards, or the
      predictions are not those of the network alone.
    NoCheckpointError: if there is no checkpoint.
  """
  weight = config.eval.gp_svr_weight
  if weight:
    raise errors.ConfigError(
      f"eval.gp_svr_weight is {weight}; expected 0, since the exported files "
      "hold the network alone. Add --config.eval.gp_svr_weight=0, first with "
      "--mode=evaluate."
    )
  workdir_lib.check_has_checkpoint(workdir)
  run = Run.prepare(config, workdir, read_only=True)
  state = run.trained_state()
  processes.on_first(lambda: _write(run, state))
  return run.results


def _write(run: Run, state: TrainState) -> None:
  # Before anything is written: it raises an error if no name is free.
  card = model_card.choose_path(run.results)
  if card.name != model_card.NAMES[0]:
    print(
      f"{run.results / model_card.NAMES[0]} is not as an export wrote it, and "
      f"is kept: the card is {card.name}."
    )
  variables = jax.device_get(state.variables)
  frame = augment.make_frame(run.config.data, run.config.eval.bands)
  size = dataset.describe(run.config).image_size
  function = run.results / "predict.jaxexp"
  files.write_atomically(function, serialize(run.model, variables, frame, size))
  written = [function]
  if run.config.model.network == "resnet":
    written.append(run.results / "weights.safetensors")
    pretrained.save(variables, written[-1])
  else:
    print(
      f"torchvision has no {run.config.model.network}: weights.safetensors is "
      "left out."
    )
  digests = {
    path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in written
  }
  text = model_card.make(run, int(state.step), digests)
  files.write_atomically(card, text.encode())
  print(
    f"Wrote {', '.join([*digests, card.name])} of step {int(state.step)} to "
    f"{run.results}."
  )


def serialize(
  model: resnet.ResNet, variables: Any, frame: augment.Frame, size: int
) -> bytes:
  """Serialises a network with its weights and the processing of its images.

  Args:
    model: the network.
    variables: its variables, as NumPy arrays.
    frame: the crop, resolution and bands that the network sees.
    size: width and height S of the images, pixels.

  Returns:
    What `jax.export.deserialize` reads: a function of images, uint8
    `[b, S, S, 3]` for any b, that returns predictions for the plain view,
    float32 `[b, T]`, on CPUs, NVIDIA GPUs and TPUs.
  """

  def predict(images):
    # Code for one platform would run on the others, and Winograd's convolution
    # is chosen by the size of the batch, which is not known.
    with xla.tracing_for(None):
      packed = _pack(images)
      views = augment.plain_views(images.shape[0])
      pixels = augment.apply(packed, views, frame)
      return model.apply(variables, pixels, train=False)

  (batch,) = jax_export.symbolic_shape("b")
  images = jax.ShapeDtypeStruct((batch, size, size, 3), jnp.uint8)
  with _names_of_files_only():
    exported = jax_export.export(jax.jit(predict), platforms=_PLATFORMS)(images)
  return bytes(exported.serialize())


@contextlib.contextmanager
def _names_of_files_only() -> Iterator[None]:
  """Keeps the folders of this machine out of the exported program."""
  before = jax.config.values[_CANONICAL]
  jax.config.update(_CANONICAL, ".*/")
  try:
    yield
  finally:
    jax.config.update(_CANONICAL, before)


def _pack(images: jax.Array) -> jax.Array:
  """Computes `augment.pack` with JAX."""
  red, green, blue = jnp.moveaxis(images.astype(jnp.uint32), -1, 0)
  return red | green << 8 | blue << 16
