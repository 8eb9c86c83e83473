"""Who may do what: one table of roles and actions, and the two questions asked of it.

Source of the table: the team's roles page; rows whose feature does not exist yet wait for it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from jobs.errors import NotAllowed
from jobs.models.teams import Role


class Action(StrEnum):
    """What a person may want to do, in the words of the page."""

    SEE = "see jobs, results and the catalogue"
    LAUNCH = "launch jobs"
    LAUNCH_CODE = "run code of their own"
    STOP_ANY = "stop a colleague's job"
    STOP_OWN = "stop a job"
    EDIT_CATALOGUE = "add or refresh datasets and algorithms"
    MANAGE_WALLETS = "manage wallets"
    SET_LIMITS = "set what may be spent"
    MANAGE_ESCROW = "take money back from an escrow"
    UNSTICK = "speed up or cancel a transaction"


_EVERYBODY = frozenset(Role)

ALLOWED: dict[Action, frozenset[Role]] = {
    Action.SEE: _EVERYBODY,
    Action.LAUNCH: frozenset({Role.OWNER, Role.ADMIN, Role.LAUNCHER}),
    Action.LAUNCH_CODE: frozenset({Role.OWNER, Role.ADMIN}),
    Action.STOP_ANY: frozenset({Role.OWNER, Role.ADMIN}),
    Action.STOP_OWN: frozenset({Role.OWNER, Role.ADMIN, Role.LAUNCHER}),
    Action.EDIT_CATALOGUE: frozenset({Role.OWNER, Role.ADMIN}),
    Action.MANAGE_WALLETS: frozenset({Role.OWNER, Role.ADMIN}),
    Action.SET_LIMITS: frozenset({Role.OWNER}),
    Action.MANAGE_ESCROW: frozenset({Role.OWNER}),
    Action.UNSTICK: frozenset({Role.OWNER}),
}


@dataclass(frozen=True)
class Actor:
    """A person inside one team: what every service that acts for a person is given.

    user_id: None when the portal itself acts (the worker, the command line of the operator).
    """

    user_id: int | None
    name: str
    team_id: int
    role: Role

    def may(self, action: Action) -> bool:
        """Say whether the role of this person includes the action."""
        return self.role in ALLOWED[action]

    def may_stop(self, *, launched_by_id: int | None) -> bool:
        """Say whether this person may stop a job that `launched_by_id` launched."""
        own = launched_by_id is not None and launched_by_id == self.user_id
        return self.may(Action.STOP_ANY) or (own and self.may(Action.STOP_OWN))


def require(actor: Actor, action: Action) -> None:
    """Raise NotAllowed, with words for the person, unless the actor may do the action."""
    if not actor.may(action):
        who = _list_roles(ALLOWED[action])
        raise NotAllowed(
            f"Your role in this team is {actor.role}; to {action} one has to be {who}. "
            "Ask an owner of the team."
        )


def _list_roles(roles: Collection[Role]) -> str:
    names = [role.value for role in Role if role in roles]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " or " + names[-1]
