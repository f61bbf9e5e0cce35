"""What tests of commands share: a folder to work in, and runs whose words are read."""

import json

import pytest

from convmtx.cli import main


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def said(capsys):
    """A run that succeeds without a word on stderr; what it printed."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(each) for each in arguments])
        out, err = capsys.readouterr()
        assert (code, err) == (0, "")
        return out

    return run


@pytest.fixture
def facts(said):
    """The same, as JSON: one object, alone in its line, of numbers that JSON has."""

    def run(*arguments):
        text = said(*arguments, "--json")
        assert text.count("\n") == 1
        return json.loads(text, parse_constant=pytest.fail)

    return run


@pytest.fixture
def refusal(capsys):
    """A run that fails in one line, with nothing on stdout where JSON was asked for; the line."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(each) for each in arguments])
        out, err = capsys.readouterr()
        assert code == 2
        assert err.startswith("convmtx: ")
        assert err.count("\n") == 1
        assert out == "" or "--json" not in arguments
        return err

    return run
