"""A map of ten thousand million rows in a process of its own: what is answered, and in how much memory."""

import json
import subprocess
import sys
import textwrap

import numpy as np

import convmtx as cm

QUESTIONS = """
    import json, re, resource
    from pathlib import Path
    import numpy as np
    import scipy.sparse
    import convmtx as cm
    from convmtx.forms.offsets import entries_before, rows_of_entries

    def peak():
        # ru_maxrss is inherited from the process that started this one, and VmHWM of Linux is not.
        status = Path("/proc/self/status")
        if not status.exists():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1]) * 1024

    n, K = 10**5, np.random.default_rng(0).random((7, 7))
    op = cm.conv(K, (n, n), padding=3)
    M = op.shape[0]
    slabs = np.arange(0, M + 1, M // 10_000)
    offsets = entries_before(op.geometry, "C", slabs)
    holding = rows_of_entries(op.geometry, "C", offsets[:-1])
    first, last = op.to_sparse(rows=slice(0, 1000)), op.to_sparse(rows=slice(M - 1000, M))
    norm = cm.norm(op)
    refused = []
    for form in ("to_sparse", "to_dense", "to_tensor"):
        try:
            getattr(op, form)()
        except cm.FormTooLargeError as error:
            refused.append(str(error))
    print(json.dumps({
        "nnz": op.nnz, "offsets": [int(offsets[0]), int(offsets[1]), int(offsets[-1])], "count": offsets.size,
        "slabs are found again": bool((holding == slabs[:-1]).all()), "offset type": str(offsets.dtype),
        "types": [str(S.indices.dtype) for S in (first, last)],
        "ends": [int(first.indices[0]), int(first.indices[-1]), int(last.indices[0]), int(last.indices[-1])],
        "first": first[0].data.tolist(), "last": last[-1:].data.tolist(),
        "norm": [float(norm.lower), float(norm.upper)], "refused": refused, "peak": peak(),
    }))
"""


def test_ten_thousand_million_rows():
    """Beside a map of 1000 x 1000, whose first and last rows are the same, and the symbol on a fine grid."""
    program = [sys.executable, "-c", textwrap.dedent(QUESTIONS)]
    got = json.loads(subprocess.run(program, capture_output=True, check=True, text=True).stdout)
    n, K = 10**5, np.random.default_rng(0).random((7, 7))
    small = cm.conv(K, (1000, 1000), padding=3).to_sparse()

    assert got["nnz"] == (7 * n - 12) ** 2 == got["offsets"][-1]
    assert got["count"] == 10_001
    assert got["offsets"][:2] == [0, 4 * (7 * n - 12) + 5 * (7 * n - 12) + 6 * (7 * n - 12) + 7 * (7 * n - 12) * 7]
    assert got["slabs are found again"]
    assert got["offset type"] == "int64"
    assert got["types"] == ["int64", "int64"]
    assert got["ends"] == [0, 3 * n + 1002, n * n - 1 - 3 * n - 1002, n * n - 1]
    assert got["first"] == small[[0]].data.tolist()
    assert got["last"] == small[[-1]].data.tolist()
    lower, upper = got["norm"]
    symbol = np.abs(np.fft.fft2(K, (512, 512))).max()
    assert lower <= symbol * (1 + (3 * np.pi / 512) ** 2)
    assert upper >= symbol * (1 - 1e-14)
    assert upper - lower <= 1e-3 * upper
    assert [message.split(":")[0] for message in got["refused"]] == ["to_sparse", "to_dense", "to_tensor"]
    assert got["peak"] < 200e6
