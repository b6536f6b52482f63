"""NASLib's encodings without NASLib."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("metad2a_plugin.adapters", reason="adapters are inside the package once it is installed")

CODE = """
import sys

sys.modules["naslib"] = None  # as if it were not installed
from metad2a_plugin.adapters import naslib
from metad2a_plugin.errors import HostError
from metad2a_plugin.spaces.nasbench201.space import NASBench201

space = NASBench201()
for cell in list(space.enumerate())[::40]:
    indices = naslib.to_op_indices(cell)
    assert naslib.from_naslib(indices) == space.parse(indices) == space.parse(str(indices)) == cell
    for form in (list(indices), naslib.to_op_names(cell), naslib.to_one_hot([cell])[0]):
        assert naslib.from_naslib(form) == space.parse(form) == cell
for name in ("search", "to_naslib", "MetaD2AOptimizer"):
    try:
        getattr(naslib, name)
    except HostError as error:
        assert "needs NASLib" in str(error)
    else:
        raise AssertionError(name)
"""


def test_encodings_are_read_where_naslib_is_absent() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
