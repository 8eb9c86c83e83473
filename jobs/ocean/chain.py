"""Placeholder until the chain's branch is merged."""


class Chain:
    def __init__(self, *a, **k): ...
