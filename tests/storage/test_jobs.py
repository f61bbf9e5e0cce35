"""Jobs that write a target: killed at any moment and resumed, refused, counted by a bar, and sent to a cluster."""

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from convmtx.errors import ArgumentError
from convmtx.storage.jobs import Jobs, run_jobs

SIZE, COUNT = 1000, 12


def prepare(draft):
    draft.write_bytes(bytes(SIZE * COUNT))


def work(log, draft, number, pause=0.0):
    """Write a piece in two halves, with time to be killed between them; each call leaves a line in a log."""
    with Path(log).open("a") as file:
        file.write(f"{number}\n")
    piece = np.random.default_rng(number).bytes(SIZE)
    with draft.open("r+b") as file:
        file.seek(number * SIZE)
        file.write(piece[: SIZE // 2])
        file.flush()
        time.sleep(pause)
        file.write(piece[SIZE // 2 :])


def jobs_of(log, pause=0.0, at_once=1, seed=0):
    return Jobs({"map": seed, "sizes": (SIZE, COUNT)}, COUNT, prepare, partial(work, log, pause=pause), at_once)


CONTENT = b"".join(np.random.default_rng(number).bytes(SIZE) for number in range(COUNT))


def calls(log):
    return [int(line) for line in Path(log).read_text().split()]


def listed(folder):
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("at_once", [1, 3])
def test_every_job_is_done_once(tmp_path, at_once):
    run_jobs(tmp_path / "target", jobs_of(tmp_path / "log", at_once=at_once), "write")
    assert (tmp_path / "target").read_bytes() == CONTENT
    assert sorted(calls(tmp_path / "log")) == list(range(COUNT))
    assert listed(tmp_path) == ["log", "target"]


PROGRAM = """
import runpy, sys
from pathlib import Path
here = runpy.run_path(sys.argv[1])
here["run_jobs"](Path(sys.argv[2]), here["jobs_of"](sys.argv[3], 0.1, at_once=2), "write")
"""


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("begun", [1, 4, 7, COUNT])
def test_killed_and_resumed(tmp_path, begun):
    target, log = tmp_path / "target", tmp_path / "log"
    log.touch()
    with subprocess.Popen([sys.executable, "-c", PROGRAM, __file__, target, log]) as process:
        while len(calls(log)) < begun:
            assert process.poll() is None
            time.sleep(0.001)
        time.sleep(np.random.default_rng(begun).uniform(0, 0.05))  # of the 0.1 that the last one takes
        process.kill()
    assert not target.exists()
    marked = {int(path.name) for path in tmp_path.glob(".target.part/*/done/*")}
    before = len(calls(log))
    run_jobs(target, jobs_of(log, at_once=2), "write")
    assert target.read_bytes() == CONTENT
    assert sorted(calls(log)[before:]) == sorted(set(range(COUNT)) - marked)
    assert before - len(marked) <= 4  # those that ran, and those that had just ended
    assert listed(tmp_path) == ["log", "target"]


def test_what_a_killed_worker_has_not_renamed_is_removed(tmp_path):
    """Zarr writes a chunk under another name first."""

    def leave(draft, number):
        (draft / f"{number}.1234.partial").touch()
        (draft / f"{number}").touch()

    run_jobs(tmp_path / "target", Jobs({}, 3, Path.mkdir, leave), "write")
    assert listed(tmp_path / "target") == ["0", "1", "2"]


class Failing:
    """Work that fails at one job."""

    def __init__(self, log, error):
        self.log, self.error = log, error

    def __call__(self, draft, number):
        if number == 5:
            raise self.error
        work(self.log, draft, number)


def test_errors_arrive_as_they_are_and_what_is_finished_is_kept(tmp_path):
    target, log = tmp_path / "target", tmp_path / "log"
    failing = Jobs(jobs_of(log).identity, COUNT, prepare, Failing(log, ZeroDivisionError("five")))
    with pytest.raises(ZeroDivisionError, match="five"):
        run_jobs(target, failing, "write")
    run_jobs(target, jobs_of(log), "write")
    assert sorted(calls(log)) == list(range(COUNT))


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()])
def test_nothing_is_kept_without_resume(tmp_path, error):
    failing = Jobs({}, COUNT, prepare, Failing(tmp_path / "log", error))
    with pytest.raises(type(error)):
        run_jobs(tmp_path / "target", failing, "write", resume=False)
    assert listed(tmp_path) == ["log"]


@pytest.mark.parametrize(("resume", "words"), [(True, "What is finished is kept"), (False, "Nothing was changed")])
def test_a_full_disk_is_one_clear_error(tmp_path, resume, words):
    failing = Jobs({}, COUNT, prepare, Failing(tmp_path / "log", OSError(28, "No space left on device")))
    with pytest.raises(ArgumentError, match=f"target cannot be written. No space left on device. {words}"):
        run_jobs(tmp_path / "target", failing, "write", resume=resume)


def begin(tmp_path, log):
    with pytest.raises(ZeroDivisionError):
        run_jobs(
            tmp_path / "target", Jobs(jobs_of(log).identity, COUNT, prepare, Failing(log, ZeroDivisionError())), ""
        )


def test_other_work_does_not_go_on(tmp_path):
    log = tmp_path / "log"
    begin(tmp_path, log)
    with pytest.raises(ArgumentError, match=r"begun with another map. Only the same work goes on. Pass resume=False"):
        run_jobs(tmp_path / "target", jobs_of(log, seed=1), "write")
    run_jobs(tmp_path / "target", jobs_of(log, seed=1), "write", resume=False)
    assert sorted(calls(log)) == sorted([*range(5), *range(COUNT)])
    assert listed(tmp_path) == ["log", "target"]


@pytest.mark.parametrize(
    "plan", ["", "{", "[]", json.dumps({"attempt": 1, "identity": {}}), json.dumps({"identity": {}})]
)
def test_a_plan_that_is_not_one_counts_as_none(tmp_path, plan):
    log = tmp_path / "log"
    begin(tmp_path, log)
    (tmp_path / ".target.part" / "plan.json").write_text(plan)
    run_jobs(tmp_path / "target", jobs_of(log), "write")
    assert (tmp_path / "target").read_bytes() == CONTENT


@pytest.mark.skipif(os.name != "posix", reason="locks as POSIX has them")
def test_one_process_at_a_time(tmp_path):
    def again(draft, number):
        run_jobs(tmp_path / "target", jobs_of(tmp_path / "log"), "write")

    with pytest.raises(ArgumentError, match="target is being written by another process"):
        run_jobs(tmp_path / "target", Jobs({}, COUNT, prepare, again), "write")


def test_a_bar_ends_at_all_jobs(tmp_path, monkeypatch):
    tqdm = pytest.importorskip("tqdm")
    seen = []

    class Bar(tqdm.tqdm):
        def close(self):
            if not self.disable:
                seen.append((self.initial, self.n, self.total))
            super().close()

    log = tmp_path / "log"
    begin(tmp_path, log)
    monkeypatch.setattr("tqdm.tqdm", Bar)
    run_jobs(tmp_path / "target", jobs_of(log), "write", progress=True)
    assert seen[0] == (5, COUNT, COUNT)


def test_a_cluster_does_the_jobs(tmp_path, client):
    target, log = tmp_path / "target", tmp_path / "log"
    run_jobs(target, jobs_of(log), "write", client=client)
    assert target.read_bytes() == CONTENT
    assert sorted(calls(log)) == list(range(COUNT))


def test_errors_of_a_cluster_arrive_as_they_are(tmp_path, client):
    log = tmp_path / "log"
    failing = Jobs(jobs_of(log).identity, COUNT, prepare, Failing(log, ZeroDivisionError("five")))
    with pytest.raises(ZeroDivisionError, match="five"):
        run_jobs(tmp_path / "target", failing, "write", client=client)
    run_jobs(tmp_path / "target", jobs_of(log), "write", client=client)
    assert (tmp_path / "target").read_bytes() == CONTENT
