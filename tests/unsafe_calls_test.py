"""The code never runs what it reads: no pickle, no eval, no shell.

The sources are parsed instead of run, because some calls need packages that
are not installed, such as PyTorch.
"""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = [
  ROOT / "main.py",
  *sorted((ROOT / "configs").rglob("*.py")),
  *sorted((ROOT / "galmet_jax").rglob("*.py")),
  *sorted((ROOT / "tfds_sdss").rglob("*.py")),
]
# Modules whose files or strings can hold code.
_MODULES = {
  "cloudpickle",
  "cPickle",
  "dill",
  "joblib",
  "jsonpickle",
  "marshal",
  "pickle",
  "shelve",
}
_BUILTINS = {"__import__", "compile", "eval", "exec"}
_FUNCTIONS = {
  "os.popen",
  "os.system",
  "pandas.read_pickle",
  "pd.read_pickle",
  "subprocess.getoutput",
  "subprocess.getstatusoutput",
  "yaml.full_load",
  "yaml.load",
  "yaml.load_all",
  "yaml.unsafe_load",
}


def unsafe(source: str) -> list[str]:
  """Returns the lines of a source that can run code from a file or string."""
  tree = ast.parse(source)
  found = [node for node in ast.walk(tree) if _is_unsafe(node)]
  lines = source.splitlines()
  return [f"{node.lineno}: {lines[node.lineno - 1].strip()}" for node in found]


def _is_unsafe(node: ast.AST) -> bool:
  if isinstance(node, ast.Import):
    return any(_root(alias.name) in _MODULES for alias in node.names)
  if isinstance(node, ast.ImportFrom):
    module = node.module or ""
    names = {f"{module}.{alias.name}" for alias in node.names}
    # `from torch import load` would hide the call from the test below.
    hidden = _FUNCTIONS | {"torch.load", "numpy.load"}
    return _root(module) in _MODULES or bool(names & hidden)
  if not isinstance(node, ast.Call):
    return False
  name = ast.unparse(node.func)
  given = {keyword.arg: keyword.value for keyword in node.keywords}
  return (
    name in _BUILTINS
    or name in _FUNCTIONS
    or (name == "torch.load" and not _is(given.get("weights_only"), True))
    or ("allow_pickle" in given and not _is(given["allow_pickle"], False))
    or ("shell" in given and not _is(given["shell"], False))
    # Keywords that the source does not show.
    or (None in given and name in ("np.load", "numpy.load", "torch.load"))
  )


def _root(module: str) -> str:
  return module.partition(".")[0]


def _is(node: ast.AST | None, value: bool) -> bool:
  return isinstance(node, ast.Constant) and node.value is value


@pytest.mark.parametrize(
  "path", SOURCES, ids=lambda x: str(x.relative_to(ROOT))
)
def test_no_source_has_an_unsafe_call(path):
  assert unsafe(path.read_text(encoding="utf-8")) == []


def test_reader_of_pth_files_is_among_the_sources():
  text = (ROOT / "galmet_jax" / "models" / "weight_files.py").read_text()
  assert "torch.load(" in text
  assert unsafe(text.replace("weights_only=True", "weights_only=False"))
  assert unsafe(text.replace(", weights_only=True", ""))


@pytest.mark.parametrize(
  "line",
  [
    "import pickle",
    "import numpy, pickle as p",
    "from pickle import loads",
    "from torch import load",
    "from numpy import load",
    "from os import system",
    "eval(text)",
    "exec(text)",
    "yaml.load(text)",
    "yaml.unsafe_load(text)",
    "pd.read_pickle(path)",
    "os.system(text)",
    "subprocess.run(text, shell=True)",
    "subprocess.run(text, shell=flag)",
    "np.load(path, allow_pickle=True)",
    "np.load(path, allow_pickle=flag)",
    "np.load(path, **options)",
    "torch.load(path)",
    "torch.load(path, weights_only=False)",
    "torch.load(path, weights_only=flag)",
  ],
)
def test_unsafe_calls_are_found(line):
  assert unsafe(f"def f():\n  {line}\n") == [f"2: {line}"]


@pytest.mark.parametrize(
  "line",
  [
    "re.compile(text)",
    "step.lower(x).compile()",
    "np.load(path)",
    "np.load(path, allow_pickle=False)",
    "subprocess.run([program, text])",
    "torch.load(path, map_location='cpu', weights_only=True)",
  ],
)
def test_safe_calls_are_not(line):
  assert unsafe(line) == []
