"""Restate's service: steps that are run, and written down, within one handler."""

from __future__ import annotations

import restate

bench = restate.Service("Bench")


async def noop() -> None:
    """Do nothing."""


@bench.handler()
async def chain(ctx: restate.Context, size: int) -> None:
    for _ in range(size):
        await ctx.run_typed("noop", noop)


@bench.handler()
async def fan_out(ctx: restate.Context, size: int) -> None:
    await restate.gather(*(ctx.run_typed("noop", noop) for _ in range(size)))
    await ctx.run_typed("noop", noop)


app = restate.app([bench])
