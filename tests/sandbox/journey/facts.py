"""The durable facts on the way of a job, in one place: what each one says, and how a test gets there.

A fact is named after the one place in the services that writes it. Every such place is in FACTS, in ORDER_FACTS (see
`order_facts`), or in NO_FACTS with the reason why nobody has to be killed there; a test compares them with what the source
says.
"""

from dataclasses import dataclass

# The services that a job passes; the others have nothing to do with a single job.
ON_THE_WAY = {
    *("launching", "running", "ordering", "payments", "sending", "starting", "stopping"),
    *("refreshing", "following", "results", "gateway", "budget"),
    *("acting", "blocks", "escrows", "settling", "tokens"),
}
ASIDE = {
    "accounts": "who comes in",
    "agreements": "reads only",
    "asking": "reads only",
    "audit": "part of the act that it tells of",
    "balances": "what wallets hold, for all jobs; no step of a job reads it",
    "holders": "reads only",
    "catalogue": "what is published, for all jobs",
    "choosing": "reads only",
    "datatokens": "reads only",
    "demo": "sets up a demo",
    "effects": "reads only",
    "extracts": "what a person takes along of the audit record",
    "grants": "who may spend, for all jobs",
    "handovers": "a wallet that no job needs any more",
    "invitations": "who joins a team",
    "letters": "e-mails, with a life of their own: see TestSend",
    "limits": "what one job may spend: a person's one write, which is there or not, for all jobs",
    "looking": "reads only",
    "members": "who is in a team",
    "nodes": "what nodes offer, for all jobs",
    "notifications": "who is written to about what has happened: see TestTell",
    "nodetokens": "stand in for signatures, for all jobs: without one a request is signed",
    "outlays": "reads only",
    "pacing": "reads only",
    "places": "reads only",
    "posting": "e-mails, with a life of their own: see TestSend",
    "profiles": "what a person prefers",
    "quoting": "reads only",
    "reconciling": "compares, for all jobs; writes down nothing but what it found",
    "retention": "of jobs that ended long ago: see TestKilled in its own tests",
    "settings": "a team's rules, for all jobs",
    "rotating": "the operator's command: each row is written whole or not at all, and the next run goes on",
    "sharing": "links for people outside: a person's one write, which is there or not; no job moves by it",
    "starts": "reads only",
    "teams": "who may do what",
    "unpacking": "reads only",
    "vault": "reads only",
    "verifying": "reads only",
    "wallets": "keys, for all jobs",
}


@dataclass(frozen=True)
class Fact:
    """Something that is true from now on, whoever dies.

    way: how to get there; also: other ways on which it means more. nth: of several like it, the ones after which to die.
    long: which of these numbers and other ways wait for the run that may take longer.
    """

    says: str
    way: str = "plain"
    nth: tuple[int, ...] = (1,)
    also: tuple[str, ...] = ()
    long: tuple[int | str, ...] = ()

    @property
    def cases(self) -> list[tuple[str, int]]:
        """Each way with each number after which to die."""
        return [(self.way, nth) for nth in self.nth] + [(way, 1) for way in self.also]


# Where a worker falls asleep past its leases, while another one goes on.
FROZEN = {
    "running.advance: claim": Fact("about to look at the job"),
    "starting.begin_start: move STARTING": Fact("about to start it"),
    "gateway._Turn.next_nonce: update": Fact("about to sign the start", nth=(1, 2)),
    "starting._send_start.send: record": Fact("about to send the start"),
    "starting._send_start.send: start": Fact("has the node's answer to the start"),
    "starting._accepted: move RUNNING": Fact("about to note what the node said"),
    "refreshing.apply_report: update": Fact("has noted what the node said"),
    "following._append: create": Fact("about to read on in the log", way="watched"),
    "stopping.stop.send: record": Fact("about to send the stop", way="stopped"),
    "refreshing._end: move COLLECTING": Fact("about to fetch"),
    "results._renewer.alive: renew": Fact("about to ask for a result", nth=(2,)),
    "gateway._turn: update 2": Fact("about to read what a result holds", nth=(2,)),
    "results._archive: save": Fact("has stored a file, about to say so", nth=(1, 3)),
    "results._archive: update": Fact("about to fetch the next result"),
    "results._finish: move": Fact("about to give the lease back"),
}

