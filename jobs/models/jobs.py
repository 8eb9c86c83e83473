"""Jobs, what went in, what happened, what came out. The portal's own record: a node forgets, this does not."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.db import models, transaction
from django.db.models import F

from jobs.lifecycle import ACTIVE, TERMINAL, State, check
from jobs.models.amounts import WeiField
from jobs.models.catalogue import Asset
from jobs.models.networks import Environment, Node
from jobs.models.teams import Team, User
from jobs.models.wallets import Wallet

BEFORE_RUNNING = frozenset({State.REQUESTED, State.PAYING, State.PAID, State.STARTING})
# How the verdict about a job ends it once its results are collected. Source: jobs.ocean.compute.Verdict.state
OUTCOMES = {"succeeded": State.SUCCEEDED, "failed": State.FAILED, "cancelled": State.CANCELLED}
# What people may want to be told of by e-mail.
TOLD = TERMINAL | {State.NEEDS_ATTENTION}


class JobQuerySet(models.QuerySet["Job"]):
    """The filters and the only writers of `Job.state`."""

    def due(self, *, now: datetime) -> JobQuerySet:
        """Jobs that the worker should look at: their time has come and nobody is at work on them."""
        return self.filter(state__in=ACTIVE, next_check_at__lte=now).filter(
            models.Q(lease_until__isnull=True) | models.Q(lease_until__lte=now)
        )

    def with_old_results(self, *, team_id: int, ended_before: datetime) -> JobQuerySet:
        """Jobs of a team that had ended by then, and of which files are still archived."""
        archived = Result.objects.filter(job=models.OuterRef("pk"), status=Result.Status.ARCHIVED)
        ended = self.filter(team_id=team_id, state__in=TERMINAL, ended_at__lte=ended_before)
        return ended.filter(models.Exists(archived))

    def under_way_of(self, *, team_id: int, user_id: int) -> JobQuerySet:
        """Jobs of a team that are this person's own and have not ended, also those that wait for a person."""
        own = models.Q(handed_to_id=user_id) | models.Q(handed_to=None, launched_by_id=user_id)
        return self.filter(own, team_id=team_id, state__in=ACTIVE | {State.NEEDS_ATTENTION})

    def move(
        self,
        *,
        job_id: uuid.UUID,
        before: State,
        after: State,
        now: datetime,
        reason: str = "",
        message: str = "",
        actor_id: int | None = None,
        holder: str = "",
        data: dict[str, Any] | None = None,
        **facts: Any,
    ) -> bool:
        """Move a job along one arrow of the table, with the event that tells of it, or not at all.

        reason: short code kept in the row; message: the sentence a person reads.
        holder: when given, the move also asks that the lease is still this holder's.
        facts: columns to set in the same UPDATE; `attention_from` is where a person's "go on" leads, the state before if
            it is not given.
        Returns whether this caller won. Losing is normal: someone else moved the job first.

        Raises:
            IllegalMove: the table has no such arrow.
        """
        check(before=before, after=after)
        mine = {"lease_holder": holder} if holder else {}
        if after is State.NEEDS_ATTENTION:
            facts.setdefault("attention_from", before)
        with transaction.atomic():
            won = self.filter(pk=job_id, state=before, **mine).update(
                state=after, reason=reason, message=message, version=F("version") + 1, **facts
            )
            if won:
                JobEvent.objects.create(
                    job_id=job_id,
                    at=now,
                    kind=JobEvent.Kind.STATE,
                    before=before,
                    after=after,
                    reason=reason,
                    message=message,
                    actor_id=actor_id,
                    data=data or {},
                    tell_at=now if after in TOLD else None,
                )
        return bool(won)

    def record(
        self,
        *,
        job_id: uuid.UUID,
        kind: str,
        now: datetime,
        message: str = "",
        actor_id: int | None = None,
        data: dict[str, Any] | None = None,
        expect: dict[str, Any] | None = None,
        **facts: Any,
    ) -> bool:
        """Set columns other than the state, with the event that tells of it, if the row is as expected.

        Returns whether the row was as expected; if not, nothing was written.
        """
        with transaction.atomic():
            won = self.filter(pk=job_id, **(expect or {})).update(version=F("version") + 1, **facts)
            if won:
                JobEvent.objects.create(
                    job_id=job_id, at=now, kind=kind, message=message, actor_id=actor_id, data=data or {}
                )
        return bool(won)

    def claim(self, *, job_id: uuid.UUID, holder: str, now: datetime, until: datetime) -> bool:
        """Take the lease on a job if it is free; return whether this holder has it now."""
        return bool(
            self.filter(pk=job_id)
            .filter(models.Q(lease_until__isnull=True) | models.Q(lease_until__lte=now))
            .update(lease_holder=holder, lease_until=until)
        )

    def renew(self, *, job_id: uuid.UUID, holder: str, now: datetime, until: datetime) -> bool:
        """Keep the lease during a long step; False means it ran out and is lost: write nothing more."""
        return bool(
            self.filter(pk=job_id, lease_holder=holder, lease_until__gt=now).update(lease_until=until)
        )

    def put_off(self, job: Job, *, holder: str, at: datetime, trouble: str, **facts: Any) -> None:
        """Have a step tried again later, and let the page say why. facts: further columns to set."""
        self.filter(pk=job.pk, state=job.state, lease_holder=holder).update(
            next_check_at=at,
            trouble=trouble[:500],
            version=F("version") + 1,
            **{"trouble_count": job.trouble_count + 1} | facts,
        )

    def release(self, *, job_id: uuid.UUID, holder: str) -> None:
        """Give the lease back, if it is still this holder's."""
        self.filter(pk=job_id, lease_holder=holder).update(lease_holder="", lease_until=None)


