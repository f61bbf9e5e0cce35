"""The package as it is installed: what it ships, what it says of itself, and which extras its errors name."""

import re
import tomllib
from importlib.metadata import metadata
from importlib.resources import files
from pathlib import Path

import convmtx as cm

ROOT = Path(__file__).parents[1]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_one_version_everywhere():
    [cited] = re.findall(r"^version: (\S+)$", read("CITATION.cff"), re.MULTILINE)

    assert metadata("convmtx")["Version"] == cm.__version__ == cited


def test_types_and_the_explorers_page_are_shipped():
    shipped = files("convmtx")

    assert (shipped / "py.typed").is_file()
    for name in ("page.html", "page.css", "page.js"):
        assert (shipped / "explorer" / name).is_file()


def test_the_only_libraries_that_must_be_there():
    project = tomllib.loads(read("pyproject.toml"))["project"]

    required = {"numpy", "scipy", "array-api-compat", "threadpoolctl"}
    assert {re.split(r"[\[<>=~]", each)[0] for each in project["dependencies"]} == required


def test_every_optional_library_is_missed_with_the_extra_that_brings_it():
    """An extra that an error names has to bring the library that was missing."""
    extras = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]
    sources = [path.read_text(encoding="utf-8") for path in Path(cm.__file__).parent.rglob("*.py")]
    mentioned = {extra for text in sources for extra in re.findall(r"convmtx\[([a-z]+)\]", text)}
    calls = {call for text in sources for call in re.findall(r'import_extra\("([\w.]+)", "(\w+)"\)', text)}
    named = {"PIL": "pillow", "pywt": "PyWavelets"}

    assert mentioned <= set(extras) == set(metadata("convmtx").get_all("Provides-Extra"))
    assert len(calls) > 5
    for library, extra in calls:
        top = library.partition(".")[0]
        brought = {re.split(r"[\[<>=~]", each)[0] for each in extras[extra]}
        assert named.get(top, top) in brought, (library, extra)


def test_rooms_are_not_imported_by_name():
    """The import contracts see imports, also those inside functions, but no names in strings.

    Only the package itself does so, for the modules that are loaded when they are first used.
    """
    package = Path(cm.__file__).parent
    loads = r"""(import_module|__import__)\(f?["']convmtx"""
    loading = [path for path in package.rglob("*.py") if re.search(loads, path.read_text(encoding="utf-8"))]

    assert loading == [package / "__init__.py"]
