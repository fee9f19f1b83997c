"""Each form of a piece is equal to the form in use, and lines are complete."""

import dataclasses
import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import forms
from benchmarks import layer_forms
from benchmarks import pieces
from benchmarks import steps
from galmet_jax.devices import sharding
from galmet_jax.devices.cpu import xla

KEYS = [
  "name",
  "variant",
  "device",
  "dtype",
  "batch",
  "forward_ms",
  "forward_ratio",
  "forward_ratio_range",
  "forward_error",
  "gradient_ms",
  "gradient_ratio",
  "gradient_ratio_range",
  "gradient_error",
  "temp_bytes",
]
VARIANTS = {
  "stem": ["in_use", "channels_4", "channels_8", "space_to_depth"],
  "max_pool": ["in_use", "reduce_window", "nine_slices"],
  "batch_norm_stem": ["in_use", "flax", "plain_sums"],
  "batch_norm_stage3": ["in_use", "flax", "plain_sums"],
  "convolution_stage1": ["in_use", "direct", "default_options"],
  "convolution_stage2": ["in_use", "direct", "default_options"],
  "convolution_stage4": ["in_use", "direct", "default_options"],
  "evaluation": ["in_use", "not_folded"],
  "blocks": ["in_use", "not_written", "recomputed"],
  "input_random": ["in_use", "uint8"],
  "input_plain": ["in_use", "not_sampled"],
}
UNTRAINED = ("evaluation", "input_random", "input_plain")


@pytest.fixture(autouse=True)
def _one_step(monkeypatch):
  monkeypatch.setattr(pieces, "_CPU_ROUND_S", 1e-9)
  monkeypatch.setattr(pieces, "_ROUNDS", 2)


def make_config(side=32):
  config = steps.make_config(2, "float32")
  config.model.stage_sizes, config.model.width = (1,), 4
  config.model.head_width = 8
  config.data.crop = side
  return config


@functools.cache
def made():
  return {piece.name: piece for piece in pieces.make(make_config(), True)}


def one_device():
  return sharding.make_mesh(jax.devices()[:1])


def close(found, expected):
  # Of each leaf's largest number: sums are of numbers up to that.
  def compare(a, b):
    scale = np.abs(b).max()
    np.testing.assert_allclose(a / scale, b / scale, rtol=0, atol=2e-5)

  jax.tree.map(compare, found, expected)


# The rest are other sizes of these.
@pytest.mark.parametrize(
  "name",
  [
    name
    for name in VARIANTS
    if name not in ("batch_norm_stage3", "convolution_stage2")
  ],
)
def test_forms_are_equal_and_reported(name, capsys):
  piece, mesh = made()[name], one_device()
  programs = pieces.compile_forms(piece, mesh)
  in_use = programs["in_use"]
  assert (in_use.gradient is None) is (name in UNTRAINED)
  for each in programs.values():
    close(each.forward(), in_use.forward())
    if in_use.gradient:
      outputs, gradients = each.gradient()
      close(outputs, in_use.forward())
      close(gradients, in_use.gradient()[1])
  assert not pieces.report(piece, programs, make_config(), jax.devices()[0])
  lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
  assert [line["variant"] for line in lines] == VARIANTS[name]
  for line in lines:
    assert list(line) == KEYS
    assert (line["name"], line["dtype"], line["batch"]) == (name, "float32", 2)
    kinds = ["forward"] if name in UNTRAINED else ["forward", "gradient"]
    for kind in kinds:
      low, high = line[f"{kind}_ratio_range"]
      assert 0 < low <= line[f"{kind}_ratio"] <= high
      assert line[f"{kind}_ms"] > 0
      assert line[f"{kind}_error"] < 1e-4
    if name in UNTRAINED:
      assert line["gradient_ms"] is line["gradient_error"] is None
  assert lines[0]["forward_ratio_range"] == [1, 1]


def test_pieces(monkeypatch):
  forms_of = {name: list(piece.forms) for name, piece in made().items()}
  assert forms_of == VARIANTS
  assert made()["batch_norm_stem"].trained[0].shape == (2, 16, 16, 4)
  assert made()["batch_norm_stage3"].trained[0].shape == (2, 2, 2, 16)
  # XLA's options are of its CPU backend.
  monkeypatch.setattr(layer_forms, "convolutions", None)
  assert len(list(pieces.make(make_config(), False))) == len(VARIANTS) - 3


def traced(form, piece):
  with form.patch():
    # A function of its own, that JAX does not know yet.
    jitted = jax.jit(lambda *arguments: form.function(*arguments))
    return jitted.lower(piece.trained, piece.given).as_text()


