"""Carries out a connection plan in trio; its twin for blocking code is `waiting`."""

from __future__ import annotations

import trio

from .connecting import Connected, Plan


async def carry_out(plan: Plan) -> Connected:
    """Follow the plan until it is connected.

    Cancellation: nothing is left open.
    """
    await trio.lowlevel.checkpoint()
    try:
        while True:
            pause = next(plan)
            with trio.move_on_after(pause.seconds):
                if pause.fd is None:
                    await trio.sleep_forever()
                else:
                    await trio.lowlevel.wait_readable(pause.fd)
    except StopIteration as done:
        connected: Connected = done.value
        return connected
    finally:
        plan.close()
