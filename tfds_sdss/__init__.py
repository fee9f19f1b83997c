"""The galaxies: mock and SDSS images with metallicities, as a TFDS set."""

__version__ = "0.2.0"
