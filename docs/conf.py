"""How the documentation is built: ``sphinx-build -W docs site``, without a network."""

import contextlib
import io
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import drawn

import convmtx
from convmtx import cli
from convmtx.cli import arguments

project = "convmtx"
author = "The convmtx developers"
release = version = convmtx.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["examples"]  # sphinx-gallery makes pages of them
default_role = "py:obj"  # `conv` in a docstring is a link
nitpicky = True  # a reference to nothing is a warning, and warnings are fatal
nitpick_ignore_regex = [
    ("py:class", ".*"),  # types of attributes, in the words of NumPy; pages refer to classes with py:obj
    ("py:exc", "LinAlgError"),
    ("py:obj", r"(dataclasses|jax|keras|matplotlib|numpy|onnx|pylops|scipy|torch)\..*"),  # other libraries' pages
]

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say types in the words of NumPy
napoleon_google_docstring = False
napoleon_use_param = False  # words like "int or sequence of int" are no references
napoleon_use_rtype = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",  # all are run, whatever their names
    "abort_on_example_error": True,
    "reset_modules": ("matplotlib", "drawn.grey"),  # before each script
    "capture_repr": (),  # pictures and what is printed; no reprs of legends
    "remove_config_comments": True,
    "download_all_examples": False,
    "min_reported_time": float("inf"),  # how long a script took says more about the machine
    "write_computation_times": False,  # that page loads scripts from the network
    "show_memory": False,
    "show_signature": False,
}

html_theme = "furo"
html_title = f"convmtx {release}"
html_static_path = ["_static"]
html_css_files = ["convmtx.css"]
html_copy_source = False
html_show_copyright = False


def draw(app):
    """The pictures of the concepts, drawn by the library, and what the commands say of themselves."""
    folder = Path(app.srcdir) / "_drawn"
    drawn.main(folder)
    os.environ |= {"COLUMNS": "88", "NO_COLOR": "1"}
    for name in cli.COMMANDS:
        with contextlib.redirect_stdout(io.StringIO()) as told:
            cli.main([name, "--help"])
        text = told.getvalue()
        for often in (arguments.KERNELS, arguments.JSON):  # which the page says once
            text = text.replace(often, "")
        (folder / f"help-{name}.txt").write_text(text.strip() + "\n", encoding="utf-8")


def keep_first_line(_app, what, _name, _object, _options, lines):
    """Keep napoleon from reading what stands before a colon in a property's first line as its type."""
    if what in ("attribute", "property"):
        lines[:0] = ["..", ""]  # an empty comment


def setup(app):
    app.connect("builder-inited", draw)
    app.connect("autodoc-process-docstring", keep_first_line, priority=400)
