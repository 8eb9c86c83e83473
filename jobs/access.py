"""Who may do what: one table of roles and actions, and the questions asked of it.

Source of the table: the team's roles page; rows whose feature does not exist yet wait for it. To spend, one needs the
action and a grant of the wallet (see `jobs.services.grants`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from jobs.errors import NotAllowed
from jobs.models.teams import Role


class Action(StrEnum):
    """What a person may want to do, in the words of the page."""

    SEE = "see jobs, costs and the catalogue"
    SEE_LOGS = "see logs"
    SEE_RESULTS = "look at results and download them"
    LAUNCH = "launch jobs"
    LAUNCH_PAID = "launch jobs that cost money"
    LAUNCH_CODE = "run code of their own"
    STOP_ANY = "stop a colleague's job"
    STOP_OWN = "stop a job"
    SHARE_ANY = "share a colleague's job with people outside"
    SHARE_OWN = "share a job with people outside"
    REVOKE_ANY_LINK = "revoke a colleague's link"
    EDIT_CATALOGUE = "add or refresh datasets and algorithms"
    MANAGE_WALLETS = "add or disable wallets"
    HAND_WALLETS_OVER = "hand a wallet to another team"
    GRANT_WALLETS = "grant the use of a wallet"
    SET_LIMITS = "set what may be spent"
    MANAGE_ESCROW = "take money back from an escrow"
    UNSTICK = "speed up or cancel a transaction"
    MANAGE_MEMBERS = "invite or remove members"
    SET_UP_TEAM = "change the team's settings"
    READ_RECORD = "read the audit record"
    READ_MONEY_RECORD = "read what the audit record says about money"


_OWNER = frozenset({Role.OWNER})
_ADMINS = frozenset({Role.OWNER, Role.ADMIN})
_MONEY = frozenset({Role.OWNER, Role.TREASURER})
_CURATORS = _ADMINS | {Role.CURATOR}
_LAUNCHERS = _CURATORS | {Role.LAUNCHER}

ALLOWED: dict[Action, frozenset[Role]] = {
    Action.SEE: frozenset(Role),
    Action.SEE_LOGS: _LAUNCHERS | {Role.VIEWER},
    Action.SEE_RESULTS: _LAUNCHERS,
    Action.LAUNCH: _LAUNCHERS,
    Action.LAUNCH_PAID: _LAUNCHERS,
    Action.LAUNCH_CODE: _CURATORS,
    Action.STOP_ANY: _ADMINS | {Role.TREASURER},
    Action.STOP_OWN: _LAUNCHERS | {Role.TREASURER},
    Action.SHARE_ANY: _CURATORS,
    Action.SHARE_OWN: _LAUNCHERS,
    Action.REVOKE_ANY_LINK: _ADMINS,
    Action.EDIT_CATALOGUE: _CURATORS,
    Action.MANAGE_WALLETS: _ADMINS,
    Action.HAND_WALLETS_OVER: _OWNER,
    Action.GRANT_WALLETS: _MONEY,
    Action.SET_LIMITS: _MONEY,
    Action.MANAGE_ESCROW: _MONEY,
    Action.UNSTICK: _MONEY,
    Action.MANAGE_MEMBERS: _ADMINS,
    Action.SET_UP_TEAM: _ADMINS,
    Action.READ_RECORD: _ADMINS | {Role.AUDITOR},
    Action.READ_MONEY_RECORD: _ADMINS | {Role.AUDITOR, Role.TREASURER},
}

# What a team decides for itself: the name of its setting.
IF_TEAM_LETS: dict[tuple[Role, Action], str] = {
    (Role.LAUNCHER, Action.LAUNCH_CODE): "launchers_run_code",
    (Role.VIEWER, Action.SEE_RESULTS): "viewers_see_results",
}

# The roles that one may give and take, by one's own.
GIVES: dict[Role, frozenset[Role]] = {
    Role.OWNER: frozenset(Role),
    Role.ADMIN: frozenset({Role.CURATOR, Role.LAUNCHER, Role.VIEWER, Role.AUDITOR}),
}


@dataclass(frozen=True)
class Person:
    """Somebody who acts where no team is meant: at the door, or on a link from outside.

    user_id: None for a stranger, and for the portal itself. origin: a network address, or which part of the portal.
    """

    user_id: int | None
    name: str
    origin: str = ""


@dataclass(frozen=True)
class Actor:
    """A person inside one team: what every service that acts for a person is given.

    user_id: None when the portal itself acts (the worker, the command line of the operator).
    lets: the settings of IF_TEAM_LETS that are on in this team. origin: as in Person.
    """

    user_id: int | None
    name: str
    team_id: int
    role: Role
    lets: frozenset[str] = frozenset()
    origin: str = ""

    def may(self, action: Action) -> bool:
        """Say whether the role of this person includes the action, by the table or by the team's settings."""
        return self.role in ALLOWED[action] or IF_TEAM_LETS.get((self.role, action)) in self.lets

    def may_stop(self, *, owner_id: int | None) -> bool:
        """Say whether this person may stop a job that is `owner_id`'s own."""
        return self.may(Action.STOP_ANY) or (self._is(owner_id) and self.may(Action.STOP_OWN))

    def may_share(self, *, owner_id: int | None) -> bool:
        """Say whether this person may make a link to a job that is `owner_id`'s own."""
        return self.may(Action.SHARE_ANY) or (self._is(owner_id) and self.may(Action.SHARE_OWN))

    def may_give(self, role: Role) -> bool:
        """Say whether this person may give a member this role, and take it from one."""
        return self.may(Action.MANAGE_MEMBERS) and role in GIVES.get(self.role, frozenset())

    def _is(self, user_id: int | None) -> bool:
        return user_id is not None and user_id == self.user_id


def require(actor: Actor, action: Action) -> None:
    """Raise NotAllowed, with words for the person, unless the actor may do the action.

    Where the act is on an object, ask after the object was found in the actor's team: what belongs to another team is
    missing for everybody, whatever their role.
    """
    if not actor.may(action):
        who = _list_roles(ALLOWED[action])
        lets = f", or the team lets a {actor.role}" if (actor.role, action) in IF_TEAM_LETS else ""
        raise NotAllowed(
            f"Your role in this team is {actor.role}; to {action} one has to be {who}{lets}. "
            "Ask an owner of the team."
        )


def require_gives(actor: Actor, role: Role) -> None:
    """Raise NotAllowed, with words for the person, unless the actor may give a member this role, and take it from one."""
    require(actor, Action.MANAGE_MEMBERS)
    if not actor.may_give(role):
        raise NotAllowed(
            f"Your role in this team is {actor.role}: you may not give the role {role}, or take it from anybody. "
            "Ask an owner of the team."
        )


def _list_roles(roles: Collection[Role]) -> str:
    names = [role.value for role in Role if role in roles]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " or " + names[-1]
