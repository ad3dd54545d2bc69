"""Restate's service: steps that are run, and written down, within one handler."""

from __future__ import annotations

import asyncio

import restate

from bench.peers.driver import HOLD, hold_on

bench = restate.Service("Bench")


async def noop() -> None:
    """Do nothing."""


@bench.handler()
async def chain(ctx: restate.Context, size: int) -> None:
    for _ in range(size):
        await ctx.run_typed("noop", noop)


async def take_a_while() -> None:
    hold_on()
    await asyncio.sleep(HOLD)


@bench.handler()
async def hold(ctx: restate.Context, size: int) -> None:
    for _ in range(size):
        await ctx.run_typed("hold", take_a_while)


@bench.handler()
async def fan_out(ctx: restate.Context, size: int) -> None:
    await restate.gather(*(ctx.run_typed("noop", noop) for _ in range(size)))
    await ctx.run_typed("noop", noop)


app = restate.app([bench])
