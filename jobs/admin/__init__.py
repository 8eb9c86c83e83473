"""The operator's pages: all records to look at, a few to edit, and actions that call services.

Only teams, members, people, networks and nodes are edited here. What services write is read-only: an edited
row would tell of something that never happened.
"""

from django.contrib import admin

from jobs.admin import money, networks, people, sharing, work

__all__ = ["money", "networks", "people", "sharing", "work"]

admin.site.site_header = admin.site.site_title = "Ocean Portal"
admin.site.index_title = "Operation"
