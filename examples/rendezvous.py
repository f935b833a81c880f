"""Processes which do not know who comes first: each two of them meet under one name, by `Channel.meet`.

Eight players come to one table in any order, half of them programs in trio. Whoever finds nobody waits there, whoever
finds somebody sits down, and the next two have the table for themselves. Nobody is told who plays with whom, nobody
serves, and nobody removes anything.

Prints that each player has been the partner of its partner, and what is left under the name.

    8 players have become 4 pairs.
    8 of 8 have played with whom has played with them.
    Left under the name: nothing.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import attrs
import trio
from _company import run, say, stage

from namedipc import Channel, Fifo

PLAYERS = 8


@attrs.frozen
class Player:
    """What players say to each other."""

    number: int


@attrs.frozen
class Game:
    """What a player tells of its game."""

    player: int
    partner: int


TABLE = Channel("table", Player)
GAMES = Fifo("games", Game)


def play(directory: Path, number: int) -> None:
    """Play with whoever comes, in blocking code."""
    with TABLE.at(directory / "room" / "table").meet(wait_seconds=10) as partner:
        partner.send(Player(number))
        game = Game(number, partner.receive(timeout=10).number)
    with GAMES.at(directory / "games").writer(wait_seconds=10) as games:
        games.send(game, timeout=10)


async def play_in_trio(directory: Path, number: int) -> None:
    """The same in trio."""
    async with TABLE.at(directory / "room" / "table").meet(wait_seconds=10) as partner:
        await partner.send(Player(number))
        game = Game(number, (await partner.receive()).number)
    async with GAMES.at(directory / "games").writer(wait_seconds=10) as games:
        await games.send(game)


def main() -> None:
    with stage() as (directory, company):
        room = directory / "room"
        room.mkdir()
        with GAMES.at(directory / "games").reader(remove=True) as games:
            players = [
                company.start(trio.run, partial(play_in_trio, directory, number))
                if number % 2
                else company.start(play, directory, number)
                for number in range(PLAYERS)
            ]
            partner_of = {game.player: game.partner for game in (games.receive(timeout=10) for _ in players)}
            company.wait(*players)
        pairs = {frozenset(pair) for pair in partner_of.items()}
        mutual = sum(partner_of[partner] == player != partner for player, partner in partner_of.items())
        say(f"{len(partner_of)} players have become {len(pairs)} pairs.")
        say(f"{mutual} of {PLAYERS} have played with whom has played with them.")
        say(f"Left under the name: {', '.join(sorted(os.listdir(room))) or 'nothing'}.")


if __name__ == "__main__":
    run(main)
