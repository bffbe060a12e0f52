"""Installs what the pack needs and runs it outside ComfyUI: `python install.py --help`.

ComfyUI-Manager runs this file without an argument after it put the pack in place. Standard library
only. The parts are in the folder `installer`; this file itself has to be readable for an older
Python, so that one is told what it lacks instead of a syntax error.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent
OLDEST_PYTHON = (3, 10)


def import_pack(name: str) -> ModuleType:
    """Imports this folder as a package under a name of the caller's, whatever the folder is called.

    Args:
        name: The package's name in `sys.modules`, such as `fastface`.

    Returns:
        The package, whose modules can be imported as `<name>.utils.faces` from then on.

    Raises:
        ImportError: The folder holds no readable `__init__.py`.
    """
    spec = importlib.util.spec_from_file_location(
        name, str(ROOT / "__init__.py"), submodule_search_locations=[str(ROOT)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{ROOT} is not the folder of a package")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def main() -> int:
    """Runs the command named on the command line.

    Returns:
        The exit status: 0 when all went well, 1 when something did not, 2 for a wrong command line.
    """
    if sys.version_info < OLDEST_PYTHON:
        sys.stderr.write(
            f"ComfyUI-FastFace needs Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer, this "
            f"is {sys.version_info[0]}.{sys.version_info[1]} ({sys.executable}).\n"
            "Run the same command with a newer one, such as: python3.12 install.py\n"
        )
        return 1
    # The Python of ComfyUI's portable version does not look in the folder of the script it runs.
    sys.path.insert(0, str(ROOT))
    from installer.commands import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
