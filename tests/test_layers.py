"""The layer law: who imports whom. Read from the sources, so that a violation is named, not stumbled upon.

Each row of `ROWS` imports only rows below it and itself; four libraries have their one place; trio stays out
of whatever does not run in trio. The design's table has the reasons.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from enum import Enum, auto
from pathlib import Path

import attrs
import pytest

import namedipc

PACKAGE = "namedipc"
ROOT = Path(next(iter(namedipc.__path__)))

ROWS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("cli, inspect", ("cli", "inspect", "testing")),
    ("facade", ("",)),
    (
        "service, client, channel, fifo, region, struct, broadcast",
        (
            "_service",
            "_declared",
            "_serving",
            "_client",
            "_client_options",
            "_call",
            "_streams",
            "_reach",
            "_channel",
            "_channel_end",
            "_raw_channel",
            "_fifo",
            "_raw_fifo",
            "_region",
            "_mapped",
            "_struct",
            "_broadcast",
            "numpy",
            "opentelemetry",
        ),
    ),
    ("shells", ("_shells",)),
    ("names", ("_names", "_name", "_card")),
    (
        "protocol, codec, schema",
        (
            "_protocol",
            "_faults",
            "_raised",
            "_texts",
            "_schema",
            "_interface",
            "_methods",
            "_json_schema",
            "_framing",
            "_arguments",
            "_batches",
            "_codec",
            "_coding",
            "_constant",
            "_wire",
            "_checks",
            "_types",
            "_compatibility",
            "_nodes",
        ),
    ),
    ("values", ("_values", "_statistics", "_marks", "_opening", "_fd", "_held", "_descriptors", "_version")),
    ("lowlevel", ("lowlevel",)),
    ("errors", ("_errors",)),
)
"""From the top to the bottom: a row's name, and its modules relative to the package.

A module belongs to the row that names it or its package; `_x_trio` and `_x_blocking` belong to `_x`."""

SANS_IO = "protocol, codec, schema"
ONLY_LOWLEVEL = frozenset({"socket", "mmap", "fcntl", "ctypes", "select"})
ONLY_THE_CODEC = frozenset({"_arguments", "_batches", "_codec", "_coding", "_types", "_wire"})


class When(Enum):
    """When an import is carried out."""

    AT_IMPORT = auto()
    IN_A_CALL = auto()
    FOR_TYPES = auto()


@attrs.frozen
class Import:
    """One import: the module it names, where, and when that is imported."""

    target: str
    line: int
    when: When


# --- reading


def modules_of(root: Path) -> dict[str, str]:
    """Return every module of the package and its source, by its name relative to the package."""
    found = {}
    for path in sorted(path for path in root.rglob("*.p*") if path.suffix in {".py", ".pyx", ".pxd"}):
        parts = path.relative_to(root).with_suffix("").parts
        source = path.read_text("utf-8")
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = source if path.suffix == ".py" else imports_as_python(source)
    return found


def imports_as_python(source: str) -> str:
    """Return what is compiled as Python sees it, by its imports alone: what it has of C's sockets is `socket`."""
    lines = []
    is_open = False
    for line in source.splitlines():
        is_import = is_open or re.match(r"(from \S+ c?import|cimport) ", line) is not None
        is_open = is_import and "(" in line if not is_open else ")" not in line
        is_of_system = re.match(r'cdef extern from "(?!Python\.h|structmember\.h|endian\.h|time\.h)', line) is not None
        lines.append(line.replace("cimport", "import") if is_import else "import socket" if is_of_system else "")
    return "\n".join(lines)


def imports_of(module: str, modules: Mapping[str, str]) -> list[Import]:
    """Return what a module imports; of its own package the modules, also where they are named by `from`."""
    tree = ast.parse(modules[module])
    return [
        Import(target, node.lineno, when)
        for node, when in _import_nodes(tree, When.AT_IMPORT)
        for target in _targets(node, module, modules)
    ]


_FOR_TYPES = frozenset({"TYPE_CHECKING", "typing.TYPE_CHECKING"})


