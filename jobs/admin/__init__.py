"""The operator's pages: all records to look at, a few to edit, and actions that call services.

Only teams, members, people, networks and nodes are edited here. What services write is read-only: an edited
row would tell of something that never happened.
"""

from jobs.admin import doors, money, networks, people, record, sharing, work

__all__ = ["doors", "money", "networks", "people", "record", "sharing", "work"]
