"""The audit record: who did what, to what, when, and from where. The database refuses to change or delete it."""

from __future__ import annotations

from django.db import models

from jobs.models.teams import Team


class Act(models.TextChoices):
    """What can be done. The codes stay for ever: they are in the record and in its hashes."""

    SIGNED_IN = "account.signed_in", "Signed in"
    SIGN_IN_FAILED = "account.sign_in_failed", "Failed to sign in"
    SIGNED_OUT = "account.signed_out", "Signed out"
    SIGNED_UP = "account.signed_up", "Signed up"
    SIGN_IN_LINKED = "account.linked", "Linked the organisation's sign-in"
    PASSWORD_CHANGED = "account.password_changed", "Changed the password"
    EMAIL_CHANGED = "account.email_changed", "Changed e-mail addresses"
    FACTOR_ADDED = "account.factor_added", "Added a second factor"
    FACTOR_REMOVED = "account.factor_removed", "Removed a second factor"
    FACTOR_SEALED_AGAIN = "account.factor_sealed_again", "Sealed a second factor anew"
    SESSIONS_ENDED = "account.sessions_ended", "Signed out other sessions"
    PROFILE_CHANGED = "account.profile_changed", "Changed the profile"

    TEAM_MADE = "team.made", "Made a team"
    SETTINGS_CHANGED = "team.settings_changed", "Changed the team's settings"
    INVITED = "team.invited", "Invited a person"
    INVITED_AGAIN = "team.invited_again", "Sent an invitation again"
    INVITATION_REVOKED = "team.invitation_revoked", "Revoked an invitation"
    JOINED = "team.joined", "Joined the team"
    ROLE_CHANGED = "team.role_changed", "Changed a role"
    MEMBER_REMOVED = "team.member_removed", "Removed a member"
    LEFT = "team.left", "Left the team"
    RECORD_EXPORTED = "team.record_exported", "Exported the audit record"

    JOB_LAUNCHED = "job.launched", "Launched a job"
    JOB_STOPPED = "job.stopped", "Asked to stop a job"
    JOB_GONE_ON = "job.gone_on", "Let a job go on"
    JOB_GIVEN_UP = "job.given_up", "Ended a job"
    JOB_HANDED_ON = "job.handed_on", "Handed a job on"
    DOWNLOADED = "job.downloaded", "Downloaded a result"
    LOOKED = "job.looked_at", "Looked at a result"
    RESULTS_REMOVED = "job.results_removed", "Removed results"
    SHARED = "job.shared", "Made a link for outside"
    SHARE_OPENED = "job.share_opened", "Opened a link from outside"
    SHARE_DOWNLOADED = "job.share_downloaded", "Downloaded by a link from outside"
    SHARE_REVOKED = "job.share_revoked", "Revoked a link for outside"

    ASSET_ADDED = "catalogue.added", "Added an asset"
    ASSET_READ_AGAIN = "catalogue.read_again", "Read an asset again"

    WALLET_ADDED = "wallet.added", "Added a wallet"
    WALLET_GOT_KEY = "wallet.got_key", "Gave a watched wallet its key"
    WALLET_DISABLED = "wallet.disabled", "Disabled a wallet"
    WALLET_ENABLED = "wallet.enabled", "Enabled a wallet again"
    WALLET_HANDED_OVER = "wallet.handed_over", "Handed a wallet to another team"
    WALLET_SEALED_AGAIN = "wallet.sealed_again", "Sealed a wallet's key anew"
    GRANTED = "wallet.granted", "Granted the use of a wallet"
    GRANT_TAKEN = "wallet.grant_taken", "Took back the use of a wallet"
    LIMIT_SET = "wallet.limit_set", "Set a limit"
    NODE_TOKEN_WANTED = "wallet.node_token_wanted", "Asked for a node token"
    NODE_TOKEN_GIVEN_BACK = "wallet.node_token_given_back", "Gave a node token back"
    SIGNED = "wallet.signed", "Signed a request to a node"

    TRANSACTION_SIGNED = "money.transaction_signed", "Signed a transaction"
    TRANSACTION_SPED_UP = "money.sped_up", "Sped a transaction up"
    TRANSACTION_CANCELLED = "money.cancelled", "Cancelled a transaction"
    GAP_FILLED = "money.gap_filled", "Filled a gap in a wallet's numbers"
    ESCROW_WITHDRAWN = "money.escrow_withdrawn", "Took money back from an escrow"
    ESCROW_RELEASED = "money.escrow_released", "Freed what was locked in an escrow"

    ADMIN_ADDED = "admin.added", "Added a record in the admin"
    ADMIN_CHANGED = "admin.changed", "Changed a record in the admin"
    ADMIN_DELETED = "admin.deleted", "Deleted a record in the admin"


class AuditEntry(models.Model):
    """One act. People are named in text, with their number: an entry outlives who it speaks of.

    number: consecutive over the whole portal. hash: SHA-256 over the hash before and this entry's content (see
    `jobs.services.audit`).
    """

    number = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField()
    # No constraint: PostgreSQL would lock the team's row for it while the record's end is locked, against the order.
    team = models.ForeignKey(
        Team, on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_constraint=False
    )
    user_number = models.BigIntegerField(
        null=True, blank=True, help_text="Empty: the portal itself, or a stranger."
    )
    who = models.CharField(max_length=200)
    origin = models.CharField(
        max_length=100, blank=True, help_text="A network address, or which part of the portal."
    )
    act = models.CharField(max_length=40, help_text="A code of Act.")
    kind = models.CharField(max_length=40, blank=True, help_text="What sort of object it was done to.")
    object_id = models.CharField(max_length=100, blank=True)
    object_name = models.CharField(max_length=200, blank=True)
    before = models.JSONField(null=True, blank=True)
    after = models.JSONField(null=True, blank=True)
    hash_before = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    class Meta:
        indexes = [
            models.Index(fields=["team", "-number"], name="audit_of_team"),
            models.Index(fields=["team", "kind", "object_id", "-number"], name="audit_of_object"),
        ]

    def __str__(self) -> str:
        return f"{self.number}: {self.who} {self.act}"


class AuditHead(models.Model):
    """The end of the record: its row lock lets one writer at a time add to it."""

    name = models.CharField(max_length=10, primary_key=True, default="head")
    number = models.BigIntegerField(default=0)
    hash = models.CharField(max_length=64, default="0" * 64)

    def __str__(self) -> str:
        return f"entry {self.number}"
