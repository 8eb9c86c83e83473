"""Placeholder until the client's branch is merged."""

from jobs.ocean.compute import Capabilities


class Provider:
    capabilities = Capabilities(
        live_logs=False,
        exit_codes=False,
        queue=False,
        free_jobs=True,
        tokens=True,
        orders=True,
        tags=False,
        token_nonces=True,
        trust_enforced=True,
    )

    def __init__(self, *a, **k): ...
