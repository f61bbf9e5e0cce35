"""How much memory can be had, asked of the operating system; and the refusal to allocate more."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache

from convmtx.errors import FormTooLargeError

_CGROUP = "/sys/fs/cgroup"
_ALWAYS = 1 << 20  # bytes that are not worth asking the operating system for
#: Bytes of a result from which asking the operating system takes no time beside filling it.
LARGE = 1 << 25
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def available() -> int:
    """Bytes that can still be allocated: the least of what the machine, the container and the limits leave."""
    limits = [_machine(), *_container(_CGROUP), *_address_space()]
    return max(min(limits), 0)


def require(form: str, sizes: Mapping[str, int], working: int = 0) -> None:
    """Raise `FormTooLargeError` unless ``sizes[form]`` and ``working`` bytes are available; name what would fit."""
    wanted = sizes[form] + working
    if wanted > _ALWAYS and wanted > (free := available()):
        raise _too_large(form, sizes, working, free)


def require_result(what: str, size: int, remedy: str) -> None:
    """Raise `FormTooLargeError` unless a large result that is no form, of ``size`` bytes, is available."""
    if size > LARGE and size > (free := available()):
        raise no_room(what, size, remedy, free)


def no_room(what: str, size: int, remedy: str, free: int | None = None) -> FormTooLargeError:
    """Return the error that says that ``size`` bytes are not available."""
    free = available() if free is None else free
    return FormTooLargeError(f"{what} takes {human(size)}", f"Available are {human(free)}", remedy)


@contextmanager
def told(form: str, sizes: Mapping[str, int]) -> Iterator[None]:
    """Say in our words when the system refuses memory that it had seemed to have."""
    try:
        yield
    except FormTooLargeError:
        raise
    except MemoryError:
        raise _too_large(form, sizes, 0, available()) from None


def _too_large(form: str, sizes: Mapping[str, int], working: int, free: int) -> FormTooLargeError:
    fitting = [f"{name} {human(size)}" for name, size in sizes.items() if size <= free and name != form]
    remedy = "These fit: " + ", ".join(fitting) if fitting else "No form fits; apply the operator itself, op(x)"
    takes = human(sizes[form]) if form in sizes else "more than there is"
    got = f"the {form} form takes {takes}" + (f" and {human(working)} to make" if working else "")
    return FormTooLargeError(got, f"Available are {human(free)}", remedy)


def human(size: int) -> str:
    """Bytes with three digits and a unit: 1234567 -> '1.23 MB'."""
    value, unit = float(size), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g} {_UNITS[unit]}"


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def _machine() -> int:
    try:
        for line in _read("/proc/meminfo").splitlines():
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
            + [(name, ctypes.c_ulonglong) for name in ("total", "free")]
            + [("rest", ctypes.c_ulonglong * 5)]
        )  # fmt: skip

    status = Status()
    status.length = ctypes.sizeof(Status)
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined]
    return int(status.free)


def _container(root: str) -> list[int]:
    """What control groups leave, in each group above this process. Page cache that can be dropped counts as left."""
    found = []
    for limit_file, usage_file, stat_file in _groups(root):
        limit, used = _number(limit_file), _number(usage_file)
        if limit is not None and used is not None:
            found.append(limit - used + _inactive_file(stat_file))
    return found


@lru_cache(maxsize=8)
def _groups(root: str) -> tuple[tuple[str, str, str], ...]:
    """Files of limit, usage and statistics of every control group, version 2 or 1, that this process is in."""
    folders = [(root, "memory.max", "memory.current")]
    old = (os.path.join(root, "memory"), "memory.limit_in_bytes", "memory.usage_in_bytes")
    folders.append(old)
    try:
        lines = _read("/proc/self/cgroup").splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base, limit, usage = old if controllers else folders[0]
        parts = [p for p in path.split("/") if p not in ("", "..")]
        folders += [(os.path.join(base, *parts[: j + 1]), limit, usage) for j in range(len(parts))]
    files = [  # what is there now; groups do not move under a running process
        (os.path.join(folder, limit), os.path.join(folder, usage), os.path.join(folder, "memory.stat"))
        for folder, limit, usage in folders
    ]
    return tuple(each for each in files if os.path.exists(each[0]))


def _number(path: str) -> int | None:
    try:
        return int(_read(path))
    except (OSError, ValueError):  # no such file, or the word "max"
        return None


def _inactive_file(path: str) -> int:
    try:
        lines = _read(path).splitlines()
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
        used = int(_read("/proc/self/statm").split()[0]) * resource.getpagesize()
    except OSError:
        used = 0
    return [limit - used]
