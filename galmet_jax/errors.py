"""The errors that a user mends in a config or a command."""


class ConfigError(ValueError):
  """A config that contradicts itself, the devices, or the run it goes on."""


class NoCheckpointError(FileNotFoundError):
  """There is nothing to evaluate."""
