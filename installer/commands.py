"""The command line of `install.py`."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .console import run_visibly, say, table
from .environment import EnvironmentFailed, ensure, is_running_inside
from .installation import install_missing
from .remedies import INSTALL_SCRIPT

HELP = """\
usage: python install.py [command] [options]

With no command: adds the packages that are missing to the Python that runs this script. It never
touches one that is there: torch, numpy, an ONNX Runtime or any other. ComfyUI-Manager runs this.
  --dry-run             print the exact commands, run none
  --strict              exit with 3 when an optional package could not be added
  --tests               also add the tools that the tests need

Commands:
  demo [PHOTO]          analyse a photo and write an annotated picture
  test [PYTEST ARGS]    run ruff, the type checker and the tests
  fuzz [OPTIONS]        give every part odd input for a minute, count what breaks; fuzz --help
  bench [OPTIONS]       measure speed and answers against everyone installed; bench --help
  album PATH...         find and name the faces in folders of pictures and films; album --help
  engine --pack NAME    build TensorRT engines of a model pack; engine --help
  doctor [--json]       say what is installed, what works, what is wrong and what mends it
  help                  print this

All but `doctor` and `help` need nothing but this folder and Python 3.10 or newer. The first time
they make an environment of their own in the folder .env next to this script and install torch there
(minutes, several GB); later they use it again. For a Python that has all of it already, nothing is
made and nothing is installed if
  - it is the environment's own Python that runs this script, or
  - the variable FASTFACE_PYTHON names it, or
  - it runs this script with --here right behind the command: python install.py test --here

Exit status: 0 when all went well, 1 when something did not, 2 for a wrong command line; `test`
ends with pytest's own where that is not 0.
"""


def run(arguments: Sequence[str]) -> int:
    """Runs one command.

    Args:
        arguments: Those of the command line.

    Returns:
        The exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A Windows console may be unable to show a path's letters; that is no reason to stop.
            stream.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return dispatch(list(arguments))
    except EnvironmentFailed as error:
        say(f"The environment can't be used: {error}.")
        return 1
    except KeyboardInterrupt:
        say("Stopped. What was half-made is made again next time.")
        return 130


def dispatch(arguments: list[str]) -> int:
    """Finds the command and runs it."""
    commands: dict[str, Callable[[list[str]], int]] = {
        "demo": run_demo,
        "test": run_tests,
        "fuzz": run_fuzz,
        "bench": run_bench,
        "album": run_album,
        "engine": run_engine,
        "doctor": run_doctor,
        "help": show_help,
        "--help": show_help,
        "-h": show_help,
    }
    options = {"--dry-run", "--strict", "--tests"}
    name = arguments[0] if arguments else ""
    if name in commands:
        return commands[name](arguments[1:])
    if options.issuperset(arguments):
        return install_missing(
            with_tests="--tests" in arguments,
            strict="--strict" in arguments,
            dry_run="--dry-run" in arguments,
        )
    if name.startswith("-"):
        return refuse(f"Without a command only {', '.join(sorted(options))} are understood.")
    return refuse(f"There is no command {name!r}.")


def refuse(reason: str) -> int:
    """Says what is wrong with the command line.

    Returns:
        2.
    """
    sys.stderr.write(
        f"{reason} Commands: demo [PHOTO], test [PYTEST ARGS], fuzz [OPTIONS], bench [OPTIONS], "
        "album PATH..., engine [OPTIONS], doctor [--json], help; without one, what is missing is "
        "installed.\n"
    )
    return 2


def show_help(arguments: list[str]) -> int:
    """Prints the help text."""
    say(HELP.rstrip())
    return 0


def run_demo(arguments: list[str]) -> int:
    """Analyses a photo, in the environment or in the interpreter that was named."""
    if arguments[:1] in (["-h"], ["--help"]):
        return show_help([])
    return run_with_pack("demo", arguments, with_tests=False)


