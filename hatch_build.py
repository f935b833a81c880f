"""Compiles what may be compiled, where that is asked for: `NAMEDIPC_COMPILE=1 pip install ...`. It needs a C compiler.

In an editable install the compiled modules lie beside their sources; `NAMEDIPC_COMPILED=0` leaves them alone.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODULES = ("array_items", "called_alone", "heard_alone", "payload_copy", "served_alone", "stream_poll")
FOLDER = "namedipc/_shells"


def build(root: Path, scratch: Path) -> list[Path]:
    """Compile the modules; return where in `scratch` they are."""
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension

    os.chdir(root)
    extensions = [
        Extension(f"{FOLDER.replace('/', '.')}.{name}", [f"src/{FOLDER}/{name}.pyx"], extra_compile_args=["-O2"])
        for name in MODULES
    ]
    distribution = Distribution(
        {
            "name": "namedipc",
            "package_dir": {"": "src"},
            "ext_modules": cythonize(extensions, build_dir=str(scratch / "c")),
        }
    )
    command = distribution.get_command_obj("build_ext")
    command.build_temp = str(scratch / "objects")
    command.build_lib = str(scratch / "modules")
    command.ensure_finalized()
    command.run()
    return sorted((scratch / "modules").rglob("*.so"))


class CompiledParts(BuildHookInterface[Any]):
    """What hatchling calls."""

    @property
    def _is_wanted(self) -> bool:
        return self.target_name == "wheel" and os.environ.get("NAMEDIPC_COMPILE", "0") != "0"

    def dependencies(self) -> list[str]:
        """Return what a build needs beside hatchling."""
        return ["cython>=3.1", "setuptools>=77"] if self._is_wanted else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before a wheel is built: compile, and have it contain what was made."""
        if not self._is_wanted:
            return
        root = Path(self.root)
        self._scratch = tempfile.TemporaryDirectory()
        for module in build(root, Path(self._scratch.name)):
            if version == "editable":
                (root / "src" / FOLDER / module.name).write_bytes(module.read_bytes())
            else:
                build_data["force_include"][str(module)] = f"{FOLDER}/{module.name}"
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Afterwards."""
        if self._is_wanted:
            self._scratch.cleanup()