@pytest.mark.parametrize(
  ("name", "variant", "what", "in_use", "otherwise"),
  [
    ("stem", "channels_4", "7x7x4x4xf32", False, True),
    ("stem", "channels_8", "7x7x8x4xf32", False, True),
    ("stem", "space_to_depth", "4x4x12x4xf32", False, True),
    ("max_pool", "reduce_window", "stablehlo.reduce_window", False, True),
    ("max_pool", "nine_slices", "optimization_barrier", True, False),
    ("batch_norm_stem", "flax", "optimization_barrier", True, False),
    ("batch_norm_stem", "plain_sums", r"dimensions = \[1\] ", True, False),
    ("evaluation", "not_folded", "multiply .*<7x7x3x4xf32>", True, False),
    ("blocks", "not_written", "optimization_barrier", True, False),
    ("input_random", "uint8", "xui8>", False, True),
    ("input_plain", "not_sampled", "gather", True, False),
  ],
)
def test_forms_differ(name, variant, what, in_use, otherwise):
  piece = made()[name]
  for form, expected in (("in_use", in_use), (variant, otherwise)):
    text = traced(piece.forms[form], piece)
    assert (re.search(what, text) is not None) is expected


def test_direct_convolution_is_another():
  piece = layer_forms.convolution("", make_config(), side=16, channels=128)
  for form, expected in (("in_use", False), ("direct", True)):
    text = traced(piece.forms[form], piece)
    assert ("stablehlo.convolution" in text) is expected


def test_patches_are_taken_back():
  piece, before = made()["blocks"], xla.materialize
  with piece.forms["not_written"].patch():
    assert xla.materialize is not before
  assert xla.materialize is before


def test_only_default_options_are_xlas(monkeypatch):
  def refuse(mesh):
    raise NotImplementedError

  monkeypatch.setattr(xla, "compiler_options", refuse)
  both = made()["convolution_stage1"]
  default = {"default_options": both.forms["default_options"]}
  alone = dataclasses.replace(both, forms=default)
  pieces.compile_forms(alone, one_device())
  with pytest.raises(NotImplementedError):
    pieces.compile_forms(both, one_device())


@pytest.mark.parametrize("shape", [(2, 9, 7, 3), (1, 7, 8, 3)])
def test_odd_images(shape):
  rng = np.random.default_rng(3)
  kernel = jnp.asarray(rng.normal(size=(7, 7, 3, 4)), jnp.float32)
  x = jnp.asarray(rng.normal(size=shape), jnp.float32)
  variants = layer_forms.stem(make_config()).forms
  expected = variants["in_use"].function(kernel, x)
  assert expected.shape[1:3] == ((shape[1] + 1) // 2, (shape[2] + 1) // 2)
  for name in ("channels_4", "channels_8"):
    close(variants[name].function(kernel, x), expected)
  with pytest.raises(ValueError, match=rf"{shape[1]}×{shape[2]} .* even sides"):
    variants["space_to_depth"].function(kernel, x)


def test_max_pool_of_odd_maps():
  piece = layer_forms.max_pool(make_config(13))
  assert piece.trained.shape == (2, 7, 7, 4)
  weights = np.random.default_rng(0).normal(size=(2, 4, 4, 4))

  @jax.jit
  def apply(x):
    pulled = [jax.vjp(lambda x, f=f: f.function(x, None), x) for f in variants]
    return [(y, back(jnp.float32(weights))[0]) for y, back in pulled]

  variants = list(piece.forms.values())
  in_use, *others = apply(piece.trained)
  assert len(others) == 2
  for other in others:
    close(other, in_use)


def test_no_window_has_equal_maxima():
  x = layer_forms.max_pool(make_config(26)).trained
  windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))
  windows = np.sort(windows.reshape(-1, 9), -1)
  assert (np.diff(windows) > 0).all()


def test_difference():
  expected = {"a": np.array([1.0, -3.0]), "b": np.array([2.0])}
  found = {"a": np.array([1.5, -3.5]), "b": np.array([2.0])}
  assert pieces.difference(found, expected) == 0.25
  found["b"] = np.array([np.nan])
  assert np.isnan(pieces.difference(found, expected))


@pytest.mark.parametrize("error", [0.01, np.nan])
def test_a_wrong_form_is_told(error, monkeypatch, capsys):
  def wrong(_, x):
    return x + error

  piece = forms.Piece(
    "sum",
    None,
    np.ones((2, 2), np.float32),
    {"in_use": forms.Form(lambda _, x: x), "wrong": forms.Form(wrong)},
  )
  right = dataclasses.replace(piece, forms={"in_use": piece.forms["in_use"]})
  monkeypatch.setattr("sys.argv", ["pieces"])
  monkeypatch.setattr(pieces, "make", lambda *_: [piece, right])
  with pytest.raises(SystemExit, match=r"sum, wrong: forward_error is (0|nan)"):
    pieces.main()
  # To the end nevertheless.
  assert len(capsys.readouterr().out.splitlines()) == 3
  monkeypatch.setattr(pieces, "make", lambda *_: [right])
  pieces.main()
