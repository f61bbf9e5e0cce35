"""Maps on a GPU: the tests that need one, and our time beside that of cuDNN, in one run, results compared.

    python benchmarks/gpu.py [--part tests|map|gradients] [--only TEXT] [--quick] [--json FILE]

It needs PyTorch with CUDA. Without a GPU it says so, and measures nothing. ``other / ours`` above 1 means that ours is
the faster.
"""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
from cases import Case, difference, same, torch_convolution
from measuring import Times, Values, main, medians, optional

torch = optional("torch")
ROOT = Path(__file__).parent.parent

CASES = [
    Case((64, 64), (3, 3), dtype="f4"), Case((2048, 2048), (3, 3), dtype="f4", options=same()),
    Case((2048, 2048), (9, 9), dtype="f4", options=same(boundary="reflect")), Case((1024, 1024), (31, 31), dtype="f4"),
    Case((1024, 1024), (31, 31)), Case((2048, 2048), (31, 31), dtype="f4", separable=True),
    Case((1024, 1024), (15, 15), dtype="f4", options=same(boundary="wrap")), Case((1 << 22,), (63,), dtype="f4"),
    Case((56, 56), (3, 3), 64, 64, "f4", 32, options=same()), Case((56, 56), (3, 3), 64, 64, "f8", 8, options=same()),
    Case((56, 56), (1, 1), 256, 64, "f4", 32), Case((28, 28), (3, 3), 128, 128, "f4", 32, options=same(groups=128)),
    Case((224, 224), (7, 7), 3, 64, "f4", 16, options={"stride": 2, "padding": 3}),
    Case((96, 96, 96), (5, 5, 5), dtype="f4"), Case((48, 48, 48), (3, 3, 3), 16, 16, "f4"),
    Case((128, 128), (5, 5), 16, 16, "f4", 8, adjoint=True, options=same()),
]  # fmt: skip


def tests(_quick):
    """Tests on a GPU.

    The tests whose names contain `gpu`, `cuda` or `cupy`. They exist only where PyTorch sees a GPU.
    """
    yield card(), tested


def maps(quick):
    """The map of tensors on a GPU.

    Compared with `torch.nn.functional`, which calls cuDNN, after cuDNN has chosen its fastest algorithm. Products of
    float32 are not rounded to TF32. A call ends when the GPU has finished. Limit: a copy of input and output on the
    GPU. Aim: other / ours 1.5 in the geometric mean and nowhere below 0.8.
    """
    for case in CASES[::8] if quick else CASES:
        yield case.name, partial(applied, case, "cuda")


def gradients(quick):
    """The map and its gradients on a GPU.

    The map, and then the gradients in the input and in the kernel of a sum of the outputs with random weights. Aim: as
    above.
    """
    for case in CASES[::8] if quick else CASES:
        yield case.name, partial(differentiated, case, "cuda")


def card():
    """Name and memory of the GPU."""
    properties = torch.cuda.get_device_properties(0)
    return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"


def tested(name, _repeat):
    chosen = ["-k", "gpu or cuda or cupy", "-n", "0", "--no-header", "-q", ROOT / "tests"]
    done = subprocess.run([sys.executable, "-m", "pytest", *chosen], cwd=ROOT, capture_output=True, text=True)
    counts = {word: number for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)}
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n")
    return Values(name, {word: counts.get(word, "0") for word in ("passed", "skipped", "failed")}, not done.returncode)


def build(case, device, **keys):
    """The map of a tensor or its transpose, PyTorch's function, the input, and the kernel."""
    rng = np.random.default_rng(0)
    kernel = torch.tensor(case.kernel(rng), device=device, **keys)
    op = case.op(kernel)
    x = torch.tensor(case.inputs(rng, op), device=device, **keys)
    return (op.T if case.adjoint else op), torch_convolution(case), x, kernel


def finished(call, device):
    """Result of a call, once the device has computed it."""
    result = call()
    if device == "cuda":
        torch.cuda.synchronize()
    return result


def applied(case, device, name, repeat):
    ours, convolution, x, kernel = build(case, device)
    y = ours(x)
    copies = [(torch.empty_like(tensor), tensor) for tensor in (x, y)]
    ways = {"ours": partial(ours, x), "cuDNN": lambda: convolution(x, kernel)}
    ways["copy"] = lambda: [new.copy_(tensor) for new, tensor in copies]
    seconds, results = medians({way: partial(finished, call, device) for way, call in ways.items()}, repeat)
    return row(case, name, seconds, [results["ours"]], [results["cuDNN"]], ours)


def differentiated(case, device, name, repeat):
    ours, convolution, x, kernel = build(case, device, requires_grad=True)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(ours(x).shape, dtype=x.dtype, generator=generator).to(device)

    def differentiate(function):
        y = function()
        return y, *torch.autograd.grad(y, (x, kernel), weights)

    calls = {"ours": partial(ours, x), "cuDNN": lambda: convolution(x, kernel)}
    ways = {way: partial(finished, partial(differentiate, call), device) for way, call in calls.items()}
    seconds, results = medians(ways, repeat)
    return row(case, name, seconds, results["ours"], results["cuDNN"], ours)


def row(case, name, seconds, ours, theirs, op):
    pairs = zip(ours, theirs, strict=True)
    worst = max(difference([mine.detach().cpu()], other.detach().cpu().numpy()) for mine, other in pairs)
    engine = op.explain().engine
    return Times(
        name, seconds["ours"], {"cuDNN": seconds["cuDNN"]}, seconds.get("copy"), worst, case.agrees(worst), {}, engine
    )  # fmt: skip


if __name__ == "__main__":
    if not torch or not torch.cuda.is_available():
        sys.exit(print("No GPU: PyTorch sees none, so nothing was tested or measured on one."))
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    print(f"GPU: {card()}, cuDNN {torch.backends.cudnn.version()}")
    main(__doc__, {"tests": tests, "map": maps, "gradients": gradients}, ["torch", "cupy-cuda12x"])
