"""Errors in the data, which the user can correct."""


class DataError(ValueError):
  """A catalogue, an image or a label is invalid."""


class LabelError(DataError):
  """A metallicity is missing or impossible."""