# Facts that a person's wish makes, and the wish.
WISHES = {
    "launching.cancel: record": "launching.cancel(actor=actor, job_id=job_id, now=clock())",
    "launching.go_on: move": "launching.go_on(actor=actor, job_id=job_id, now=clock())",
    "launching.give_up: move": "launching.give_up(actor=actor, job_id=job_id, now=clock())",
    "acting._wish: update": "from jobs.models import Transaction\nfrom jobs.services import acting\n"
    "acting.speed_up(actor=actor, transaction_id=Transaction.objects.get(status='sent').pk, now=clock())",
    "acting.plan_act: enqueue ACT": "from jobs.models import EscrowAccount\nfrom jobs.services import escrows\n"
    "escrows.withdraw(actor=actor, account_id=EscrowAccount.objects.get().pk, amount=None, now=clock())",
}

FACTS = {
    # asked for
    "launching.cancel: record": Fact("A person's wish to stop the job.", way="a person stops"),
    "launching.go_on: move": Fact("A person's wish to go on after all.", way="a person goes on"),
    "launching.give_up: move": Fact("A person has ended the job.", way="a person gives up"),
    # taken up
    "queue.run_worker: update_or_create": Fact("The queue asks for a pulse each minute."),
    "queue.run_worker: enqueue PULSE": Fact("The queue asks for a pulse now."),
    "django_q: a task is taken": Fact("The queue has handed out a task, and does so once.", nth=(1, 2)),
    "django_q: a task is done": Fact("The queue has forgotten a task."),
    "running.free_leases_of_the_dead: update": Fact(
        "A dead worker has no job any more.", way="after a death"
    ),
    "running.free_leases_of_the_dead: update 2": Fact("The dead worker's job is due.", way="after a death"),
    "running.free_leases_of_the_dead: update 3": Fact(
        "A dead worker follows no log any more.", way="after the death of a follower"
    ),
    "running.free_leases_of_the_dead: update 4": Fact(
        "A dead worker has no turn to sign any more.", way="after a death"
    ),
    "running.free_leases_of_the_dead: update 5": Fact(
        "A dead worker has no pulse any more.", way="after a death"
    ),
    "running.pulse: get_or_create": Fact("There is a pulse."),
    "running.pulse: update 2": Fact("The pulse is taken, and has beaten.", nth=(1, 2)),
    "running.hand_over_pulse: update": Fact("The pulse is let go of.", way="short pulse"),
    "running.hand_over_pulse: enqueue PULSE": Fact("The next pulse is asked for.", way="short pulse"),
    "running._enqueue_due_jobs: update": Fact("The pulse has claimed a due job.", way="queue lost"),
    "running._enqueue_due_jobs: enqueue ADVANCE 2": Fact(
        "A step with the job is asked for.", way="queue lost"
    ),
    "running._enqueue_due_jobs: enqueue ADVANCE": Fact("The stop is asked for again.", way="stopped"),
    "running._enqueue_due_jobs: enqueue REFRESH": Fact("A look at the node's jobs is asked for."),
    "running._enqueue_due_jobs: enqueue COLLECT": Fact(
        "Fetching the results is asked for again.", way="queue lost while collecting"
    ),
    "running.advance: claim": Fact("The lease on the job is taken."),
    "running.advance: release": Fact("The lease on the job is given back."),
    "running.advance: enqueue COLLECT": Fact(
        "Fetching the results is asked for by a step.", way="put aside while collecting"
    ),
    # started
    "starting.begin_start: move STARTING": Fact("The job is STARTING."),
    "gateway._turn: get_or_create": Fact("There is a turn for this address at this node."),
    "gateway._turn: update": Fact("The turn to sign is taken."),
    "gateway._Turn.next_nonce: update": Fact(
        "The nonce is stored before anything is sent with it.", nth=(1, 2)
    ),
    "gateway._turn: update 2": Fact("The turn to sign is given back.", nth=(1, 2)),
    "budget.spend: get_or_create": Fact("There is a count of requests to the node.", way="node never asked"),
    "budget.spend: update": Fact("A request to the node is counted, not yet sent.", nth=(1, 2)),
    "starting._send_start.send: record": Fact("The start is written down as sent; it is about to be."),
    "starting._send_start.send: start": Fact("The node has accepted the job; nobody here knows yet."),
    "starting._accepted: move RUNNING": Fact("The job is RUNNING, with the node's id."),
    "starting._start_failed: put_off 2": Fact("The start is put off, with the trouble.", way="node away"),
    "starting._may_repeat: update": Fact(
        "The node's list did not show the job once.", way="start never arrived"
    ),
    "starting._put_aside: move NEEDS_ATTENTION": Fact(
        "The start was lost three times, or not answered for hours.",
        way="start never arrived three times",
        also=("node away for hours",),
    ),
    "starting._end_unstarted: move FAILED": Fact("The node has refused the job.", way="node refuses"),
    "running.report_crash: move NEEDS_ATTENTION": Fact(
        "An error nobody foresaw has put the job aside.", way="error nobody foresaw"
    ),
    # watched
    "refreshing.refresh: update": Fact("The look at the node waits for its budget.", way="node asked often"),
    "refreshing.refresh: update 2": Fact("The node has answered."),
    "refreshing.apply_report: update": Fact("A new status of the node is noted.", nth=(1, 2)),
    "refreshing.apply_report: update 2": Fact("The node has said the same again.", way="watched"),
    "refreshing.apply_report: enqueue FOLLOW": Fact("Following the log is asked for.", way="watched"),
    "refreshing._note_trouble: update": Fact("The node did not answer.", way="node away while it runs"),
    "refreshing._missing: update": Fact("The node's answer did not contain the job.", way="node forgets"),
    "refreshing._missing: move NEEDS_ATTENTION": Fact("The node has forgotten the job.", way="node forgets"),
    "following._claim: update": Fact("The log is followed.", way="watched"),
    "following._read: update": Fact("The log flows; the node is asked less often.", way="watched"),
    "following._append: create": Fact("A piece of the log is stored.", way="watched", nth=(1, 2)),
    "following.follow: update": Fact("The log is no longer followed; a look is due.", way="watched"),
    "following.follow: enqueue FOLLOW": Fact("The next follower is asked for.", way="followed for long"),
    # stopped
    "starting._cancel: move CANCELLED": Fact(
        "The job is CANCELLED: nothing was sent.", way="stopped before the start"
    ),
    "stopping.stop: move NEEDS_ATTENTION": Fact(
        "The node has not ended the job that nobody wants.", way="node never ends it"
    ),
    "stopping.stop.send: record": Fact("The stop is written down as sent; it is about to be.", way="stopped"),
    "stopping.stop.send: stop": Fact("The node knows of the stop; nobody here knows yet.", way="stopped"),
    "stopping.stop: update": Fact("A look at the stopped job is due.", way="stopped"),
    # archived
    "refreshing._end: move COLLECTING": Fact("The job is COLLECTING, with its outcome."),
    "results.collect: claim": Fact("The lease for fetching is taken."),
    "results.collect: release": Fact("The lease for fetching is given back."),
    "results._collect: get_or_create": Fact("A result is known.", nth=(1, 2)),
    "results._renewer.alive: renew": Fact("The lease for fetching is renewed."),
    "results._archive: delete": Fact("A file without a row that knows of it is gone.", way="fetched twice"),
    "results._archive: save": Fact("A file is stored; no row knows of it.", nth=(1, 2)),
    "results._archive: update": Fact("A result is archived.", nth=(1, 3), also=("result repaired",)),
    "results._fetch: delete": Fact("The live log is gone, the archived one is here.", way="watched"),
    "results._unpack: get_or_create": Fact("A file within the archive of outputs is known."),
    "results._unpack: update": Fact("A file within the archive is damaged.", way="archive cut off"),
    "results._unpack: update 2": Fact("The archive of outputs is unpacked."),
    "results._failed: update": Fact("A result could not be fetched.", way="node away while collecting"),
    "results._finish: update": Fact("Fetching goes on later.", way="node away while collecting"),
    "results._finish: move": Fact("The job has ended, with everything here."),
    "running._claim_due_results: update": Fact("A missing result is due.", way="result repaired"),
    "running.pulse: enqueue COLLECT": Fact("Fetching a missing result is asked for.", way="result repaired"),
    "results._note_repaired: update": Fact("A missing result is here.", way="result repaired"),
}

