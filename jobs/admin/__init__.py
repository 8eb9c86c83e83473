"""The operator's pages: all records to look at, a few to edit, and actions that call services.

Only teams, members, people, networks and nodes are edited here. What services write is read-only: an edited
row would tell of something that never happened.
"""

from allauth.account import views as account
from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.views.generic import RedirectView

from jobs.admin import doors, money, networks, people, work

__all__ = ["doors", "money", "networks", "people", "work"]

admin.site.site_header = admin.site.site_title = "Ocean Portal"
admin.site.index_title = "Operation"

# There is one door: its second factors, limits and records count for operators too.
for _page, _view in {
    "login": secure_admin_login(admin.site.login),
    "logout": account.logout,
    "password_change": RedirectView.as_view(pattern_name="account_change_password"),
}.items():
    setattr(admin.site, _page, _view)
