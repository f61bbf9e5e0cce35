"""Configure the documentation, which ``sphinx-build -W docs site`` builds without a network."""

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
exclude_patterns = ["examples"]  # sphinx-gallery makes pages from them
default_role = "py:obj"  # `conv` in a docstring is a link
nitpicky = True  # a reference without a target is a warning, and with -W warnings are errors
nitpick_ignore_regex = [
    ("py:class", ".*"),  # types of attributes, written as in NumPy; pages refer to classes with py:obj
    ("py:exc", "LinAlgError"),
    ("py:obj", r"(dataclasses|jax|keras|matplotlib|numpy|onnx|pylops|scipy|torch)\..*"),  # other libraries' pages
]

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings name the types, as NumPy does
napoleon_google_docstring = False
napoleon_use_param = False  # words like "int or sequence of int" are not references
napoleon_use_rtype = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",  # run all scripts, whatever their names
    "abort_on_example_error": True,
    "reset_modules": ("matplotlib", "drawn.grey"),  # before each script
    "capture_repr": (),  # show pictures and printed lines, but no reprs of legends
    "remove_config_comments": True,
    "download_all_examples": False,
    "min_reported_time": float("inf"),  # report no times: they depend on the computer
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
    """Write the pictures of the concepts, and the help of each command."""
    folder = Path(app.srcdir) / "_drawn"
    drawn.main(folder)
    os.environ |= {"COLUMNS": "88", "NO_COLOR": "1"}
    for name in cli.COMMANDS:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            cli.main([name, "--help"])
        text = printed.getvalue()
        for shared in (arguments.KERNELS, arguments.JSON):  # in the help of every command; the page has it once
            text = text.replace(shared, "")
        (folder / f"help-{name}.txt").write_text(text.strip() + "\n", encoding="utf-8")


def keep_first_line(_app, what, _name, _object, _options, lines):
    """Keep napoleon from reading the words before a colon in a property's first line as its type."""
    if what in ("attribute", "property"):
        lines[:0] = ["..", ""]  # an empty comment


def setup(app):
    app.connect("builder-inited", draw)
    app.connect("autodoc-process-docstring", keep_first_line, priority=400)
