"""Samples of galaxies of your own."""
