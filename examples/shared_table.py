"""A shared table of numbers: several processes fill it in, another watches and shows it when it is complete.

The table is a SharedRegion. Each `update` changes one row under the lock, so that no row is lost though all write at
the same time; who watches is woken by each change, sees whole tables only, and needs no permission to write.

Prints the table, and by how many updates it was filled:

      1  2  3  4  5
      2  4  6  8 10
      3  6  9 12 15
      4  8 12 16 20
    4 rows by 4 processes, in 4 updates.
"""

from __future__ import annotations

from pathlib import Path

from _company import run, say, stage

from namedipc import SharedRegion

ROWS, COLUMNS = 4, 5
TABLE = SharedRegion("table", list[list[int]])


def fill(path: Path, row: int) -> None:
    """Fill in one row."""
    numbers = [(row + 1) * (column + 1) for column in range(COLUMNS)]

    def with_row(table: list[list[int]]) -> list[list[int]]:
        return [*table[:row], numbers, *table[row + 1 :]]

    with TABLE.at(path).open(wait_seconds=10) as table:
        table.update(with_row)


def show(path: Path) -> None:
    """Watch until every row is there."""
    with TABLE.at(path).view(wait_seconds=10) as view:
        for table in view.watch():
            if all(table):
                say("\n".join("".join(f"{number:>3}" for number in row) for row in table))
                return


def main() -> None:
    with stage() as (directory, company):
        path = directory / "table"
        with TABLE.at(path).create([[] for _ in range(ROWS)]) as table:
            before = table.version
            viewer = company.start(show, path)
            company.wait(*[company.start(fill, path, row) for row in range(ROWS)], viewer)
            updates = table.version - before
        say(f"{ROWS} rows by {ROWS} processes, in {updates} updates.")


if __name__ == "__main__":
    run(main)
