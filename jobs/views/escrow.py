"""What the wallets have in escrows, and taking it back."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from jobs.errors import InvalidInput
from jobs.forms.money import WithdrawForm
from jobs.selectors import escrows as selector
from jobs.services import escrows
from jobs.web import PortalRequest, page


@require_safe
def index(request: PortalRequest, team: str) -> HttpResponse:
    """Show what is available and locked, and what people wanted done."""
    board = selector.board(actor=request.actor, now=timezone.now())
    return page(request, "escrow/index.html", {"board": board}, fragment="escrow/partials/board.html")


@require_POST
def look(request: PortalRequest, team: str, account_id: int) -> HttpResponse:
    """Have an account read again."""
    escrows.look_soon(actor=request.actor, account_id=account_id, now=timezone.now())
    messages.success(request, "The worker reads it from the chain at its next beat.")
    return redirect("escrow", team=request.team.slug)


@require_http_methods(["GET", "HEAD", "POST"])
def withdraw(request: PortalRequest, team: str, account_id: int) -> HttpResponse:
    """Ask how much, show the numbers, and take it back once they are agreed to."""
    account = selector.account(actor=request.actor, account_id=account_id, now=timezone.now())
    form = WithdrawForm(request.POST or None)
    take = None
    if request.method == "POST" and form.is_valid():
        try:
            take = selector.taking(account=account, amount=form.cleaned_data["amount"])
            if "agreed" in request.POST:
                escrows.withdraw(
                    actor=request.actor, account_id=account_id, amount=take.taken.exact, now=timezone.now()
                )
                messages.success(request, "The worker sends it; below is how far it is.")
                return redirect("escrow", team=request.team.slug)
        except InvalidInput as error:
            form.refuse(error)
            take = None
    context = {"account": account, "form": form, "take": take}
    return page(request, "escrow/withdraw.html", context, status=400 if form.errors else 200)


@require_POST
def release(request: PortalRequest, team: str, account_id: int) -> HttpResponse:
    """Free the locks that are over their time."""
    escrows.release(actor=request.actor, account_id=account_id, now=timezone.now())
    messages.success(request, "The worker sends it; below is how far it is.")
    return redirect("escrow", team=request.team.slug)
