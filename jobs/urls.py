"""The portal's addresses. The team is in each of them, except for the door and the health check."""

from django.urls import path
from django.views.generic import RedirectView

from jobs.views import (
    accounts,
    catalogue,
    dashboard,
    environments,
    escrow,
    health,
    jobs,
    launch,
    results,
    transactions,
    wallets,
)

urlpatterns = [
    path("", dashboard.home, name="home"),
    path("accounts/login/", accounts.login, name="login"),
    path("accounts/logout/", accounts.logout, name="logout"),
    path("health/", health.health, name="health"),
    path("favicon.ico", RedirectView.as_view(url="/static/img/logo.svg"), name="favicon"),
    path("<slug:team>/", dashboard.dashboard, name="dashboard"),
    path("<slug:team>/jobs/", jobs.index, name="jobs"),
    path("<slug:team>/jobs/launch/", launch.launch, name="launch"),
    path("<slug:team>/jobs/launch/quote/", launch.quote, name="launch-quote"),
    path("<slug:team>/jobs/launch/parameters/", launch.parameters, name="launch-parameters"),
    path("<slug:team>/jobs/<uuid:job_id>/", jobs.detail, name="jobs-detail"),
    path("<slug:team>/jobs/<uuid:job_id>/status/", jobs.status, name="jobs-status"),
    path("<slug:team>/jobs/<uuid:job_id>/log/", jobs.log, name="jobs-log"),
    path("<slug:team>/jobs/<uuid:job_id>/results/", jobs.results, name="jobs-results"),
    path("<slug:team>/jobs/<uuid:job_id>/stop/", jobs.stop, name="jobs-stop"),
    path("<slug:team>/jobs/<uuid:job_id>/rerun/", jobs.rerun, name="jobs-rerun"),
    path("<slug:team>/jobs/<uuid:job_id>/go-on/", jobs.go_on, name="jobs-go-on"),
    path("<slug:team>/jobs/<uuid:job_id>/give-up/", jobs.give_up, name="jobs-give-up"),
    path("<slug:team>/jobs/<uuid:job_id>/results/<int:result_id>/", results.detail, name="result-detail"),
    path(
        "<slug:team>/jobs/<uuid:job_id>/results/<int:result_id>/download/",
        results.download,
        name="result-download",
    ),
    path(
        "<slug:team>/jobs/<uuid:job_id>/results/<int:result_id>/inline/", results.inline, name="result-inline"
    ),
    path("<slug:team>/catalogue/", catalogue.index, name="catalogue"),
    path("<slug:team>/catalogue/add/", catalogue.add, name="catalogue-add"),
    path("<slug:team>/catalogue/find/", catalogue.find, name="catalogue-find"),
    path("<slug:team>/catalogue/<int:asset_id>/", catalogue.detail, name="catalogue-detail"),
    path("<slug:team>/catalogue/<int:asset_id>/refresh/", catalogue.refresh, name="catalogue-refresh"),
    path("<slug:team>/environments/", environments.index, name="environments"),
    path("<slug:team>/wallets/", wallets.index, name="wallets"),
    path("<slug:team>/wallets/add/", wallets.add, name="wallets-add"),
    path("<slug:team>/wallets/generate/", wallets.generate, name="wallets-generate"),
    path("<slug:team>/wallets/import/", wallets.import_key, name="wallets-import"),
    path("<slug:team>/wallets/watch/", wallets.watch, name="wallets-watch"),
    path("<slug:team>/wallets/limit/", wallets.limit, name="wallets-limit"),
    path("<slug:team>/wallets/<int:wallet_id>/", wallets.detail, name="wallets-detail"),
    path("<slug:team>/wallets/<int:wallet_id>/disable/", wallets.disable, name="wallets-disable"),
    path("<slug:team>/wallets/<int:wallet_id>/enable/", wallets.enable, name="wallets-enable"),
    path("<slug:team>/wallets/<int:wallet_id>/grant/", wallets.grant, name="wallets-grant"),
    path(
        "<slug:team>/wallets/<int:wallet_id>/grants/<int:user_id>/take-back/",
        wallets.take_back,
        name="wallets-take-back",
    ),
    path("<slug:team>/wallets/<int:wallet_id>/hand-over/", wallets.hand_over, name="wallets-hand-over"),
    path("<slug:team>/escrow/", escrow.index, name="escrow"),
    path("<slug:team>/escrow/<int:account_id>/look/", escrow.look, name="escrow-look"),
    path("<slug:team>/escrow/<int:account_id>/withdraw/", escrow.withdraw, name="escrow-withdraw"),
    path("<slug:team>/escrow/<int:account_id>/release/", escrow.release, name="escrow-release"),
    path(
        "<slug:team>/transactions/<int:transaction_id>/speed-up/",
        transactions.speed_up,
        name="transactions-speed-up",
    ),
    path(
        "<slug:team>/transactions/<int:transaction_id>/cancel/",
        transactions.cancel,
        name="transactions-cancel",
    ),
    path(
        "<slug:team>/transactions/<int:transaction_id>/fill/",
        transactions.fill,
        name="transactions-fill",
    ),
]
