"""What is being measured, while it is: a bar by rich on a terminal, and nothing elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .runner import Progress


@contextmanager
def bar(steps: int) -> Iterator[Progress]:
    """A bar of so many steps, drawn only between measurements: no thread of it disturbs one."""
    try:
        from rich.console import Console
        from rich.progress import Progress as Bar
    except ImportError:
        yield lambda _: None
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with Bar(console=console, auto_refresh=False, transient=True) as shown:
        task = shown.add_task("", total=steps)

        def step(words: str) -> None:
            shown.update(task, advance=1, description=words[:60].ljust(60), refresh=True)

        yield step
