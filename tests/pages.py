"""Pages of Markdown whose blocks run: Python, sessions, and commands of convmtx in a shell."""

import contextlib
import doctest
import io
import re
import shlex

from sybil import Document
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser

from convmtx import cli

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
#: First words of commands that set things up, and are not run.
NOT_RUN = {"cd", "git", "pip", "python", "python3", "pytest", "ruff", "sphinx-build"}


def run(command):
    """Standard output of a line of the shell; a failure is an AssertionError."""
    words = shlex.split(command, comments=True)
    if not words or words[0] in NOT_RUN:
        return ""
    assert words[0] == "convmtx", f"no command of convmtx: {command}"
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as told:
        code = cli.main(words[1:])
    assert code == 0, f"exit code {code} of {command}\n{told.getvalue()}"
    return out.getvalue()


def shell(example):
    """A block of commands."""
    for command in example.parsed.replace("\\\n", " ").splitlines():
        run(command.removeprefix("$ "))


def console(example):
    """Commands behind ``$``, and below each what it prints."""
    before, *commands = re.split(r"^\$ ", example.parsed, flags=re.MULTILINE)
    assert not before.strip(), f"no command before {before}"
    for each in commands:
        command, expected = re.match(r"((?:[^\n]*\\\n)*[^\n]*)\n?(.*)", each, re.DOTALL).groups()
        printed = run(command.replace("\\\n", " "))
        if not doctest.OutputChecker().check_output(expected, printed, FLAGS):
            return f"{command}\nwas to print\n{expected}\nand printed\n{printed}"
    return None


PARSERS = (
    PythonCodeBlockParser(doctest_optionflags=FLAGS),
    CodeBlockParser("sh", shell),
    CodeBlockParser("console", console),
)


def evaluate(page, folder):
    """Evaluate a page's examples in order, in one namespace, with the folder as working directory."""
    count = 0
    with contextlib.chdir(folder):
        for example in Document.parse(str(page), *PARSERS).examples():
            example.evaluate()
            count += 1
    return count
