"""Measures the structure of the pack: sizes, imports, names that mean two things, an image's way.

    python tools/structure.py [--root FOLDER] [--way --pack FOLDER --photo PHOTO]

Everything but `--way` reads source files alone, so that `--root` may be any checkout of the pack:
an older one gives the figures to compare with. `--way` imports this checkout and counts, with
`sys.setprofile`, whose code runs between FastFaceDetect and its faces: onnxruntime, one image,
second call, nothing remembered.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType

#: Each imports only what stands after it; folders of older checkouts that had other ones included.
LAYERS = ("nodes", "pipeline", "models", "backends", "utils")
FOLDERS = (*LAYERS, "benchmark", "installer")
#: Modules of `backends/` that say what a backend is.
CONTRACTS = {"__init__", "base", "registry", "interfaces", "placement", "pending"}
#: Each file is named for what it shows, runs or measures of a file elsewhere.
SHOWING = ("nodes/", "installer/pack_commands/", "benchmark/implementations/")
SHORT_LINES, LONG_LINES = 60, 320


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--way", action="store_true")
    parser.add_argument("--pack", type=Path, help="for --way: folder of a pack")
    parser.add_argument("--photo", type=Path, help="for --way: a picture with a face")
    options = parser.parse_args()
    if options.way and not (options.pack and options.photo):
        parser.error("--way needs --pack and --photo")
    rows = list(measures(options.root))
    if options.way:
        files, calls = way_of_an_image(options.root, options.pack, options.photo)
        rows.append(("files between FastFaceDetect and its faces, calls", f"{files}, {calls}"))
    print("| measure | value |\n| --- | --- |")
    for name, value in rows:
        print(f"| {name} | {value} |")
    return 0


def measures(root: Path) -> Iterator[tuple[str, str]]:
    """Name and value of each measure of a checkout's source."""
    sources = {path.relative_to(root).as_posix(): path.read_text() for path in files_of(root)}
    lines = {name: text.count("\n") for name, text in sources.items()}
    modules = [name for name in sources if not name.endswith("__init__.py")]
    trees = {name: ast.parse(text) for name, text in sources.items()}
    graph = {name: set(imports(trees[name], name, sources)) for name in sources}
    yield "Python files, tests and benchmarks/ left out", str(len(lines))
    yield "their lines", f"{sum(lines.values()):,}"
    short = [name for name in modules if lines[name] < SHORT_LINES]
    yield f"files below {SHORT_LINES} lines", str(len(short))
    long = [f"{name} {count}" for name, count in lines.items() if count > LONG_LINES]
    yield f"files above {LONG_LINES} lines", ", ".join(long) or "0"
    upward = [(a, b) for a in graph for b in graph[a] if is_upward(a, b)]
    yield "imports from a lower layer to a higher one", str(len(upward))
    circles = [circle for circle in components(graph) if len(circle) > 1]
    shown = "; ".join(", ".join(sorted(circle)) for circle in circles)
    yield "circles of imports", f"{len(circles)}{f' ({shown})' if shown else ''}"
    yield "modules of backends/ that are no backend", str(len(not_backends(root, sources)))
    production = [name for name in graph if name.split("/")[0] in LAYERS[1:]]
    taken = [b for a in production for b in graph[a] if b.startswith("benchmark/")]
    yield "what production takes from the benchmark", str(len(taken))
    twice = there_twice(Path(name).stem for name in modules if not name.startswith(SHOWING))
    yield "file names that are there twice", ", ".join(twice) or "0"
    shown = set(there_twice(Path(name).stem for name in modules)) - set(twice)
    yield "the same, with nodes, commands and implementations", ", ".join(sorted(shown)) or "0"
    twice = there_twice(
        node.name
        for name in sources
        for node in ast.walk(trees[name])
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    yield "public classes that are there twice", ", ".join(twice) or "0"
    functions = [
        (node.end_lineno - node.lineno + 1, f"{name}: {node.name}")
        for name in sources
        for node in ast.walk(trees[name])
        if isinstance(node, ast.FunctionDef) and node.end_lineno
    ]
    yield "longest functions", ", ".join(f"{name} {n}" for n, name in sorted(functions)[:-4:-1])
    biggest = sorted(((count, name) for name, count in lines.items()), reverse=True)[:3]
    yield "longest files", ", ".join(f"{name} {count}" for count, name in biggest)


def there_twice(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def files_of(root: Path) -> list[Path]:
    """Every Python file of the pack, tests and measurements left out."""
    inside = [path for folder in FOLDERS for path in (root / folder).rglob("*.py")]
    return sorted(path for path in (*root.glob("*.py"), *inside) if "__pycache__" not in path.parts)


def imports(tree: ast.Module, name: str, known: dict[str, str]) -> Iterator[str]:
    """The pack's files that a file imports, inside functions too, but not for types alone."""
    folders = name.split("/")[:-1]
    for node in ast.walk(_without_types(tree)):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        parents = folders[: len(folders) - (node.level - 1)]
        base = "/".join([*parents, *filter(None, (node.module or "").split("."))])
        for alias in node.names:
            inside = f"{base}/{alias.name}".lstrip("/")
            places = (inside, base)
            files = (f"{place}{end}" for place in places for end in (".py", "/__init__.py"))
            found = next((file for file in files if file in known), name)
            if found != name:
                yield found


def _without_types(tree: ast.Module) -> ast.Module:
    """A module without what is imported for the type checker alone, which never runs."""
    kept = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    ]
    return ast.Module(body=kept, type_ignores=[])


def is_upward(importer: str, imported: str) -> bool:
    """Whether an import goes from a lower layer to a higher one."""
    own, other = importer.split("/")[0], imported.split("/")[0]
    if own not in LAYERS or other not in LAYERS:
        return False
    return LAYERS.index(other) < LAYERS.index(own)


def components(graph: dict[str, set[str]]) -> list[set[str]]:
    """Groups of files each of which imports, over others, all of its group (Tarjan, 1972)."""
    numbers: dict[str, int] = {}
    lows: dict[str, int] = {}
    stack: list[str] = []
    groups: list[set[str]] = []

    def visit(name: str) -> None:
        numbers[name] = lows[name] = len(numbers)
        stack.append(name)
        for other in graph[name]:
            if other not in numbers:
                visit(other)
                lows[name] = min(lows[name], lows[other])
            elif other in stack:
                lows[name] = min(lows[name], numbers[other])
        if lows[name] == numbers[name]:
            place = stack.index(name)
            groups.append(set(stack[place:]))
            del stack[place:]

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, 10 * len(graph)))
    for name in graph:
        if name not in numbers:
            visit(name)
    sys.setrecursionlimit(limit)
    return groups