class Job(models.Model):
    """One run of one algorithm on one or more datasets in one environment."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="jobs")
    name = models.CharField(max_length=200)
    launch_key = models.UUIDField(
        unique=True, help_text="Made with the form: the same key is the same launch."
    )
    tag = models.UUIDField(
        unique=True,
        default=uuid.uuid4,
        editable=False,
        help_text="Travels to the node, where anyone can read it: opaque.",
    )
    launched_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    handed_to = models.ForeignKey(
        User,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="Whose job it is now, where the launcher has left.",
    )
    rerun_of = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="jobs")
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="jobs")
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="jobs")
    algorithm = models.ForeignKey(Asset, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    algorithm_service_id = models.CharField(max_length=200, blank=True)
    own_algorithm = models.JSONField(
        null=True, blank=True, help_text="Code of one's own in place of an algorithm: language, code or url."
    )
    container = models.JSONField(
        help_text="As the algorithm's publisher described it when the job was launched, or as the launcher chose it."
    )
    parameters = models.JSONField(null=True, blank=True, help_text="What the algorithm reads as custom data.")
    max_duration_s = models.PositiveIntegerField(help_text="After that the node stops the job.")
    queue_wait_s = models.PositiveIntegerField(help_text="How long the job may wait for a free place.")
    free = models.BooleanField(default=True)
    resources = models.JSONField(
        null=True, blank=True, help_text="Amounts by id, as asked for; null takes the smallest."
    )
    payment_token = models.CharField(
        max_length=42, blank=True, help_text="What the compute time of a paid job is paid in."
    )
    most = models.JSONField(
        default=dict,
        blank=True,
        help_text="The most that the launcher agreed to, in wei by token; text, as wei are long.",
    )
    escrow_need = models.JSONField(
        null=True,
        blank=True,
        help_text="What the node asked to find in the escrow: payee, amount, lock time.",
    )
    lock_id = models.CharField(max_length=80, blank=True, help_text="The job's number in the escrow.")
    lock_tx = models.CharField(max_length=66, blank=True)
    claim_tx = models.CharField(max_length=66, blank=True)
    charged_wei = WeiField(
        null=True,
        blank=True,
        help_text="What the node took from the escrow.",
    )
    settled_at = models.DateTimeField(
        null=True, blank=True, help_text="When it was seen that nothing of the job is locked any more."
    )
    algorithm_order = models.ForeignKey(
        "Order", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    seen_before = models.JSONField(
        default=list,
        blank=True,
        help_text="A Provider's jobs of the same orders from before this one was sent.",
    )

    state = models.CharField(
        max_length=20, choices=[(s.value, s.value) for s in State], default=State.REQUESTED
    )
    reason = models.CharField(max_length=60, blank=True)
    message = models.CharField(max_length=500, blank=True)
    attention_from = models.CharField(max_length=20, blank=True)
    version = models.PositiveIntegerField(default=1, help_text="Grows with every change a page shows.")

    node_job_id = models.CharField(max_length=320, blank=True, db_index=True)
    node_status = models.IntegerField(null=True, blank=True)
    node_status_text = models.CharField(max_length=200, blank=True)
    node_status_at = models.DateTimeField(null=True, blank=True)
    first_failure = models.IntegerField(
        null=True, blank=True, help_text="The first failure number seen: a node later rewrites it to 70."
    )
    report = models.JSONField(null=True, blank=True, help_text="The node's last answer about this job.")
    report_at = models.DateTimeField(null=True, blank=True)
    exit_code = models.IntegerField(null=True, blank=True)
    outcome = models.CharField(max_length=20, blank=True, help_text="Known before COLLECTING.")

    next_check_at = models.DateTimeField(null=True, blank=True)
    lease_holder = models.CharField(max_length=150, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    start_attempts = models.PositiveIntegerField(default=0)
    start_sent_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Set before the start request leaves: from then on look before repeating.",
    )
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    stop_sent_at = models.DateTimeField(null=True, blank=True)
    stop_attempts = models.PositiveIntegerField(default=0)
    trouble = models.CharField(
        max_length=500, blank=True, help_text="Why the last question was not answered."
    )
    trouble_count = models.PositiveIntegerField(default=0)
    missing_count = models.PositiveIntegerField(
        default=0, help_text="Good answers in a row that did not contain this job."
    )
    watched_until = models.DateTimeField(null=True, blank=True)
    follow_holder = models.CharField(max_length=150, blank=True)
    follow_until = models.DateTimeField(null=True, blank=True)

    requested_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    algorithm_started_at = models.DateTimeField(null=True, blank=True)
    algorithm_stopped_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True, help_text="By the node's clock.")
    ended_at = models.DateTimeField(null=True, blank=True, help_text="When its results were here.")
    node_expires_at = models.DateTimeField(
        null=True, blank=True, help_text="When the node deletes its copy and its row."
    )

    objects = JobQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(
                fields=["next_check_at"], condition=models.Q(state__in=sorted(ACTIVE)), name="job_due"
            ),  # the pulse reads this every second
            models.Index(
                fields=["team", "-requested_at", "id"], name="job_list"
            ),  # the job list, newest first
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=[s.value for s in State]), name="job_state_known"
            ),
            models.CheckConstraint(
                condition=~models.Q(state=State.RUNNING) | ~models.Q(node_job_id=""),
                name="job_running_has_node_job_id",
            ),
            models.CheckConstraint(
                condition=models.Q(algorithm__isnull=False, own_algorithm__isnull=True)
                | models.Q(algorithm__isnull=True, own_algorithm__isnull=False),
                name="job_has_one_algorithm",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def owner_id(self) -> int | None:
        """Whose own job it is: the launcher's, unless it was handed on."""
        return self.handed_to_id if self.handed_to_id is not None else self.launched_by_id

    @property
    def needs_price(self) -> bool:
        """Whether somebody has to look at a price before the same job is launched again."""
        return not self.free or bool(self.most)

    @property
    def may_spend_yet(self) -> bool:
        """Whether a job that waits for a person may send transactions, or have a node lock what it costs, if it goes on."""
        costs = not self.free or bool(self.most) or self.node.can.orders
        return costs and self.attention_from in BEFORE_RUNNING

    @property
    def algorithm_name(self) -> str:
        """What runs, in words: the published algorithm's name, or that it is code of one's own."""
        if self.algorithm is not None:
            return self.algorithm.name
        language = (self.own_algorithm or {}).get("language")
        return f"Own code ({language})" if language else "Own code"