def run_bench(arguments: list[str]) -> int:
    """Measures this pack against everyone else who is installed."""
    return run_with_pack("bench", arguments, with_tests=True)


def run_album(arguments: list[str]) -> int:
    """Finds the faces of folders."""
    return run_with_pack("album", arguments, with_tests=False)


def run_engine(arguments: list[str]) -> int:
    """Builds TensorRT engines."""
    return run_with_pack("engine", arguments, with_tests=False)


def run_with_pack(command: str, arguments: list[str], with_tests: bool) -> int:
    """Runs one of `pack_commands`, which import the pack."""
    status = run_elsewhere(command, arguments, with_tests)
    if status is not None:
        return status
    from install import import_pack

    import_pack("fastface")
    module = importlib.import_module(f"fastface.installer.pack_commands.{command}")
    return module.main(without_here(arguments))


def run_tests(arguments: list[str]) -> int:
    """Runs ruff, the type checker and pytest, which gets the arguments and has the last word."""
    if arguments[:1] in (["-h"], ["--help"]):
        return show_help([])
    status = run_elsewhere("test", arguments, with_tests=True)
    if status is not None:
        return status
    folder = INSTALL_SCRIPT.parent
    checks = {
        "ruff check": ["ruff", "check", "."],
        "ruff format": ["ruff", "format", "--check", "."],
        "basedpyright": ["basedpyright", "--pythonpath", sys.executable],
    }
    results: dict[str, int] = {}
    for name, command in checks.items():
        say(f"== {name}")
        results[name] = run_visibly([sys.executable, "-m", *command], folder)
    say("== summary before pytest")
    say(table([(name, "FAILED" if status else "ok") for name, status in results.items()]))
    say("== pytest")
    wanted = without_here(arguments)
    command = [sys.executable, "-m", "pytest", *several_processes(wanted, folder), *wanted]
    return run_visibly(command, folder) or int(any(results.values()))


def several_processes(arguments: list[str], folder: Path) -> list[str]:
    """What has pytest run whole folders of tests in several processes, a file in one of them.

    Args:
        arguments: Those for pytest. A process takes seconds to start, which a file is not worth,
            and whoever gives options has chosen: with either, nothing is added.
        folder: What they are relative to.
    """
    if not all((folder / argument).is_dir() for argument in arguments):
        return []
    if importlib.util.find_spec("xdist") is None:
        say("In one process: pytest-xdist, which uses every core, is not installed.")
        return []
    return ["-n", "auto", "--dist", "loadfile"]


def run_fuzz(arguments: list[str]) -> int:
    """Gives every part of the pack odd input."""
    status = run_elsewhere("fuzz", arguments, with_tests=True)
    if status is not None:
        return status
    return importlib.import_module("tests.fuzz.command").main(without_here(arguments))


def run_doctor(arguments: list[str]) -> int:
    """Says what is installed, what works and what is wrong."""
    if arguments not in ([], ["--json"]):
        return refuse(f"doctor understands --json, not {subprocess.list2cmdline(arguments)}.")
    from .doctor import examine_and_report

    return examine_and_report(as_json=bool(arguments))


def without_here(arguments: list[str]) -> list[str]:
    """The arguments behind `--here`."""
    return arguments[1:] if arguments[:1] == ["--here"] else arguments


def run_elsewhere(command: str, arguments: list[str], with_tests: bool) -> int | None:
    """Runs a command with another interpreter, unless the running one is the right one.

    Returns:
        The exit status, or None when the command is to go on here.

    Raises:
        EnvironmentFailed: There is no environment and none can be made.
    """
    if arguments[:1] == ["--here"]:
        return None
    named = os.environ.get("FASTFACE_PYTHON")
    if not named and is_running_inside():
        return None
    python = named or ensure(with_tests)
    return run_visibly([python, str(INSTALL_SCRIPT), command, "--here", *arguments])