WITH = "commits with "
PAUSE = "a pause: the same step is taken again"
NO_FACTS = {
    "launching.launch: create": "the web process: see TestLaunching",
    "launching.launch: bulk_create": f"{WITH}launching.launch: create",
    "launching.launch: create 2": f"{WITH}launching.launch: create",
    "launching.launch: enqueue ADVANCE": f"{WITH}launching.launch: create",
    "launching._replace: move CANCELLED": f"{WITH}launching.launch: create",
    "launching._replace: record": f"{WITH}launching.launch: create",
    "launching.launch: record": f"{WITH}launching.launch: create",
    "launching.cancel: record 2": f"{WITH}launching.cancel: record",
    "launching.go_on: record": f"{WITH}launching.go_on: move",
    "launching.give_up: record": f"{WITH}launching.give_up: move",
    "gateway._Turn.next_nonce: record": f"{WITH}gateway._Turn.next_nonce: update",
    "gateway._Signing.record: record": f"{WITH}gateway._Turn.next_nonce: update",
    "results.open_result: record": "a person fetches a result of a job that has ended",
    "results._note_look: record": "a person looks at a result",
    "sending._record: record": f"{WITH}sending.prepare: update 2",
    "acting._wish: record": f"{WITH}acting._wish: update",
    "acting.cancel: record": "a person takes back what nobody has signed; nothing follows",
    "acting.fill: record": f"{WITH}acting.plan_act: enqueue ACT",
    "escrows.withdraw: record": f"{WITH}acting.plan_act: enqueue ACT",
    "escrows.release: record": f"{WITH}acting.plan_act: enqueue ACT",
    "launching.cancel: move": f"{WITH}launching.cancel: record",
    "launching.cancel: enqueue ADVANCE": f"{WITH}launching.cancel: record",
    "launching.go_on: enqueue ADVANCE": f"{WITH}launching.go_on: move",
    "refreshing.apply_report: create": f"{WITH}refreshing.apply_report: update",
    "refreshing._end: enqueue COLLECT": f"{WITH}refreshing._end: move COLLECTING",
    "refreshing._end: update": f"{WITH}refreshing._end: move COLLECTING",
    "following._append: update": f"{WITH}following._append: create",
    "results._note_repaired: update 2": f"{WITH}results._note_repaired: update",
    "results._note_repaired: create": f"{WITH}results._note_repaired: update",
    "refreshing.watch: update": "a page is looked at: forgotten after 20 s anyway",
    "refreshing.check_now: update": "asks earlier for what is asked anyway",
    "results.open_result: create": "a person fetches a result of a job that has ended",
    "gateway.has_room: update": "a pause of a second",
    "gateway._drop: update": "a token that is refused; whoever does not know of it is refused once more, and signs",
    "results._collect: update": "a pause, while the portal's own storage is full",
    "budget.exhaust: update_or_create": "a pause; whoever does not know of it is refused once more and pauses",
    "running.pulse: update": "a worker that was told to end lets go of the pulse; the next one takes it at its start",
    "running.pulse: enqueue LOOK_AT_NODE": "what nodes offer, for all jobs",
    "running.pulse: enqueue SEND_LETTER": "e-mails, with a life of their own: see TestSend",
    "running.pulse: enqueue LOOK_AT_BALANCES": "what wallets hold, for all jobs",
    "running.pulse: enqueue LOGIN": "a token stands in for signatures, for all jobs",
    "running.begin_pulse: enqueue RECONCILE": "asked for by each pulse, until there is a comparison",
    "running.begin_pulse: enqueue REMOVE_RESULTS": "of jobs that ended long ago, asked for again within the hour",
    "running.pulse: enqueue TELL": "an e-mail about what has happened, asked for again after ten seconds",
    "starting._plan: put_off": PAUSE,
    "starting._plan: put_off 2": "a pause: see TestOrderTaken",
    "starting.pay: put_off": PAUSE,
    "starting.start: put_off": PAUSE,
    "starting.start: put_off 2": PAUSE,
    "starting._may_repeat: put_off": PAUSE,
    "starting._may_repeat: put_off 2": PAUSE,
    "starting._start_failed: put_off": "a pause: see TestOrderInUse",
    "stopping.stop: put_off": PAUSE,
    "stopping.stop: put_off 2": PAUSE,
    "ordering._hold: update": f"{WITH}ordering._write: move",
    "ordering._write: update": f"{WITH}ordering._write: move",
    "ordering._write: get_or_create": f"{WITH}ordering._write: move",
    "ordering._write_step: create": f"{WITH}ordering._write: move",
    "ordering._link: update": f"{WITH}ordering._write: move",
    "ordering._link: update 2": f"{WITH}ordering._write: move",
    "payments.take_turn: update": f"{WITH}ordering._write: move",
    "payments._grant: update": "says why a wish is not granted; the next look says it again",
    "payments._grant: update 2": "says why a wish is not granted; the next look says it again",
    "payments._grant: create": f"{WITH}payments._grant: update 2",
    "sending._still_held: renew": f"{WITH}sending.prepare: update 2",
    "sending.prepare: update": f"{WITH}sending.prepare: update 2",
    "sending._end: create": f"{WITH}sending._end: update",
    "sending.plan_again: update 2": f"{WITH}sending.plan_again: update",
    "sending.replace: update": "a wish that came too late; the next look drops it",
    "sending.send: update": "says why the same bytes are sent once more",
    "sending.send: update 2": "says why the same bytes are sent once more",
    "sending.send: update 4": "the words of a trouble that is over",
    "sending.find: update": "what was thought of the number; the next look sees that it is over",
    "sending._tell_of_a_gap: update": "says what a transaction waits for; the next look says it again",
    "acting.cancel: update": "a person takes back what nobody has signed; nothing follows",
    "acting._wish: create": f"{WITH}acting._wish: update",
    "acting._wish: update 2": f"{WITH}acting._wish: update",
    "acting._wish: enqueue ACT": f"{WITH}acting._wish: update",
    "acting._wish: enqueue ADVANCE": f"{WITH}acting._wish: update",
    "acting._wish: enqueue SETTLE": f"{WITH}acting._wish: update",
    "acting.act: update": "says why it is not signed; the next look says it again",
    "acting.act: update 2": "says why nobody could be asked; the next look says it again",
    "blocks._follow: create": f"{WITH}blocks._follow: update",
    "settling._note: create": f"{WITH}settling._note: update",
    "escrows.look: update": "a pause, with the trouble; whoever does not know of it looks once more",
    "escrows.look: update 2": "a pause; whoever does not know of it looks once more",
    "escrows.look_soon: update": "asks earlier for what is asked anyway",
}
