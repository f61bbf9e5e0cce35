"""Every page of the documentation runs, block after block, and the reference has every public name."""

import importlib
import re
import sys
from pathlib import Path

import pytest

import convmtx as cm
from convmtx import cli
from pages import evaluate

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
#: What a fence may hold: languages that are run, that are only shown, and directives. Anything else is a misspelling.
RUN, SHOWN = ("python", "sh", "console"), ("matlab", "text", "toml")


def needed(page):
    """Libraries that a page names in its front matter, as ``requires: [torch, onnx]``."""
    found = re.match(r"---\n(?:.*\n)*?requires: \[(.*)\]\n(?:.*\n)*?---\n", page.read_text(encoding="utf-8"))
    return found[1].split(", ") if found else []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    for library in needed(page):
        pytest.importorskip(library)

    evaluate(page, tmp_path)

    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_fence_is_of_a_language_that_is_known(page):
    opened = re.findall(r"^[ \t]*(`{3,}|:{3,})(?!.*`)(.*)\n", page.read_text(encoding="utf-8"), re.MULTILINE)
    words = [info.strip() for _, info in opened if info.strip()]
    assert [word for word in words if word not in (*RUN, *SHOWN) and not re.match(r"\{(?!code|sourcecode)", word)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_inline_code_is_broken_by_the_end_of_a_line(page):
    """The next line could begin like an item of a list, and is one then."""
    fenced = r"^[ \t]*(`{3,}|:{3,})(?!.*`).*\n(?:.*\n)*?[ \t]*\1[ \t]*$"
    prose = re.sub(fenced, "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [line for line in prose.splitlines() if line.count("`") % 2] == []


def test_the_pages_are_found():
    names = {page.relative_to(ROOT).as_posix() for page in PAGES}
    assert {"docs/start.md", "docs/guides/pytorch.md", "docs/reference/index.md"} <= names


@pytest.mark.parametrize(
    "block",
    [
        "```python\n>>> 1 + 1\n3\n\n```",
        "```python\nassert x == 2\n```",
        "```sh\nconvmtx matrix missing.npy --input 5 -o W.npz\n```",
        "```sh\n$ covmtx --help\n```",
        "```console\n$ convmtx --version\nconvmtx of another day\n```",
        "```console\nconvmtx 0\n$ convmtx --version\nconvmtx ...\n```",
    ],
)
def test_a_wrong_block_is_seen(block, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n```python\nx = 1\n```\n\n{block}\n", encoding="utf-8")
    with pytest.raises(AssertionError):
        evaluate(page, tmp_path)


def test_a_right_page_passes(tmp_path):
    page = tmp_path / "page.md"
    blocks = (
        "---\nrequires: [numpy, scipy]\n---\n```python\n>>> import convmtx as cm\n>>> cm.__version__\n'...'\n\n```",
        "```sh\n# of Matrix Market\npip install convmtx\nconvmtx --version\n```",
        "```console\n$ convmtx \\\n  --version\nconvmtx ...\n```",
    )
    page.write_text("\n\n".join(blocks), encoding="utf-8")
    assert needed(page) == ["numpy", "scipy"]
    assert evaluate(page, tmp_path) == 4


def test_the_reference_has_every_public_name():
    pages = [page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md")]
    found = re.findall(r"^\.\. auto\w+:: convmtx\.([\w.]+)", "\n".join(pages), re.MULTILINE)
    rooms = {name: importlib.import_module(f"convmtx.{name}").__all__ for name in ("plot", "testing")}
    members = [f"{room}.{name}" for room, listed in rooms.items() for name in listed]
    assert sorted(found) == sorted([*(set(cm.__all__) - {"plot"}), *members])


def test_the_reference_has_every_command():
    text = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"/help-(\w+)\.txt", text)) == sorted(cli.COMMANDS)
    assert sorted(re.findall(r"^\| \[`convmtx (\w+)`\]", text, re.MULTILINE)) == sorted(cli.COMMANDS)
