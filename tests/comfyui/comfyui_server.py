"""A real ComfyUI, started headless in a folder of its own, for as long as a test needs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.comfyui.prompts import Prompt, node, save

#: A folder name that is no Python name: dashes, dots and spaces, as users and zip files make them.
PACK_FOLDER = "Comfy UI-Fast.Face v1"


def options_of(checkout: Path, python: str) -> str:
    """The help text of a ComfyUI: what it can be started with."""
    return subprocess.run(
        [python, "main.py", "--help"],
        cwd=checkout,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    ).stdout


def link(source: Path, target: Path) -> None:
    """Links a file or folder, or copies it where the system lets no user link."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(source, target_is_directory=source.is_dir())
    except OSError:
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        else:
            shutil.copy2(source, target)


class ComfyServer:
    """The running server; use it in a `with`, which ends it whatever happens.

    Everything it reads and writes lies in `base`; the checkout is not touched.
    """

    def __init__(
        self, checkout: Path, python: str, base: Path, options: str, *further: str
    ) -> None:
        """`options`: see `options_of`; `further`: arguments to start it with besides the usual."""
        self.base = base
        self.log_file = base / "comfyui.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        arguments = [
            *("--cpu", "--listen", "127.0.0.1", "--port", str(port)),
            *("--base-directory", str(base), "--disable-auto-launch"),
        ]
        if "--disable-api-nodes" in options:
            arguments.append("--disable-api-nodes")
        if "--database-url" in options:
            arguments += ["--database-url", f"sqlite:///{(base / 'comfyui.db').as_posix()}"]
        self.command = [python, "main.py", *arguments, *further]
        self._checkout = checkout

    def __enter__(self) -> ComfyServer:
        for name in ("custom_nodes", "input", "models", "output", "temp", "user"):
            (self.base / name).mkdir(exist_ok=True)
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # Shells have what runs in the background ignore it, and so would ComfyUI: `interrupt`.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self._checkout,
                env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_until_ready(seconds=300)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(20)

    def interrupt(self, seconds: float = 60) -> int:
        """Ends it as Ctrl+C does; its exit status. One that goes on fails with where it is."""
        self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGABRT)  # ComfyUI then prints the main thread's stack
            self._process.wait(20)
            raise AssertionError(f"ComfyUI went on for {seconds} s\n{self.log()}") from None

    def _wait_until_ready(self, seconds: float) -> None:
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            if self._process.poll() is not None:
                raise AssertionError(f"ComfyUI ended before it was ready\n{self.log()}")
            try:
                self.call("/system_stats")
                return
            except OSError:
                time.sleep(0.3)
        raise AssertionError(f"ComfyUI was not ready after {seconds} s\n{self.log()}")

    def log(self, lines: int = 80) -> str:
        """The end of what the server printed."""
        text = self.log_file.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self._url(path), timeout=60) as answer:
            return answer.read()

    def call(self, path: str, body: dict | bytes | None = None) -> Any:
        """What the server answers, as JSON; `urllib.error.HTTPError` if it refuses."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        request = urllib.request.Request(
            self._url(path), data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def _url(self, path: str) -> str:
        return f"{self.address}{urllib.parse.quote(path)}"

    def queue(self, prompt: Prompt) -> str:
        """Queues a prompt and returns its id; a refusal fails the test with ComfyUI's reasons."""
        try:
            answer = self.call("/prompt", {"prompt": prompt})
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
        # ComfyUI runs the valid part of a prompt and only reports the rest.
        assert not answer.get("node_errors"), answer["node_errors"]
        return answer["prompt_id"]

    def result(self, prompt_id: str, seconds: float = 300) -> dict[str, Any]:
        """The history of a prompt once it has ended, however it ended."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            history = self.call(f"/history/{prompt_id}")
            if history:
                return history[prompt_id]
            assert self._process.poll() is None, f"ComfyUI ended\n{self.log()}"
            time.sleep(0.1)
        raise AssertionError(f"the prompt did not end within {seconds} s\n{self.log()}")

    def run(self, prompt: Prompt) -> dict[str, Any]:
        """What each output node of a prompt shows, by its id."""
        result = self.result(self.queue(prompt))
        assert result["status"]["status_str"] == "success", f"{result['status']}\n{self.log()}"
        return result["outputs"]

    def image_path(self, output: dict[str, Any]) -> Path:
        """The one image that an output node wrote."""
        (image,) = output["images"]
        return self.base / image["type"] / image["subfolder"] / image["filename"]

    def as_loaded(self, image: str) -> Path:
        """An input image as this ComfyUI sees it, saved; versions decode differently."""
        outputs = self.run({"photo": node("LoadImage", image=image), "save": save("photo")})
        return self.image_path(outputs["save"])
