"""Plain words: openings, names and phrases that a reader would have to read twice do not occur."""

import ast
import io
import re
import subprocess
import tokenize
from pathlib import Path

import pytest

import convmtx as cm

ROOT = Path(__file__).parent.parent
PACKAGE = Path(cm.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted(ROOT.glob("docs/**/*.md"))
#: Names that say nothing of what they hold.
NAMES = {"each", "found", "told", "asked", "made", "given", "subject", "several"}
#: Docstrings with these openings can be read only after the one above.
OPENINGS = re.compile(r"(Of|The same|What|How|As|Where)\b")
#: Phrases that have to be read twice, with what is written instead.
PHRASES = {
    r"(?<![Tt]here )\b(is|are|was|were) no(?! \w+er\b| more| less| worse)\b": "is not a, has no",
    r", say(?=[.,:;)\"'*]|$)": "for example",
    r"\bin no time\b": "in O(1), at once",
    r"\b\d+ at most\b": "at most 5",
    r"\bis (told|asked)\b": "is reported, is requested",
    r"\bholds? (inf|nan|NaN)\b": "contains inf or nan",
}
#: Subjects of commits are held from here on.
SINCE = "2026-11-28T20:00:00Z"  # without an hour, git takes that of today


def names(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno


def docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
            text = ast.get_docstring(node)
            if text:
                yield text, getattr(node, "lineno", 1)


def strings_and_comments(text):
    """Every line of text that a person reads, with its number."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT) or token.type == getattr(tokenize, "FSTRING_MIDDLE", -1):
            for number, line in enumerate(token.string.splitlines()):
                yield line, token.start[0] + number


def prose(text):
    """Lines of a page outside blocks and spans of code."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield re.sub(r"`[^`]*`", "", line), number


def phrases(lines):
    return [
        f"{number}: {match[0]!r} -> {better}"
        for line, number in lines
        for phrase, better in PHRASES.items()
        for match in [re.search(phrase, line)]
        if match
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_sources_are_in_plain_words(path):
    text = path.read_text()
    tree = ast.parse(text)
    wrong = [f"{line}: name {name!r}" for name, line in names(tree) if name in NAMES]
    wrong += [f"{line}: {text[:40]!r}" for text, line in docstrings(tree) if OPENINGS.match(text)]
    assert wrong + phrases(strings_and_comments(text)) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_are_in_plain_words(path):
    assert phrases(prose(path.read_text())) == []


def test_subjects_of_commits_are_short():
    """In a copy without its history there are none."""
    log = ["git", "-C", str(ROOT), "log", "--no-merges", f"--since={SINCE}", "--format=%s"]
    subjects = subprocess.run(log, capture_output=True, text=True, check=False).stdout.splitlines()
    assert [subject for subject in subjects if len(subject) > 72] == []