def _import_nodes(node: ast.AST, when: When) -> Iterator[tuple[ast.Import | ast.ImportFrom, When]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, when
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _import_nodes(child, When.IN_A_CALL if when is When.AT_IMPORT else when)
        elif isinstance(child, ast.If) and ast.unparse(child.test) in _FOR_TYPES:
            for statement in child.body:
                yield from _import_nodes(ast.Module([statement], []), When.FOR_TYPES)
            for statement in child.orelse:
                yield from _import_nodes(ast.Module([statement], []), when)
        else:
            yield from _import_nodes(child, when)


def _targets(node: ast.Import | ast.ImportFrom, module: str, modules: Mapping[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        base = ".".join([*_package_of(module, node.level, modules), *filter(None, [node.module])])
    for alias in node.names:
        inner = f"{base}.{alias.name}"
        yield inner if inner.removeprefix(f"{PACKAGE}.") in modules else base


def _package_of(module: str, level: int, modules: Mapping[str, str]) -> list[str]:
    """Return the package that a relative import with so many dots starts from."""
    is_package = module == "" or any(other.startswith(f"{module}.") for other in modules)
    parts = [PACKAGE, *filter(None, module.split("."))]
    return parts[: len(parts) - level + is_package]


# --- the law


def row_of(module: str) -> int | None:
    """Return the number of a module's row, 0 at the top; None where no row has it."""
    first = module.split(".", maxsplit=1)[0].removesuffix("_trio").removesuffix("_blocking")
    for number, (_, members) in enumerate(ROWS):
        if first in members:
            return number
    return None


def is_for_trio(module: str) -> bool:
    """Whether a module may need trio: `_x_trio`, and in the shells `trio_x`."""
    return module.endswith("_trio") or module.startswith("_shells.trio_")


def broken_laws(modules: Mapping[str, str]) -> list[str]:
    """Return a sentence for each violation, which names the module, the line and the import."""
    return [
        sentence
        for module in modules
        for imported in imports_of(module, modules)
        for sentence in _violations(module, imported)
    ]


def _violations(module: str, imported: Import) -> Iterator[str]:
    where = f"{PACKAGE}.{module}".rstrip(".") + f", line {imported.line}: imports {imported.target}, but"
    library, _, rest = imported.target.partition(".")
    if library == PACKAGE:
        yield from (f"{where} {reason}" for reason in _inner_violations(module, rest, imported.when))
    if library in ONLY_LOWLEVEL and module.split(".", maxsplit=1)[0] != "lowlevel":
        yield f"{where} only lowlevel may"
    if library == "msgspec" and module not in ONLY_THE_CODEC:
        yield f"{where} only the codec may ({', '.join(sorted(ONLY_THE_CODEC))})"
    if library == "trio" and imported.when is When.AT_IMPORT and not is_for_trio(module):
        yield f"{where} only *_trio and _shells.trio_* may when they are imported; others in a call"


def _inner_violations(module: str, target: str, when: When) -> Iterator[str]:
    mine, theirs = row_of(module), row_of(target)
    if mine is None or theirs is None:
        return  # told by a test of its own, once a module instead of once an import
    if theirs < mine:
        yield f"'{ROWS[mine][0]}' is below '{ROWS[theirs][0]}'"
    if ROWS[mine][0] == SANS_IO and ROWS[theirs][0] == "lowlevel":
        yield f"'{SANS_IO}' knows bytes only, and no descriptor"
    if when is When.AT_IMPORT and is_for_trio(target) and not is_for_trio(module):
        yield "that imports trio: import it in the call which opens"


def cycles(modules: Mapping[str, str]) -> list[str]:
    """Return the modules that need each other to be imported."""
    needs = {
        module: {
            imported.target.removeprefix(PACKAGE).removeprefix(".")
            for imported in imports_of(module, modules)
            if imported.when is When.AT_IMPORT and imported.target.split(".")[0] == PACKAGE
        }
        for module in modules
    }
    while ready := [module for module, needed in needs.items() if not needed & needs.keys() - {module}]:
        for module in ready:
            del needs[module]
    return sorted(needs)


# --- what holds


MODULES = modules_of(ROOT)


def test_the_package_keeps_the_law() -> None:
    """No module imports what its row may not."""
    assert broken_laws(MODULES) == []


def test_every_module_has_a_row() -> None:
    """A new module is given its place in the table at the top of this file."""
    assert [module for module in MODULES if row_of(module) is None] == []


def test_no_two_modules_need_each_other() -> None:
    """Whatever is imported when a module is imported forms no cycle."""
    assert cycles(MODULES) == []


def test_the_sources_were_found() -> None:
    """The law is read from the modules, so there must be some."""
    assert {"", "_errors", "_opening", "lowlevel", "lowlevel._sockets", "_shells.served_alone"} <= MODULES.keys()
    assert "from ..lowlevel.system_calls import" in MODULES["_shells.served_alone"]


def test_what_is_compiled_is_read_by_its_imports() -> None:
    """Line by line, so that a violation is named by its line."""
    source = "cimport cython\ncdef int x\nfrom ..a cimport (\n    b,\n)\nfrom .c import d\n"
    source += 'cdef extern from "sys/epoll.h" nogil:\n    int e()\ncdef extern from "Python.h":\n'
    python = "import cython\n\nfrom ..a import (\n    b,\n)\nfrom .c import d\nimport socket\n\n"
    assert imports_as_python(source) == python


@pytest.mark.parametrize("module", ["namedipc", "namedipc.lowlevel", "namedipc.cli"])
def test_importing_leaves_trio_out(module: str) -> None:
    """Blocking programs and the command line start light: trio takes longer to import than all the rest."""
    relative = module.removeprefix(PACKAGE).removeprefix(".")
    if relative not in MODULES:
        pytest.skip(f"{module} is not there yet")
    script = f"import sys, {module}; print(*sorted(m for m in sys.modules if m.split('.')[0] == 'trio'))"
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.split() == []


# --- the law itself is tried on modules that break it


def with_module(name: str, source: str) -> dict[str, str]:
    """Return a package of empty modules but for one."""
    named = ["", "cli", "lowlevel", "_service", "_service_trio", "_shells", "_shells.polling", "_names"]
    return {**dict.fromkeys([*named, "_shells.trio_errors", "_types"], ""), name: source}


@pytest.mark.parametrize(
    ("module", "source", "reason"),
    [
        ("_errors", "from . import lowlevel", "'errors' is below 'lowlevel'"),
        ("lowlevel._x", "from .._values import Peer", "'lowlevel' is below 'values'"),
        ("_protocol.x", "from .. import _names", "'protocol, codec, schema' is below 'names'"),
        ("_protocol.x", "from namedipc import lowlevel", "knows bytes only"),
        ("_names.x", "import namedipc._shells.polling", "'names' is below 'shells'"),
        ("_names.x", "if TYPE_CHECKING:\n    from namedipc._service import Service", "'names' is below"),
        ("_shells.x", "def f():\n    from namedipc import Service", "'shells' is below 'facade'"),
        ("_region_trio", "from namedipc import cli", "is below 'cli, inspect'"),
        ("_codec", "import socket", "only lowlevel may"),
        ("_names.x", "def f():\n    from select import poll", "only lowlevel may"),
        ("cli", "import ctypes.util", "only lowlevel may"),
        (
            "_schema",
            "from msgspec import Struct",
            "only the codec may (_arguments, _batches, _codec, _coding, _types, _wire)",
        ),
        ("_service", "import trio", "others in a call"),
        ("_shells.x", "try:\n    from trio.abc import Stream\nfinally:\n    pass", "others in a call"),
        ("_service", "class A:\n    import trio", "others in a call"),
        ("_service", "from ._service_trio import serve", "that imports trio"),
        ("_shells.x", "from . import trio_errors", "that imports trio"),
        ("_service", "if not typing.TYPE_CHECKING:\n    import trio", "others in a call"),
        ("_service", "if TYPE_CHECKING:\n    pass\nelse:\n    import trio", "others in a call"),
    ],
)
def test_a_violation_is_named(module: str, source: str, reason: str) -> None:
    """The sentence has the module, the line, the import and the reason."""
    (sentence,) = broken_laws(with_module(module, source))
    lines = source.split("\n")
    (line,) = [number for number, text in enumerate(lines, 1) if text.lstrip().startswith(("import ", "from "))]
    assert sentence.startswith(f"namedipc.{module}, line {line}: imports ")
    assert reason in sentence


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("_service", "def serve():\n    import trio\n    from ._service_trio import serve"),
        ("_service", "async def serve():\n    class A:\n        import trio"),
        ("_service", "if TYPE_CHECKING:\n    import trio\n    from ._service_trio import serve"),
        ("_service_trio", "import trio\nfrom ._shells import trio_errors\nfrom . import _names, lowlevel"),
        ("_shells.trio_x", "import trio\nfrom . import trio_errors\nfrom .. import lowlevel"),
        ("lowlevel._x", "import socket, mmap, fcntl, ctypes, select\nfrom ._paths import StrPath"),
        ("_codec", "import msgspec\nfrom ._types import describe"),
        ("_protocol.x", "from ._frames import x\nfrom .._errors import ProtocolError\nimport os"),
        ("", "from ._service import Service as Service"),
        ("cli.x", "from namedipc import Service\nfrom . import y"),
    ],
)
def test_what_is_allowed_is_no_violation(module: str, source: str) -> None:
    """The law does not forbid more than it says."""
    assert broken_laws(with_module(module, source)) == []


def test_a_cycle_is_named() -> None:
    """Two modules which import each other, and who needs them; not who does so in a call."""
    sources = {
        "": "from . import a",
        "a": "from .b import x",
        "b": "import namedipc.a",
        "c": "def f():\n    from . import d",
        "d": "from . import c",
    }
    assert cycles(sources) == ["", "a", "b"]


def test_a_module_without_a_row_is_noticed() -> None:
    """Neither its name nor its package is in the table."""
    assert row_of("_unheard_of") is None
    assert row_of("_protocol.unheard_of") == row_of("_protocol")
