"""Memory that the operating system can still allocate, and the refusal to allocate more."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache

from convmtx.errors import FormTooLargeError

#: Folder where Linux mounts its control groups, which limit containers.
_CGROUP = "/sys/fs/cgroup"
#: Bytes of a form up to which the operating system is not asked: 2 MiB, which no process lacks for long.
_SMALL = 1 << 21
#: Bytes of other results up to which the operating system is not asked: filling 32 MiB takes about 10 ms, reading the
#: limits less.
LARGE = 1 << 25
#: Bytes of the longest file that is read: the kernel writes these files in one piece.
_PAGE = 1 << 16
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def available() -> int:
    """Return the bytes that can still be allocated: the least that machine, containers and process limits leave."""
    limits = [_machine(), *_container(_CGROUP), *_address_space()]
    return max(min(limits), 0)


def require(form: str, sizes: Mapping[str, int], working: int = 0) -> None:
    """Raise `FormTooLargeError` unless ``sizes[form] + working`` bytes are available.

    The error lists the forms of ``sizes`` that do fit.
    """
    total = sizes[form] + working
    if total > _SMALL and total > (free := available()):
        raise _too_large(form, sizes, working, free)


def require_result(what: str, size: int, remedy: str) -> None:
    """Raise `FormTooLargeError` unless the ``size`` bytes of a result that is not a form are available."""
    if size > LARGE and size > (free := available()):
        raise no_room(what, size, remedy, free)


def no_room(what: str, size: int, remedy: str, free: int | None = None) -> FormTooLargeError:
    """Return the error that says that ``size`` bytes are not available."""
    free = available() if free is None else free
    return FormTooLargeError(f"{what} takes {human(size)}", f"Available are {human(free)}", remedy)


@contextmanager
def refused_as(form: str, sizes: Mapping[str, int]) -> Iterator[None]:
    """Turn a MemoryError into a `FormTooLargeError`: the system can refuse memory that it reported as available."""
    try:
        yield
    except FormTooLargeError:
        raise
    except MemoryError:
        raise _too_large(form, sizes, 0, available()) from None


def _too_large(form: str, sizes: Mapping[str, int], working: int, free: int) -> FormTooLargeError:
    """Return the error that says that a form does not fit, and which forms do."""
    fitting = [f"{name} {human(size)}" for name, size in sizes.items() if size <= free and name != form]
    remedy = "These fit: " + ", ".join(fitting) if fitting else "No form fits; apply the operator itself, op(x)"
    takes = human(sizes[form]) if form in sizes else "more than there is"
    got = f"the {form} form takes {takes}" + (f" and {human(working)} to make" if working else "")
    return FormTooLargeError(got, f"Available are {human(free)}", remedy)


def human(size: int) -> str:
    """Write a number of bytes with three digits and a unit: 1234567 as '1.23 MB'."""
    value, unit = float(size), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g} {_UNITS[unit]}"


def _read(path: str) -> str:
    """Return the text of one of the system's small files.

    Without a buffered file, which takes three more calls of the system: small forms would wait for them.
    """
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, _PAGE).decode("ascii")
    finally:
        os.close(file)


def _machine() -> int:
    """Return the bytes that the machine has available, or those installed if the system does not say."""
    try:
        for line in _read("/proc/meminfo").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    if sys.platform == "win32":
        return _windows()
    # Other systems have no portable call for available memory; installed memory is an upper bound of it.
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _windows() -> int:
    """Return the bytes that Windows has available."""
    import ctypes

    class Status(ctypes.Structure):  # MEMORYSTATUSEX
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
    """Return the bytes left in each control group above this process, with the page cache that can be dropped."""
    remaining = []
    for limit_file, usage_file, stat_file in _groups(root):
        limit, used = _number(limit_file), _number(usage_file)
        if limit is not None and used is not None:
            remaining.append(limit - used + _inactive_file(stat_file))
    return remaining


@lru_cache(maxsize=8)
def _groups(root: str) -> tuple[tuple[str, str, str], ...]:
    """Return the files of limit, usage and statistics of every control group that this process is in.

    Only files that exist now are returned; groups do not move under a running process.
    """
    version_2 = (root, "memory.max", "memory.current")
    version_1 = (os.path.join(root, "memory"), "memory.limit_in_bytes", "memory.usage_in_bytes")
    folders = [version_2, version_1]
    try:
        lines = _read("/proc/self/cgroup").splitlines()
    except OSError:
        lines = []
    for line in lines:
        # "0::/a/b" is a group of version 2, "4:cpu,memory:/a/b" one of version 1. Its parents /a and / limit it too.
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base, limit, usage = version_1 if controllers else version_2
        parts = [p for p in path.split("/") if p not in ("", "..")]
        folders += [(os.path.join(base, *parts[: j + 1]), limit, usage) for j in range(len(parts))]
    files = [
        (os.path.join(folder, limit), os.path.join(folder, usage), os.path.join(folder, "memory.stat"))
        for folder, limit, usage in folders
    ]
    return tuple(names for names in files if os.path.exists(names[0]))


def _number(path: str) -> int | None:
    """Return the number in a file; None if there is no such file or it holds no number."""
    try:
        return int(_read(path))
    except (OSError, ValueError):  # no such file, or the word "max"
        return None


def _inactive_file(path: str) -> int:
    """Return the bytes of page cache that a control group can drop."""
    try:
        lines = _read(path).splitlines()
    except OSError:
        return 0
    stat = dict(line.split() for line in lines)
    return int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))


def _address_space() -> list[int]:
    """Return the bytes that the limit of the address space, RLIMIT_AS, leaves, in a list; empty if there is none."""
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
