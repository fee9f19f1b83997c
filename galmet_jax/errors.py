"""Errors that the user can correct in a config or a command."""

from tfds_sdss import files


class ConfigError(ValueError):
  """A config contradicts itself, the data, the devices or its workdir."""


class NoCheckpointError(FileNotFoundError):
  """The workdir holds no checkpoint."""


class CheckpointError(OSError):
  """A checkpoint cannot be read or written, or no undamaged one is left."""


def describe(error: Exception) -> str | None:
  """Returns the message of an error that a user can mend; None for others."""
  if type(error).__module__.startswith(("galmet_jax", "tfds_sdss")):
    return str(error)
  if isinstance(error, OSError):
    return files.describe(error)
  if isinstance(error, MemoryError):
    return "The memory is full. Lower --config.train.batch_size."
  # JAX's class is not imported: errors of the flags must not wait for JAX.
  if "RESOURCE_EXHAUSTED" in str(error):
    first = str(error).partition("\n")[0]
    return f"{first}. Lower --config.train.batch_size and eval.batch_size."
  return None