class JobInput(models.Model):
    """A dataset that a job reads."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="inputs")
    position = models.PositiveIntegerField()
    dataset = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="+")
    service_id = models.CharField(max_length=200)
    userdata = models.JSONField(null=True, blank=True)
    order = models.ForeignKey("Order", on_delete=models.PROTECT, null=True, blank=True, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "position"], name="job_input_position_once"),
            models.UniqueConstraint(fields=["job", "dataset", "service_id"], name="job_input_once"),
        ]

    def __str__(self) -> str:
        return f"{self.dataset} for {self.job}"


class JobEvent(models.Model):
    """One thing that happened to a job. Append-only: written with the change or not at all.

    `tell_at` alone changes: it says whether somebody still has to look whom to tell.
    """

    class Kind(models.TextChoices):
        STATE = "state", "State"
        NODE_STATUS = "node_status", "Node status"
        PAYMENT = "payment", "Payment"
        STARTED = "start_sent", "Start sent"
        STOP_WISH = "stop_wish", "Stop asked for"
        STOP_SENT = "stop_sent", "Stop sent"
        TROUBLE = "trouble", "Trouble"
        RESULT = "result", "Result"
        DOWNLOADED = "downloaded", "Downloaded"
        HANDED_ON = "handed_on", "Handed on"
        REMOVED = "removed", "Results removed"

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField()
    kind = models.CharField(max_length=20, choices=Kind)
    before = models.CharField(max_length=20, blank=True)
    after = models.CharField(max_length=20, blank=True)
    reason = models.CharField(max_length=60, blank=True)
    message = models.CharField(max_length=500, blank=True)
    actor = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    data = models.JSONField(default=dict, blank=True)
    tell_at = models.DateTimeField(
        null=True, blank=True, help_text="When the worker looks whom to tell of it; empty: that was done."
    )

    class Meta:
        indexes = [
            models.Index(fields=["job", "id"], name="job_history"),
            models.Index(
                fields=["tell_at"], condition=models.Q(tell_at__isnull=False), name="job_event_untold"
            ),  # the pulse looks for whom to write to
        ]

    def __str__(self) -> str:
        return self.message or f"{self.kind} {self.after}"


class LogChunk(models.Model):
    """A piece of a live log. Gone once the log is archived.

    offset: bytes of decoded log before this piece. Lines carry no time of their own: `arrived_at` is ours.
    """

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="log_chunks")
    offset = models.PositiveBigIntegerField()
    stream = models.PositiveSmallIntegerField(help_text="1 standard output, 2 standard error.")
    data = models.BinaryField()
    arrived_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "offset"], name="log_chunk_once")]

    def __str__(self) -> str:
        return f"{len(self.data)} bytes at {self.offset}"


class Result(models.Model):
    """A file that a job left: an output, a log, or a member of the outputs archive."""

    class Status(models.TextChoices):
        PENDING = "pending", "Not fetched yet"
        ARCHIVED = "archived", "Archived"
        FAILED = "failed", "Could not be fetched"
        REMOVED = "removed", "Removed"

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="results")
    index = models.PositiveIntegerField(help_text="Position in the node's list when the job had ended.")
    path = models.CharField(
        max_length=500, blank=True, help_text="Within the outputs archive; empty for what the node lists."
    )
    name = models.CharField(max_length=255)
    kind = models.CharField(max_length=40, help_text="output, or which log")
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    size = models.PositiveBigIntegerField(null=True, blank=True, help_text="Bytes of the archived file.")
    sha256 = models.CharField(max_length=64, blank=True)
    file = models.FileField(max_length=300, blank=True)
    trouble = models.CharField(max_length=500, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True, blank=True)
    archived_at = models.DateTimeField(null=True, blank=True)
    removed_at = models.DateTimeField(
        null=True, blank=True, help_text="When the team's rule deleted the file."
    )
    unpacked_at = models.DateTimeField(
        null=True, blank=True, help_text="When the files of this archive became results of their own."
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "index", "path"], name="result_once")]
        indexes = [
            models.Index(
                fields=["next_try_at"], condition=models.Q(next_try_at__isnull=False), name="result_due"
            )  # the pulse looks for what is to be tried again
        ]

    def __str__(self) -> str:
        return self.path or self.name

    @property
    def is_log(self) -> bool:
        """Whether it is a log rather than what the algorithm wrote. Source: recordings 01 and provider-v4 43."""
        return self.kind.endswith("Log")


class Pulse(models.Model):
    """The one heartbeat of the worker: who beats, until when, and when it last did.

    Another name is that of something which is done now and then: when it was last begun, and until when that will do.
    """

    name = models.CharField(max_length=20, primary_key=True, default="pulse")
    holder = models.CharField(max_length=150, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    beat_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.name}, last at {self.beat_at}"
