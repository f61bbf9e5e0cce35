"""The file that `explore` writes: complete in itself, safe whatever the numbers, and never half done."""

import html
import json
import os
import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

import convmtx as cm
from convmtx import explorer


def text_of(op, folder):
    return cm.explore(op, folder / "page.html").read_text("utf-8")


def data_of(page):
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found)


def test_returns_the_path_it_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    op = cm.conv([1, 2], 4)
    assert cm.explore(op) == Path("conv.html")
    assert cm.explore(op, "other.HTM") == Path("other.HTM")
    assert sorted(os.listdir()) == ["conv.html", "other.HTM"]
    assert Path("conv.html").read_bytes() == Path("other.HTM").read_bytes()


def test_names_nothing_outside_itself(tmp_path):
    page = text_of(cm.conv(np.ones((3, 3)), (6, 6)), tmp_path)
    addresses = re.findall(r"[a-z]+://[^\s\"']+", page)
    assert set(addresses) <= {"http://www.w3.org/2000/svg"}  # the name of SVG's elements, which nobody looks up
    assert not re.search(
        r"<(link|iframe|img|object|embed|base)\b|\b(src|href|action)=|@import|url\(|fetch\(|import\(", page
    )


def test_policy_lets_this_script_and_style_run_and_nothing_else(tmp_path):
    page = text_of(cm.conv([1], 1), tmp_path)
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1])
    digests = {}
    for kind in ("script", "style"):
        (body,) = re.findall(f"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digests[kind] = b64encode(sha256(body.encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'",
        f"script-src 'sha256-{digests['script']}'",
        f"style-src 'sha256-{digests['style']}'",
        "base-uri 'none'",
    ]


@pytest.mark.parametrize("dtype", [np.int8, np.uint64, np.float16, np.float32, np.float64, np.longdouble])
def test_holds_the_kernel_to_the_last_bit(tmp_path, dtype):
    kernel = np.random.default_rng(0).uniform(0, 100, (2, 3, 2, 4)).astype(dtype)
    data = data_of(text_of(cm.conv(kernel, (4, 5, 2)), tmp_path))
    exact = kernel.astype(np.float64) if dtype is np.longdouble else kernel
    assert np.array_equal(np.array(data["kernel"], dtype).reshape(kernel.shape), exact)


def test_numbers_that_json_does_not_have(tmp_path):
    page = text_of(cm.conv([np.nan, np.inf, -np.inf, -0.0, 5e-324], 6), tmp_path)
    assert data_of(page)["kernel"] == ["NaN", "Infinity", "-Infinity", 0.0, 5e-324]


def test_data_cannot_end_its_element(tmp_path, monkeypatch):
    hostile = "</script><script>alert(1)</script><!--\u2028$data"
    monkeypatch.setattr(explorer, "_number", lambda _: hostile)
    page = text_of(cm.conv([1], 1), tmp_path)
    assert data_of(page)["kernel"] == [hostile]
    assert "alert(1)</script>" not in page
    assert page.count("<script") == 2
    assert "\u2028" not in page


def test_kernels_of_other_libraries(tmp_path):
    torch, jnp = pytest.importorskip("torch"), pytest.importorskip("jax.numpy")
    for kernel in (torch.tensor([1.0, 2.5], requires_grad=True), torch.tensor([1, 2.5], dtype=torch.bfloat16)):
        assert data_of(text_of(cm.conv(kernel, 4), tmp_path))["kernel"] == [1.0, 2.5]
    for dtype in ("float32", "bfloat16"):
        assert data_of(text_of(cm.conv(jnp.array([1, 2.5], dtype), 4), tmp_path))["kernel"] == [1.0, 2.5]