def not_backends(root: Path, sources: dict[str, str]) -> list[str]:
    """Modules right in `backends/` that declare no backend and are no contract of theirs."""
    declares = re.compile(r"^class \w+\(\w*Backend\)", re.MULTILINE)
    here = {path.stem: f"backends/{path.name}" for path in (root / "backends").glob("*.py")}
    return [
        name
        for stem, name in here.items()
        if stem not in CONTRACTS and not declares.search(sources[name])
    ]


def way_of_an_image(root: Path, pack: Path, photo: Path) -> tuple[int, int]:
    """Files whose code runs, and calls, when FastFaceDetect finds the faces of one photo again."""
    sys.path.insert(0, str(root))
    from install import import_pack

    import_pack("fastface")
    import torch

    from fastface.backends.interfaces import DetectionOptions
    from fastface.nodes import NODE_CLASS_MAPPINGS
    from fastface.pipeline.insightface_compat.result_cache import forget_results
    from fastface.pipeline.loading import load_for_pack
    from fastface.utils.images import Images
    from fastface.utils.packs.read import read_pack
    from fastface.utils.pictures import read_picture

    app = load_for_pack(read_pack(pack.name, pack), DetectionOptions(), "onnxruntime", "cpu")
    images = torch.from_numpy(read_picture(photo)).float()[None] / 255
    node = NODE_CLASS_MAPPINGS["FastFaceDetect"]()
    node.detect(faceanalysis=app, images=images, annotate=False)
    forget_results()
    seen: dict[str, int] = defaultdict(int)
    # An environment may lie in the checkout, too.
    own = tuple(f"{root / folder}{os.sep}" for folder in FOLDERS)
    checked = Images.from_comfy([images])

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(own):
            seen[file] += 1

    sys.setprofile(profile)
    app.analyze(checked)
    sys.setprofile(None)
    return len(seen), sum(seen.values())


if __name__ == "__main__":
    sys.exit(main())
