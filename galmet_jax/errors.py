"""The error that a user mends in the config."""


class ConfigError(ValueError):
  """A config that contradicts itself, the devices, or the run it goes on."""
