"""Launches jobs, and takes wishes about them: run again, stop, watch, go on.

Launching writes one transaction: the job, its inputs, its first event, and the queue row. No far side is called.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from jobs import queue
from jobs.access import Action, Actor, require
from jobs.errors import InvalidInput, Missing, NotAllowed
from jobs.lifecycle import ACTIVE, State
from jobs.models import Act, Job, JobEvent, JobInput, Wallet
from jobs.models.jobs import OUTCOMES
from jobs.services import audit, choosing, grants, tokens
from jobs.services.choosing import DatasetChoice, LaunchRequest, OwnAlgorithm, Plan


def launch(*, actor: Actor, request: LaunchRequest, launch_key: uuid.UUID, now: datetime) -> uuid.UUID:
    """Record a job and hand it to the worker; return its id.

    The same launch key is the same launch: a double click gets the job that the first click made. A job that this one
    replaces ends in the same commit, so that its orders are free for this one.

    Raises:
        NotAllowed: the role does not include launching, or ending the job that is replaced; or it may cost money or gas
            and the wallet is not granted.
        InvalidInput: something entered cannot be used; its field is named. Nothing was written.
    """
    require(actor, Action.LAUNCH)
    known = _launched(actor=actor, launch_key=launch_key)
    if known is not None:
        return known
    plan = choosing.plan(actor=actor, request=request)
    if not plan.free and not request.most:
        raise InvalidInput(
            "This place costs money. Look at the price first, and agree to it.",
            field="environment",
            code="not_agreed",
        )
    if plan.may_spend or request.most:
        require(actor, Action.LAUNCH_PAID)
    try:
        with transaction.atomic():
            _require_wallet(
                actor=actor, wallet_id=plan.wallet.pk, spends=plan.may_spend or bool(request.most)
            )
            job = Job.objects.create(
                team_id=actor.team_id,
                name=plan.name,
                launch_key=launch_key,
                launched_by_id=actor.user_id,
                rerun_of_id=request.rerun_of,
                wallet=plan.wallet,
                node=plan.environment.node,
                environment=plan.environment,
                algorithm=plan.algorithm.asset,
                algorithm_service_id=plan.algorithm.service_id,
                own_algorithm=plan.algorithm.own,
                container=plan.algorithm.container,
                parameters=plan.parameters,
                max_duration_s=plan.max_duration_s,
                queue_wait_s=plan.queue_wait_s,
                free=plan.free,
                payment_token=plan.payment_token,
                resources=plan.resources,
                most={token: str(amount) for token, amount in request.most.items()},
                requested_at=now,
                next_check_at=now,
            )
            JobInput.objects.bulk_create(
                JobInput(
                    job=job, position=i, dataset=x.dataset, service_id=x.service["id"], userdata=x.userdata
                )
                for i, x in enumerate(plan.inputs)
            )
            JobEvent.objects.create(
                job=job,
                at=now,
                kind=JobEvent.Kind.STATE,
                after=State.REQUESTED,
                message=f"Launched by {actor.name}.",
                actor_id=actor.user_id,
            )
            queue.enqueue(queue.Task.ADVANCE, job.pk)
            if plan.instead_of is not None:
                _replace(actor=actor, old=plan.instead_of, new=job, now=now)
            after = _told(plan=plan, request=request)
            audit.record(act=Act.JOB_LAUNCHED, by=actor, now=now, thing=_thing(job), after=after)
    except IntegrityError:
        known = _launched(actor=actor, launch_key=launch_key)
        if known is not None:
            return known
        if Job.objects.filter(launch_key=launch_key).exists():  # of another team: nobody's double click
            raise InvalidInput(
                "This form has been used already. Open the launch page again.", code="used_key"
            ) from None
        raise
    return job.pk


def _require_wallet(*, actor: Actor, wallet_id: int, spends: bool) -> None:
    """Hold the wallet as it is until the commit: nobody disables it, hands it over or takes a grant meanwhile.

    Raises:
        NotAllowed: it is not granted to the actor, who would spend from it.
        InvalidInput: it cannot be launched with any more.
    """
    wallet = Wallet.objects.select_for_update().usable().filter(pk=wallet_id).first()
    if wallet is None:
        raise InvalidInput(
            "The wallet was disabled or handed over a moment ago.", field="wallet", code="unknown_wallet"
        )
    if spends:
        grants.require_grant(actor=actor, wallet=wallet)


def _replace(*, actor: Actor, old: uuid.UUID, new: Job, now: datetime) -> None:
    """End a job that waits for a person, for the one that takes its place. Raises: InvalidInput, if it does not wait."""
    if not Job.objects.move(
        job_id=old,
        before=State.NEEDS_ATTENTION,
        after=State.CANCELLED,
        now=now,
        reason="replaced",
        message=f"Replaced by “{new.name}”, which {actor.name} launched in its place."[:500],
        actor_id=actor.user_id,
        ended_at=now,
    ):
        raise InvalidInput(
            "The job that this one was to replace does not wait for anybody any more. Nothing was launched.",
            field="instead_of",
            code="not_waiting",
        )
    audit.record(
        act=Act.JOB_GIVEN_UP,
        by=actor,
        now=now,
        thing=_thing(Job.objects.only("name").get(pk=old)),
        before={"state": State.NEEDS_ATTENTION},
        after={"state": State.CANCELLED, "replaced by": str(new.pk)},
    )


def _told(*, plan: Plan, request: LaunchRequest) -> dict[str, Any]:
    """Return what the audit record tells of a launch: no parameters and no code, which are in the job."""
    environment, algorithm = plan.environment, plan.algorithm
    network = environment.node.network
    most = {
        token: tokens.told(network=network, token=token, amount_wei=wei)
        for token, wei in request.most.items()
    }
    return {
        "datasets": [f"{x.dataset.name} ({x.dataset.did})" for x in plan.inputs],
        "algorithm": f"{algorithm.name} ({algorithm.asset.did if algorithm.asset else 'code of their own'})",
        "node": environment.node.name,
        "environment": environment.description or environment.env_id,
        "wallet": plan.wallet.label,
        "address": plan.wallet.address,
        "free": plan.free and not most,
        **({"at most": most} if most else {}),
        **({"again": str(request.rerun_of)} if request.rerun_of else {}),
        **({"in the place of": str(plan.instead_of)} if plan.instead_of else {}),
    }


def _thing(job: Job) -> audit.Thing:
    return audit.Thing("job", str(job.pk), job.name)


def rerun_request(*, actor: Actor, job_id: uuid.UUID) -> LaunchRequest:
    """Return the request that would launch the same job again, with the rights of whoever asks.

    What was agreed to for the first one is not agreed to for this one.

    Raises:
        NotAllowed, Missing
    """
    job = _job(actor=actor, job_id=job_id)
    require(actor, Action.LAUNCH)
    return LaunchRequest(
        datasets=tuple(
            DatasetChoice(ref=x.dataset.did, service_id=x.service_id, userdata=x.userdata)
            for x in job.inputs.select_related("dataset").order_by("position")
        ),
        algorithm=_algorithm_again(job),
        environment=str(job.environment_id),
        wallet=job.wallet.label,
        parameters=job.parameters,
        max_duration_s=job.max_duration_s,
        queue_wait_s=job.queue_wait_s,
        name=job.name,
        rerun_of=job.pk,
        paid=not job.free,
        token=job.payment_token,
        resources=job.resources,
    )


def rerun(*, actor: Actor, job_id: uuid.UUID, launch_key: uuid.UUID, now: datetime) -> uuid.UUID:
    """Launch the same job again; return the new job's id.

    Raises:
        NotAllowed, Missing
        InvalidInput: what it needs is no longer there (wallet disabled, environment gone); or it costs money, and its
            price has to be looked at first (code not_agreed).
    """
    request = rerun_request(actor=actor, job_id=job_id)
    if _job(actor=actor, job_id=job_id).needs_price:
        raise InvalidInput(
            "Running this job again costs money. Open it with “Run with changes”, look at the price, and agree to it.",
            field="environment",
            code="not_agreed",
        )
    return launch(actor=actor, request=request, launch_key=launch_key, now=now)


def cancel(*, actor: Actor, job_id: uuid.UUID, now: datetime) -> bool:
    """Note the wish that a job be stopped; the worker's next step honours it. Return whether this wish is new.

    Raises:
        NotAllowed: the role does not include stopping this job.
        Missing: no such job in this team.
    """
    job = _job(actor=actor, job_id=job_id)
    _require_stop(actor=actor, job=job)
    with transaction.atomic():
        new = Job.objects.record(
            job_id=job.pk,
            kind=JobEvent.Kind.STOP_WISH,
            now=now,
            message=f"{actor.name} asked to stop the job.",
            actor_id=actor.user_id,
            expect={"state__in": ACTIVE | {State.NEEDS_ATTENTION}, "cancel_requested_at": None},
            cancel_requested_at=now,
            cancel_requested_by_id=actor.user_id,
            next_check_at=now,
        )
        if new and job.state == State.NEEDS_ATTENTION and job.attention_from:
            # Only the worker can tell the node, and it does nothing with a job that waits for a person.
            Job.objects.move(
                job_id=job.pk,
                before=State.NEEDS_ATTENTION,
                after=State(job.attention_from),
                now=now,
                actor_id=actor.user_id,
            )
        if new:
            queue.enqueue(queue.Task.ADVANCE, job.pk)
            before = {"state": job.state}
            audit.record(act=Act.JOB_STOPPED, by=actor, now=now, thing=_thing(job), before=before)
    return new


def go_on(*, actor: Actor, job_id: uuid.UUID, now: datetime) -> bool:
    """Put a job that needed attention back to the state it came from; return whether it was waiting.

    Where it may still spend something, that is done with the rights of who lets it go on.

    Raises:
        NotAllowed, Missing
    """
    job = _job(actor=actor, job_id=job_id)
    require(actor, Action.LAUNCH)
    _require_stop(actor=actor, job=job)
    if job.state != State.NEEDS_ATTENTION or not job.attention_from:
        return False
    if job.may_spend_yet:
        require(actor, Action.LAUNCH_PAID)
        grants.require_grant(actor=actor, wallet=job.wallet)
    reason, sentence = _verdict(job)
    goes_on_as = _where_to_go_on(job)
    with transaction.atomic():
        won = Job.objects.move(
            job_id=job.pk,
            before=State.NEEDS_ATTENTION,
            after=goes_on_as,
            now=now,
            reason=reason,
            message=f"{actor.name} asked the portal to go on. {sentence}".strip()[:500],
            actor_id=actor.user_id,
            next_check_at=now,
            trouble="",
            trouble_count=0,
            start_attempts=0,
            stop_attempts=0,
            missing_count=0,
        )
        if won:
            queue.enqueue(queue.Task.ADVANCE, job.pk)
            before, after = {"state": job.state}, {"state": goes_on_as}
            audit.record(
                act=Act.JOB_GONE_ON, by=actor, now=now, thing=_thing(job), before=before, after=after
            )
    return won


def give_up(*, actor: Actor, job_id: uuid.UUID, now: datetime) -> bool:
    """End a job that needed attention; return whether it was waiting.

    It has failed, unless the node had said how it ended and only its results were missing.

    Raises:
        NotAllowed, Missing
    """
    job = _job(actor=actor, job_id=job_id)
    _require_stop(actor=actor, job=job)
    if job.state != State.NEEDS_ATTENTION:
        return False
    ends_as = OUTCOMES.get(job.outcome, State.FAILED)
    with transaction.atomic():
        won = Job.objects.move(
            job_id=job.pk,
            before=State.NEEDS_ATTENTION,
            after=ends_as,
            now=now,
            reason=job.reason or "given_up",
            message=f"{actor.name} ended the job here. {job.message}"[:500],
            actor_id=actor.user_id,
            ended_at=now,
        )
        if won:
            before, after = {"state": job.state}, {"state": ends_as}
            audit.record(
                act=Act.JOB_GIVEN_UP, by=actor, now=now, thing=_thing(job), before=before, after=after
            )
    return won


def _where_to_go_on(job: Job) -> State:
    """Return where a job goes on: a payment of which nothing is on its way is worked out anew, at today's prices."""
    if job.attention_from == State.PAYING and not job.transactions.under_way().exists():
        return State.REQUESTED
    return State(job.attention_from)


