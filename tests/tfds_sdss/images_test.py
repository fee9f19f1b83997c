import io

import numpy as np
from PIL import Image
import pytest
import simplejpeg

from tests.tfds_sdss import fake_layout
from tfds_sdss import images

OBJID = fake_layout.OBJID
GOOD = fake_layout.jpeg(1)


def with_size(width, height):
  """Returns an image with another size in its header."""
  data = bytearray(GOOD)
  frame = data.index(b"\xff\xc0")
  data[frame + 5 : frame + 7] = height.to_bytes(2, "big")
  data[frame + 7 : frame + 9] = width.to_bytes(2, "big")
  return bytes(data)


def encoded(**options):
  """Returns a JPEG of noise, written by Pillow with these options."""
  pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "JPEG", **options)
  return file.getvalue()


def bad_images():
  return {
    "an empty file": b"",
    "a broken JPEG": GOOD[: len(GOOD) // 2],
    "Premature end of JPEG": GOOD[:-2],
    "a broken JPEG.*Premature": GOOD[:-2] + b"\0\0",
    "text appended": GOOD + b"\n<html>",
    "HTML or XML page": b"<html>No cutouts enabled</html>",
    "the colour mode Gray": fake_layout.jpeg(1, mode="L"),
    "the colour mode CMYK": fake_layout.jpeg(1, mode="CMYK"),
    "64 x 64 pixels": fake_layout.jpeg(1, size=64),
    "128 x 96 pixels": with_size(128, 96),
    "a PNG image": fake_layout.jpeg(1, kind="PNG"),
    "absurd header": with_size(65535, 65535),
    "a JPEG with a broken": b"\xff\xd8\xff" + bytes(range(200)),
    "bytes, more than": GOOD + b"\0" * images.MAX_BYTES,
    "starts with": b"P6 128 128 255 ",
  }


@pytest.mark.parametrize("read", [images.decode, images.check])
@pytest.mark.parametrize("found", bad_images())
def test_bad_images_are_refused(found, read):
  with pytest.raises(images.ImageError, match=f"{OBJID}.*128 x 128.*{found}"):
    read(OBJID, bad_images()[found])


def is_refused(read, data):
  try:
    read(OBJID, data)
  except images.ImageError:
    return True
  return False


@pytest.mark.parametrize(
  "options", [{}, {"subsampling": 0}, {"progressive": True}]
)
def test_check_and_decode_refuse_the_same_images(options):
  good = encoded(**options)
  rng = np.random.default_rng(0)
  refused = 0
  for position in rng.integers(0, len(good), 300):
    data = bytearray(good)
    data[position] ^= 1 << rng.integers(8)
    outcome = is_refused(images.decode, bytes(data))
    assert is_refused(images.check, bytes(data)) == outcome
    refused += outcome
  assert 5 < refused < 295
  assert not is_refused(images.check, good)


def test_missing_bytes_are_refused():
  data = encoded()
  middle = len(data) // 2
  with pytest.raises(images.ImageError, match="a broken JPEG"):
    images.decode(OBJID, data[:middle] + data[middle + 400 :])


@pytest.mark.parametrize(
  "data",
  [
    *(fake_layout.jpeg(seed) for seed in range(4)),
    encoded(),
    encoded(quality=30),
    encoded(subsampling=0),
    encoded(progressive=True),
    encoded(keep_rgb=True),
  ],
)
def test_pixels_equal_those_of_pillow(data):
  with Image.open(io.BytesIO(data)) as image:
    expected = np.asarray(image)
  found = images.decode(OBJID, data)
  assert found.dtype == np.uint8
  np.testing.assert_array_equal(found, expected)


def test_expected_size_can_be_changed():
  assert images.decode(1, fake_layout.jpeg(1, size=64), 64).shape == (64, 64, 3)


def test_decodes_into_an_array():
  pixels = np.zeros((3, 128, 128, 3), np.uint8)
  images.decode(OBJID, GOOD, images.SIZE, pixels[1])
  np.testing.assert_array_equal(pixels[1], images.decode(OBJID, GOOD))
  assert not pixels[0].any()
  assert not pixels[2].any()


def test_size_is_checked_before_decoding(monkeypatch):
  def decode_jpeg(*args, **kwargs):
    raise AssertionError("decoded")

  monkeypatch.setattr(simplejpeg, "decode_jpeg", decode_jpeg)
  with pytest.raises(images.ImageError, match="4000 x 4000"):
    images.decode(OBJID, with_size(4000, 4000))
  with pytest.raises(AssertionError, match="decoded"):
    images.decode(OBJID, GOOD)


def test_black_fraction_counts_zero_pixels():
  pixels = np.ones((10, 20, 3), np.uint8)
  assert images.black_fraction(pixels) == 0
  pixels[:5] = 0
  assert images.black_fraction(pixels) == 0.5
  # A pixel with one non-zero channel is not black.
  pixels[0, :10, 2] = 255
  assert images.black_fraction(pixels) == 0.45
  assert images.black_fraction(np.zeros((4, 4, 3), np.uint8)) == 1


@pytest.mark.parametrize("colour", [(0, 0, 0), (128, 128, 128), (200, 10, 10)])
@pytest.mark.parametrize("noise", [0, 1])
def test_images_of_one_colour_are_refused(colour, noise):
  pixels = np.random.default_rng(0).integers(0, noise + 1, (128, 128, 1))
  image = Image.fromarray((pixels + colour).astype(np.uint8))
  file = io.BytesIO()
  image.save(file, "JPEG", quality=95)
  with pytest.raises(images.ImageError, match="one colour only"):
    images.check(1, file.getvalue())
  # It can be read, so that verify reports it and nothing fails in between.
  images.decode(1, file.getvalue())


def test_plain_fraction_is_that_of_a_corner():
  pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
  assert images.plain_fraction(pixels) == pytest.approx(1 / 64)
  pixels[4:, :, :] = (9, 9, 9)
  assert images.plain_fraction(pixels) == pytest.approx(0.5)
  pixels[-1, :, :] = 7
  pixels[0, :, 0] = 5
  assert images.plain_fraction(pixels) == pytest.approx(1 / 8)


def test_copies_are_counted_by_group():
  groups = {objid: objid // 2 for objid in range(20)}
  copies = images.Copies(groups)
  assert [copies.add(objid, "a") for objid in range(10)] == [
    *(1, 1, 2, 2, 3, 3, 4, 4, 5, 5)
  ]
  copies.add(12, "b")
  assert not copies.refused()
  assert copies.add(0, "a") == 5
  assert copies.add(11, "a") == 6
  assert copies.refused() == {"a"}
