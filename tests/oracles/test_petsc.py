"""PETSc: matrices that its ranks build, shells, and files that it loads, against products of the maps."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import convmtx as cm
from convmtx.interop.petsc import _own

#: Debian's petsc4py, its Python, and packages for NumPy 1 beside it (.ci/run installs both).
PACKAGES = [*map(str, Path("/usr/lib/petscdir").glob("petsc64-*/*-real/lib/python3/dist-packages"))]
BESIDE = os.environ.get("CONVMTX_PETSC")
PROGRAM = Path(__file__).with_name("petsc_products.py")
PYTHON = "/usr/bin/python3"
installed = pytest.mark.skipif(
    not (PACKAGES and BESIDE and shutil.which("mpiexec")), reason="PETSc is not installed, or CONVMTX_PETSC is not set"
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of the program's maps; PETSc of 64 bits reads indices of 64 bits."""
    folder = tmp_path_factory.mktemp("petsc")
    for name, op in maps().items():
        cm.save(op, folder / f"{name}.petsc", index="int64")
        cm.save(op, folder / f"{name}.h5")
    return folder


def maps():
    """The maps of the program, without PETSc."""
    text = PROGRAM.read_text()
    space = {"np": np, "cm": cm}
    exec(text[text.index("rng =") : text.index("def whole")], space)
    return space["MAPS"]


@installed
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_products_by_petsc(files, ranks):
    path = [BESIDE, *PACKAGES, str(Path(cm.__file__).parents[1])]  # beside which NumPy 2 may be
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **allowed, "PYTHONPATH": os.pathsep.join(path)}
    command = ["mpiexec", "--oversubscribe", "-n", str(ranks), PYTHON, PROGRAM, files]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{ranks} ranks, 7 maps\n"


@pytest.fixture
def petsc(monkeypatch):
    """What refusals ask of PETSc: its types."""
    types = SimpleNamespace(ScalarType=np.float64, IntType=np.int32)
    monkeypatch.setitem(sys.modules, "petsc4py", SimpleNamespace(PETSc=types))
    monkeypatch.setitem(sys.modules, "petsc4py.PETSc", types)
    return types


def test_what_petsc_does_not_have_is_refused(petsc):
    with pytest.raises(cm.ArgumentTypeError, match=r"to_petsc: op is an int. Expected a map"):
        cm.to_petsc(3)
    with pytest.raises(cm.ArgumentTypeError, match="built for real numbers"):
        cm.to_petsc(cm.conv([1j], 4))
    with pytest.raises(cm.ArgumentError, match="indices of 32 bits"):
        cm.to_petsc(cm.conv([1.0], 1 << 32))


def test_a_petsc4py_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "petsc4py", None)
    with pytest.raises(cm.MissingExtraError, match="petsc"):
        cm.to_petsc(cm.conv([1.0], 4))


@pytest.mark.parametrize("total", [0, 1, 7, 12])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_every_row_has_one_rank(total, count):
    assert [row for rank in range(count) for row in _own(total, rank, count)] == list(range(total))
