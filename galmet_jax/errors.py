"""Errors that the user can correct in a config or a command."""


class ConfigError(ValueError):
  """A config contradicts itself, the data, the devices or its workdir."""


class NoCheckpointError(FileNotFoundError):
  """The workdir holds no checkpoint."""


class CheckpointError(OSError):
  """A checkpoint cannot be read or written, or no undamaged one is left."""