def _verdict(job: Job) -> tuple[str, str]:
    """Return reason and sentence of a job whose results were being fetched when it was put aside: they stay."""
    if job.attention_from != State.COLLECTING:
        return "", ""
    told = job.events.filter(kind=JobEvent.Kind.STATE, before=State.RUNNING, after=State.COLLECTING)
    event = told.order_by("-pk").first()
    return (event.reason, event.message) if event is not None else ("", "")


def _algorithm_again(job: Job) -> str | OwnAlgorithm:
    if job.algorithm is not None:
        return job.algorithm.did
    return OwnAlgorithm(**{**(job.own_algorithm or {}), **job.container})


def _launched(*, actor: Actor, launch_key: uuid.UUID) -> uuid.UUID | None:
    return (
        Job.objects.filter(team_id=actor.team_id, launch_key=launch_key).values_list("pk", flat=True).first()
    )


def _require_stop(*, actor: Actor, job: Job) -> None:
    if not actor.may_stop(owner_id=job.owner_id):
        raise NotAllowed(
            f"Your role in this team is {actor.role}: you may not stop or end this job. "
            "Ask who launched it, or an admin."
        )


def _job(*, actor: Actor, job_id: uuid.UUID) -> Job:
    job = Job.objects.filter(team_id=actor.team_id, pk=job_id).first()
    if job is None:
        raise Missing("There is no such job in this team.")
    return job
