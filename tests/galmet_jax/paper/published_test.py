import pytest

from galmet_jax.paper import published


def test_published_numbers_are_consistent():
  found = published.REFERENCES
  for worse, better in published.ORDER:
    assert found[worse].rmse > found[better].rmse
  sides, rmse = zip(*published.RESOLUTIONS.items(), strict=True)
  assert list(sides) == sorted(sides, reverse=True)
  assert list(rmse) == sorted(rmse)
  assert published.RESOLUTIONS[128] == found["gri"].rmse
  image, photometry, morphology = (
    found[name].rmse ** -2 for name in ("gri", "random_forest", "r_band")
  )
  ratio = image / (photometry + morphology)
  assert ratio == pytest.approx(published.INFORMATION_RATIO, abs=0.005)