REFUSED = [
    (lambda: np.eye(3), "conv.html", TypeError, "explore: op is an ndarray. Expected a ConvOperator. Make one"),
    (lambda: cm.conv([1], 4, padding=1, boundary="edge").T, "conv.html", TypeError, "op is a Transpose"),
    (lambda: cm.conv([1], 4), 3, TypeError, "explore: path=3. Expected a file name"),
    (lambda: cm.conv([1], 4), b"conv.html", TypeError, "path=b'conv.html'. Expected a file name"),
    (lambda: cm.conv([1], 4), "conv.png", ValueError, "suffix '.png'. Expected .html or .htm. Rename it"),
    (lambda: cm.conv([1], 4), "conv", ValueError, "conv has the suffix ''"),
    (lambda: cm.conv([1], 4), "no/conv.html", ValueError, "no is not a folder. Choose another name"),
    (lambda: cm.conv([1], 4), "folder.html", ValueError, "It is a folder"),
    (lambda: cm.conv([1], 4), "", ValueError, ". cannot be written. It is a folder"),
    (lambda: cm.conv([1], 4), "a\0.html", ValueError, "embedded null"),
    (lambda: cm.conv([1], 4), 300 * "a" + ".html", ValueError, "File name too long"),
    (lambda: cm.conv([1j], 4), "conv.html", ValueError, "the kernel is complex128. Expected real values"),
    (lambda: cm.conv(np.ones((1, 1, 1)), (2, 2, 2)), "conv.html", ValueError, "3 spatial axes. Expected one or two"),
    (lambda: cm.conv([1, 2], 1025, padding="same"), "conv.html", ValueError, "1025 rows and 1025 columns"),
    (lambda: cm.conv(np.ones((1, 1, 1025)), (1, 1)), "conv.html", ValueError, "the matrix has 1025 rows"),
    (lambda: cm.conv(np.ones(1025), 1, padding="full"), "conv.html", ValueError, "the matrix has 1025 rows"),
    (lambda: cm.conv(np.ones((33, 32)), (33, 32)), "conv.html", ValueError, "the matrix has 1 rows and 1056"),
    (lambda: cm.conv(np.ones((1, 33, 32)), (1, 33)), "conv.html", ValueError, "the kernel has 1056 values"),
    (lambda: cm.conv(np.ones((9, 9)), (32, 32), padding="same"), "conv.html", ValueError, "joins 71824 pairs"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "path", "kind", "said"), REFUSED)
def test_refusals(tmp_path, monkeypatch, make, path, kind, said):
    monkeypatch.chdir(tmp_path)
    os.mkdir("folder.html")
    with pytest.raises(kind, match=re.escape(said)) as caught:
        cm.explore(make(), path)
    assert isinstance(caught.value, cm.ConvmtxError)
    assert str(caught.value).startswith("explore: ")
    assert os.listdir() == ["folder.html"]


def test_nothing_is_half_written(tmp_path, monkeypatch):
    page = tmp_path / "conv.html"
    page.write_text("before")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ValueError, match=r"cannot be written\. No space left on device\. Nothing was changed"):
        cm.explore(cm.conv([1], 4), page)
    assert page.read_text() == "before"
    assert os.listdir(tmp_path) == ["conv.html"]


@pytest.mark.parametrize(
    ("kernel", "shape", "options"),
    [
        ((3, 3), (500, 400), {}),
        ((3, 3), (40, 40), {"padding": "same", "boundary": "wrap"}),
        ((15, 15), (100, 100), {}),
        ((3, 3, 3, 2), (64, 64, 3), {"stride": 2}),
        ((4, 1, 5), (4, 3000), {"channels": "first", "groups": 4}),
        ((5,), (10**9,), {"dilation": 7}),
        ((3, 3), (30, 1), {"padding": "full", "input_dilation": 20}),
        ((1000,), (1020,), {}),
    ],
)
def test_an_input_that_is_too_large_is_refused_with_one_that_is_not(tmp_path, kernel, shape, options):
    kernel = np.ones(kernel)
    with pytest.raises(ValueError, match="explore: ") as error:
        cm.explore(cm.conv(kernel, shape, **options), tmp_path / "page.html")
    (smaller,) = re.findall(r"Use a smaller input, such as \(([0-9, ]*)\)\.$", str(error.value))
    smaller = [int(n) for n in smaller.split(",") if n]
    assert len(smaller) == len(shape)
    cm.explore(cm.conv(kernel, smaller, **options), tmp_path / "page.html")


def test_a_kernel_that_is_too_large_has_no_input_that_is_not(tmp_path):
    for kernel, shape in (((33, 33), (100, 100)), ((3, 3, 1, 200), (9, 9, 1))):
        with pytest.raises(ValueError, match="Use a smaller kernel or fewer channels"):
            cm.explore(cm.conv(np.ones(kernel), shape), tmp_path / "page.html")
