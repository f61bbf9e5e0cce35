"""How much memory can be had, asked of the operating system; and the refusal to allocate more."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from convmtx.errors import FormTooLargeError, sentence

_CGROUP = Path("/sys/fs/cgroup")
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def available() -> int:
    """Bytes that can still be allocated: the least of what the machine, the container and the limits leave."""
    limits = [_machine(), *_container(_CGROUP), *_address_space()]
    return max(min(limits), 0)


def require(call: str, form: str, sizes: Mapping[str, int]) -> None:
    """Raise `FormTooLargeError` unless ``sizes[form]`` bytes are available; name the forms that would fit."""
    free = available()
    if sizes[form] <= free:
        return
    fitting = [f"{name} {human(size)}" for name, size in sizes.items() if size <= free]
    remedy = "These fit: " + ", ".join(fitting) if fitting else "No form fits; apply the operator itself, op(x)"
    got = f"the {form} form takes {human(sizes[form])}"
    raise FormTooLargeError(sentence(call, got, f"Available are {human(free)}", remedy))


def human(size: int) -> str:
    """Bytes with three digits and a unit: 1234567 -> '1.23 MB'."""
    value, unit = float(size), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g} {_UNITS[unit]}"


def _machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    if sys.platform == "win32":
        return _windows()
    # No portable word for "available" elsewhere: what is installed is the bound that is known.
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _windows() -> int:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)]
            + [(name, ctypes.c_ulonglong) for name in ("total", "free", "page", "page_free", "virtual", "virtual_free", "x")]
        )  # fmt: skip

    status = Status()
    status.length = ctypes.sizeof(Status)
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined]
    return int(status.free)


def _container(root: Path) -> list[int]:
    """What control groups leave (version 2, every group above this process; or version 1). Page cache is reclaimable."""
    found = []
    for folder, names in _groups(root):
        limit, used = (_number(folder / name) for name in names)
        if limit is None or used is None or limit >= 1 << 60:  # version 1 writes "no limit" as a huge number
            continue
        found.append(limit - used + _inactive_file(folder))
    return found


def _groups(root: Path) -> list[tuple[Path, tuple[str, str]]]:
    old = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    groups = [(root, ("memory.max", "memory.current")), (root / "memory", old)]
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return groups
    for line in lines:
        _, controllers, path = line.split(":", 2)
        base, names = (root, ("memory.max", "memory.current")) if not controllers else (root / "memory", old)
        if controllers and "memory" not in controllers.split(","):
            continue
        parts = [p for p in path.split("/") if p not in ("", "..")]
        groups += [(base.joinpath(*parts[: j + 1]), names) for j in range(len(parts))]
    return groups


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or the word "max"
        return None


def _inactive_file(folder: Path) -> int:
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    stat = dict(line.split() for line in lines)
    return int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))


def _address_space() -> list[int]:
    """What RLIMIT_AS leaves; Unix only."""
    try:
        import resource
    except ImportError:
        return []
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return []
    try:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        used = 0
    return [limit - used]
