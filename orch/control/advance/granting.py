"""Tokens that wait for limits: sent when they may begin."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from orch.control.advance.committing import Committing, Todo
from orch.control.limiting import Grant
from orch.faults import fault
from orch.workflows.calls import Call
from orch.workflows.state import StepState


class Granting(Committing):
    """Sends what the limits let begin."""

    def grant(self, members: Sequence[str]) -> None:
        """Send messages for those that got what they waited for, as `execution path`."""
        if members:
            self._do([(self._grant, (Call(*_token(members[0]), 0), members))])

    def leave_limits(self, execution: str, path: str, owner: str) -> None:
        """Give back what an attempt held; who gets it is sent."""
        self._do([(self._leave_limits, (Call(execution, path, 0), owner))])

    def _leave_limits(self, call: Call, owner: str) -> Sequence[Todo]:
        fault("limits_held")
        self._send_all(self.limiting.leave(call.execution, call.path, owner))
        return ()

    def _give_up_limits(self, call: Call) -> Sequence[Todo]:
        self._send_all(self.limiting.give_up(call.execution, call.path))
        return ()

    def _look_at_limits(self, call: Call) -> Sequence[Todo]:
        del call
        self._send_all(self.limiting.look())
        return ()

    def look_at_resources(self, names: Sequence[str]) -> None:
        """There may be more of these limits: who waits for them gets it."""
        self._do([(self._look_at_named, (Call("", "", 0), names))])

    def _look_at_named(self, call: Call, names: Sequence[str]) -> Sequence[Todo]:
        del call
        self._send_all(self.limiting.look(names))
        return ()

    def _grant(self, call: Call, members: Sequence[str]) -> Sequence[Todo]:
        del call
        self._send_all(self.limiting.sort(members))
        return ()

    def _send_all(self, grants: Sequence[Grant]) -> None:
        todo = list(grants)
        while todo:
            fault("limits_granted")
            grant = todo.pop(0)
            if not self._send_granted(grant.execution, grant.path, grant.state):
                todo += self.limiting.give_up(grant.execution, grant.path)

    def _send_granted(self, execution: str, path: str, state: StepState) -> bool:
        """False: it may not begin, as it or its branch is paused, or has moved on."""
        plan = self._plan_of(execution)
        if plan is None:
            return False
        limit = state.due if plan.node(path).step.schedule_timeout else 0
        sent = self.journal.redispatch(execution, path, state, limit=limit, granted=True)
        if sent:
            priority = self.journal.priority_of(execution)
            given = {"priority": priority} if priority else {}
            send = partial(self.dispatch_first, plan, execution, (path,), **given)
            self.publish(send, f"{path} of execution {execution}")
        return sent

    def see_granted(self, execution: str, path: str) -> None:
        """A token waits from now on: it may have got everything before that was written."""
        self._do([(self._see_granted, (Call(execution, path, 0),))])

    def _see_granted(self, call: Call) -> Sequence[Todo]:
        request = self.journal.read_request(call.execution, call.path)
        if request is not None and request.held:
            self._send_all(self.limiting.sort([request.member]))
        return ()

    def look_at_limited(self, execution: str, path: str, state: StepState) -> bool:
        """A token without a message: is it to have none yet? One that may begin is sent."""
        request = self.journal.read_request(execution, path)
        if request is None:
            return False
        if request.held:
            self._send_all([Grant(execution, path, state)])
        return True


def _token(member: str) -> tuple[str, str]:
    execution, _, path = member.partition(" ")
    return execution, path
