"""At the end of the process: threads of the pack have ended, work is waited for, none is begun."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fastface.utils import shutdown

ROOT = Path(__file__).resolve().parents[2]

_BEGIN = """
import atexit, os, sys, threading, time
sys.path.insert(0, sys.argv[1])
import install
install.import_pack("fastface")
from fastface.utils import shutdown
from fastface.utils.errors import ProcessEnding

def say(text):
    os.write(1, (text + "\\n").encode())
"""


def ended(script: str, status: int = 0) -> tuple[list[str], str]:
    """What a process wrote to stdout, line by line, and to stderr."""
    done = subprocess.run(
        [sys.executable, "-c", _BEGIN + script, str(ROOT)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout.split("\n")[:-1], done.stderr


def test_threads_of_the_pack_are_woken_and_waited_for_before_anything_else_ends() -> None:
    lines, _ = ended("""
from concurrent.futures import ThreadPoolExecutor
woken = threading.Event()

def work():
    woken.wait()
    time.sleep(0.2)
    say(f"thread ended, {shutdown.is_ending()}")

atexit.register(say, "atexit")
ThreadPoolExecutor(1).submit(lambda: (woken.wait(), time.sleep(0.4), say("pool ended")))
shutdown.start_thread(work, "worker", woken.set)
say("main ended")
""")
    assert lines == ["main ended", "thread ended, True", "pool ended", "atexit"]


def test_work_of_other_threads_is_waited_for_and_none_is_begun() -> None:
    lines, _ = ended("""
entered = threading.Event()

def work():
    with shutdown.at_work():
        entered.set()
        time.sleep(0.3)
        say("work done")
    with shutdown.at_work():
        say("begun again")

threading.Thread(target=work, daemon=True).start()
entered.wait()
atexit.register(time.sleep, 0.2)
say("main ended")
""")
    assert lines == ["main ended", "work done"]


def test_in_the_middle_of_work_it_stops_at_the_next_piece() -> None:
    lines, _ = ended("""
entered = threading.Event()

def work():
    with shutdown.at_work():
        while True:
            with shutdown.at_work():
                entered.set()
                time.sleep(0.05)

threading.Thread(target=work, daemon=True).start()
entered.wait()
began = time.monotonic()
atexit.register(lambda: say(f"{time.monotonic() - began < 10}"))
""")
    assert lines == ["True"]


def test_what_is_held_inside_work_is_let_go_of_though_its_thread_never_returns() -> None:
    lines, _ = ended("""
lock, entered = threading.Lock(), threading.Event()

def hold():
    with shutdown.at_work():
        with lock:
            entered.set()
            while True:
                with shutdown.at_work():
                    time.sleep(0.01)

def want():
    with lock:
        say("has it")

threading.Thread(target=hold, daemon=True).start()
entered.wait()
threading.Thread(target=want).start()  # Python waits for this one, and without a bound
""")
    assert lines == ["has it"]


def test_a_run_of_an_engine_is_ended_where_a_prompt_waits_for_it() -> None:
    lines, said = ended("""
from fastface.backends.sessions.running import endings
from fastface.utils import host
from fastface.utils.progress import heard_by

entered, told = threading.Event(), threading.Event()

def run():
    entered.set()
    say(f"told {told.wait(60)}")

def work():
    with shutdown.at_work(), heard_by(lambda share: host.check_interrupted()):
        endings.run(run, told.set)
    say("returned")

threading.Thread(target=work, daemon=True).start()
entered.wait()
began = time.monotonic()
atexit.register(lambda: say(f"{time.monotonic() - began < 10}"))
""")
    assert lines == ["told True", "True"]
    assert said == ""


def test_threads_that_python_waits_for_get_an_error() -> None:
    lines, _ = ended("""
def work():
    while not shutdown.is_ending():
        time.sleep(0.01)
    try:
        with shutdown.at_work():
            say("begun")
    except ProcessEnding as error:
        say(str(error))

threading.Thread(target=work).start()
""")
    assert lines == ["the process is ending: nothing is loaded or analysed any more"]


def test_the_main_thread_may_go_on_to_the_last() -> None:
    lines, _ = ended("""
def at_exit():
    with shutdown.at_work():
        say("works")
    assert shutdown.start_thread(print, "late") is None

atexit.register(at_exit)
""")
    assert lines == ["works"]


def test_the_wait_has_a_bound_and_names_who_was_late() -> None:
    lines, said = ended("""
shutdown.LONGEST_WAIT_SECONDS = 0.3

def work():
    with shutdown.at_work():
        time.sleep(60)

shutdown.start_thread(lambda: time.sleep(60), "sleeper")
threading.Thread(target=work, name="worker", daemon=True).start()
time.sleep(0.1)
began = time.monotonic()
atexit.register(lambda: say(f"{time.monotonic() - began < 10}"))
""")
    assert lines == ["True"]
    assert "the process ends though sleeper, worker did not within 0.3 s" in said


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_waits_for_nobody_elses_work() -> None:
    lines, _ = ended("""
entered = threading.Event()

def work():
    with shutdown.at_work():
        entered.set()
        time.sleep(0.5)

threading.Thread(target=work, daemon=True).start()
entered.wait()
began = time.monotonic()
if os.fork() == 0:
    atexit.register(lambda: say(f"child {time.monotonic() - began < 10}"))
    with shutdown.at_work():
        pass
else:
    os.wait()
""")
    assert lines == ["child True"]


def test_a_thread_that_can_not_be_started_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, logger="FastFace"):
        patch.setattr(threading.Thread, "start", refuse)
        assert shutdown.start_thread(print, "some work") is None
        assert shutdown.start_thread(print, "some work") is None
    (record,) = caplog.records
    assert "'some work' can't be started (can't start new thread)" in record.message
    done = threading.Event()
    thread = shutdown.start_thread(done.set, "some work")
    assert thread is not None and done.wait(10)
    thread.join()


def test_work_costs_microseconds() -> None:
    began = time.perf_counter()
    for _ in range(1000):
        with shutdown.at_work():
            pass
    assert time.perf_counter() - began < 1
    assert threading.current_thread() not in shutdown._at_work
