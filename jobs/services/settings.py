"""Changes the rules of a team: its name, what launches start with, who may do more, and how long results are kept."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from jobs.access import Action, Actor, require
from jobs.errors import InvalidInput, PortalError
from jobs.models import Act, Environment, Job, Node, Team, Wallet
from jobs.selectors.settings import Rules, rules_of
from jobs.services import audit

NAME_MAX = 100
DAYS_MAX = 36_500  # a hundred years: no date that is reckoned with it falls out of the calendar


class Overtaken(PortalError):
    """Somebody else changed the same settings meanwhile. Nothing was saved.

    fields: a sentence for each. now_is: the rules as they are; wished: those, with what this person wanted to change.
    """

    code = "overtaken"

    def __init__(self, *, fields: dict[str, str], now_is: Rules, wished: Rules) -> None:
        super().__init__(
            "Somebody changed these settings while you had the page open. Nothing was saved: look at what they are "
            "now, and save again what is to be yours."
        )
        self.fields, self.now_is, self.wished = fields, now_is, wished


class RemovesResults(PortalError):
    """The rule would remove archived results at the worker's next look, for good: it has to be confirmed.

    days: the rule that the confirmation is for. jobs: how many jobs' results it removes.
    """

    code = "removes_results"

    def __init__(self, *, days: int, jobs: int) -> None:
        super().__init__(
            f"With this rule the archived results of {jobs} job{'' if jobs == 1 else 's'} are removed within the "
            "hour. That cannot be undone."
        )
        self.days, self.jobs = days, jobs


def change(
    *, actor: Actor, shown: Rules, wanted: Rules, now: datetime, confirmed_days: int | None = None
) -> bool:
    """Set what this person changed of the rules, and nothing else; return whether there was anything to change.

    shown: the rules that the person had before them, wanted: as they left them. What they did not touch stays as it is
    now, whoever changed it. confirmed_days: the rule for results that they agreed to lose some by.

    Raises:
        NotAllowed, InvalidInput
        Overtaken: another person changed one of the same settings since.
        RemovesResults: there are results that the new rule removes at once, and it was not confirmed.
    """
    require(actor, Action.SET_UP_TEAM)
    wanted = _tidy(wanted)
    with transaction.atomic():
        team = Team.objects.select_for_update().get(pk=actor.team_id)
        current = rules_of(team)
        touched = _differences(shown, wanted)
        wished = replace(current, **touched)
        lost = {
            name for name in touched if getattr(current, name) not in (getattr(shown, name), touched[name])
        }
        if lost:
            said = {name: f"Meanwhile this was changed to {_words(current, name)}." for name in sorted(lost)}
            raise Overtaken(fields=said, now_is=current, wished=wished)
        changes = _differences(current, wished)
        if not changes:
            return False
        _check(actor=actor, rules=wished, changes=changes)
        if "results_kept_days" in changes:
            _ask_about_results(
                actor=actor, before=current, after=wished, confirmed_days=confirmed_days, now=now
            )
        Team.objects.filter(pk=team.pk).update(**_columns(changes))
        audit.record(
            act=Act.SETTINGS_CHANGED,
            by=actor,
            now=now,
            thing=audit.Thing(kind="team", id=str(team.pk), name=wished.name),
            before={name: _told(current, name) for name in changes},
            after={name: _told(wished, name) for name in changes},
        )
    return True


def _tidy(rules: Rules) -> Rules:
    """Write the name on one line; an environment without its node brings it along."""
    node = rules.default_node
    if rules.default_environment is not None and node is None:
        node = (
            Environment.objects.filter(pk=rules.default_environment).values_list("node_id", flat=True).first()
        )
    return replace(rules, name=" ".join(rules.name.split()), default_node=node)


def _differences(before: Rules, after: Rules) -> dict[str, Any]:
    old = asdict(before)
    return {name: value for name, value in asdict(after).items() if value != old[name]}


def _check(*, actor: Actor, rules: Rules, changes: dict[str, Any]) -> None:
    if "name" in changes and not (0 < len(rules.name) <= NAME_MAX and rules.name.isprintable()):
        raise InvalidInput(f"A team needs a name of 1 to {NAME_MAX} characters on one line.", field="name")
    days = rules.results_kept_days
    if days is not None and not 1 <= days <= DAYS_MAX:
        raise InvalidInput(
            f"Results are kept for 1 to {DAYS_MAX} days, or for ever if this is empty.",
            field="results_kept_days",
        )
    if "default_wallet" in changes and rules.default_wallet is not None:
        _check_wallet(team_id=actor.team_id, wallet_id=rules.default_wallet)
    node = changes.get("default_node")
    if node is not None and not Node.objects.filter(pk=node).exists():
        raise InvalidInput("This node is not among the portal's nodes.", field="default_node")
    if {"default_node", "default_environment"} & set(changes) and rules.default_environment is not None:
        _check_environment(node_id=rules.default_node, environment_id=rules.default_environment)


def _check_wallet(*, team_id: int, wallet_id: int) -> None:
    wallet = Wallet.objects.filter(team_id=team_id, pk=wallet_id).first()
    if wallet is None:
        raise InvalidInput("This wallet is not one of the team's.", field="default_wallet")
    if wallet.disabled_at is not None or wallet.watch_only:
        why = (
            "is disabled"
            if wallet.disabled_at is not None
            else "is only watched: nothing can be signed with it"
        )
        raise InvalidInput(f"“{wallet.label}” {why}. Choose another.", field="default_wallet")


def _check_environment(*, node_id: int | None, environment_id: int) -> None:
    place = Environment.objects.filter(pk=environment_id, gone_at=None).select_related("node").first()
    if place is None:
        raise InvalidInput("This environment is not, or no longer, offered.", field="default_environment")
    if place.node_id != node_id:
        raise InvalidInput(
            f"This environment is at “{place.node}”: choose that node, or an environment of the node you chose.",
            field="default_environment",
        )


def _ask_about_results(
    *, actor: Actor, before: Rules, after: Rules, confirmed_days: int | None, now: datetime
) -> None:
    days = after.results_kept_days
    if days is None or days == confirmed_days:
        return
    if before.results_kept_days is not None and before.results_kept_days <= days:
        return
    jobs = Job.objects.with_old_results(
        team_id=actor.team_id, ended_before=now - timedelta(days=days)
    ).count()
    if jobs:
        raise RemovesResults(days=days, jobs=jobs)


def _columns(changes: dict[str, Any]) -> dict[str, Any]:
    return {f"{name}_id" if name in _NAMED else name: value for name, value in changes.items()}


def _told(rules: Rules, name: str) -> Any:
    """Return a setting as the record keeps it: what is a row elsewhere with its name, which outlives it."""
    value = getattr(rules, name)
    if value is None or name not in _NAMED:
        return value
    row = _NAMED[name].objects.filter(pk=value).first()
    return f"{row} (number {value})"[:200] if row else f"number {value}"


def _words(rules: Rules, name: str) -> str:
    value = _told(rules, name)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "results_kept_days":
        return f"{value} days" if value else "for ever"
    return f"“{value}”" if value else "none"


_NAMED: dict[str, Any] = {"default_wallet": Wallet, "default_node": Node, "default_environment": Environment}
