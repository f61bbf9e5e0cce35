"""A file that keeps the rates of this machine: where it is, what it says, and when it is not used.

The file is JSON, and it is not trusted: a file that is damaged, or whose numbers no machine has, is ignored with a
warning. A file that another machine wrote, or other versions of the libraries, is ignored without one.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import re
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from convmtx.extras import import_extra
from convmtx.files import check_target, replace_file

#: Environment variable with the path of the file; "0" means that no file is read.
VARIABLE = "CONVMTX_RATES"
#: Version of what the file contains. It changes with the kinds of work and with what they mean.
SCHEMA = 1
#: Bytes that are read at most: 256 KiB, a hundred times what 60 rates take.
LARGEST = 1 << 18
#: Factor by which a rate may differ from the one that is shipped: from a machine 10,000 times as fast to one as slow.
FURTHEST = 1e4


class KeptRates(NamedTuple):
    """Seconds of one unit of each kind of work, or None; and words that say where they come from, or why not."""

    seconds: Mapping[str, float] | None
    note: str = ""


class _Unusable(Exception):  # noqa: N818 - never leaves this module
    """Reason why the file is not used."""


def is_off() -> bool:
    """Whether the environment says that no file is read."""
    return os.environ.get(VARIABLE) == "0"


def rate_path() -> Path | None:
    """Return the path of the file; None if reading is off, or if platformdirs is missing and no path is set."""
    if is_off():
        return None
    if path := os.environ.get(VARIABLE):
        return Path(os.path.expanduser(path))  # which never raises
    if find_spec("platformdirs") is None:
        return None
    cache: str = import_extra("platformdirs", "tune").user_cache_dir("convmtx", appauthor=False)
    return Path(cache) / "rates.json"


def require_target() -> Path:
    """Return where to write the file, in a folder that exists and can be written to; raise if there is no place."""
    path = rate_path()
    if path is None:
        import_extra("platformdirs", "tune")  # raises: its absence is why there is no path
    assert path is not None  # `is_off` was checked before
    with contextlib.suppress(OSError):  # `check_target` has better words for it
        path.parent.mkdir(parents=True, exist_ok=True)
    return check_target(path, (".json",))


def machine_facts() -> dict[str, Any]:
    """Return what the rates depend on: processor, number of cores, versions of libraries, and NumPy's BLAS kernel."""
    import scipy

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    libraries = {"numpy": np.__version__, "scipy": scipy.__version__}
    return {"processor": _processor(), "cores": cores, **libraries, "blas": _blas_kernel()}


def _processor() -> str:
    """Return the model of the processor."""
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if models := re.findall(r"^model name\s*: (.*)$", text, re.MULTILINE):
            return str(models[0])
    return os.environ.get("PROCESSOR_IDENTIFIER") or platform.machine()


def _blas_kernel() -> str:
    """Return the name and the kernel of NumPy's BLAS, such as "openblas Haswell"; SciPy may have another one."""
    from threadpoolctl import threadpool_info

    libraries = [library for library in threadpool_info() if library["user_api"] == "blas"]
    libraries.sort(key=lambda library: "numpy" not in library["filepath"])
    names = [f"{library['internal_api']} {library.get('architecture', '')}".strip() for library in libraries]
    return names[0] if names else ""


def write_rates(target: Path, seconds: Mapping[str, float], version: str) -> None:
    """Write rates of this machine, for this version of convmtx; the file is never half-written."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    contents = {"schema": SCHEMA, "convmtx": version, "date": today, "machine": machine_facts(), "seconds": seconds}
    with replace_file(target) as file:
        file.write(json.dumps(contents, indent=1).encode() + b"\n")


def read_rates(shipped: Mapping[str, float]) -> KeptRates:
    """Return the rates that the file keeps for this machine, of the kinds of work that are shipped."""
    try:
        path = rate_path()
        if path is None or not path.exists():
            return KeptRates(None)
        contents = _parse(path)
        seconds = {kind: _rate(contents["seconds"], kind, usual) for kind, usual in shipped.items()}
        facts = contents["machine"]
        differences = [name for name, fact in machine_facts().items() if facts.get(name) != fact]
        date = re.sub(r"[^\d-]", "", str(contents.get("date", "")))[:10]
    except (_Unusable, OSError, ValueError, RecursionError) as error:  # ValueError: also text that is not UTF-8
        reason = f"{path} keeps no rates that can be used ({_words(error)}), so those of convmtx are used"
        warnings.warn(f"{reason}; run cm.tune() again, or set {VARIABLE}=0", RuntimeWarning, stacklevel=2)
        return KeptRates(None, reason)
    if differences:
        return KeptRates(None, f"those of convmtx: {path} is of another machine or library ({', '.join(differences)})")
    return KeptRates(seconds, f"tuned to this machine on {date}, {path}")


def _words(error: Exception) -> str:
    """Describe an error in a few words; an error of a parser may repeat what the file says."""
    if isinstance(error, OSError):
        return error.strerror or "it cannot be read"
    return str(error) if isinstance(error, _Unusable) else "it is not JSON"


def _parse(path: Path) -> dict[str, Any]:
    """Return what an ordinary small file says, if it has all parts and the schema of this version."""
    if not path.is_file():  # a device or a pipe might never end
        raise _Unusable("it is not an ordinary file")
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise _Unusable(f"it has more than {LARGEST} bytes")
    contents = json.loads(data.decode("utf-8"))
    if not isinstance(contents, dict) or contents.get("schema") != SCHEMA:
        raise _Unusable("it has another schema")
    for part in ("machine", "seconds"):
        if not isinstance(contents.get(part), dict):
            raise _Unusable(f"{part!r} is missing")
    return contents


def _rate(seconds: dict[str, Any], kind: str, usual: float) -> float:
    """Return the rate of a kind of work, if it is a number that a machine may have."""
    value: Any = seconds.get(kind)
    if type(value) not in (int, float) or not usual / FURTHEST <= value <= usual * FURTHEST:  # nan is not between
        raise _Unusable(f"{kind!r} is not a rate")
    return float(value)
