"""How numbers, times, addresses and states look on pages."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, localcontext
from typing import Any

from django import template
from django.template.context import RequestContext
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

# Icon names of heroicons; "" is the portal's own spinner.
TONES = {
    "run": "",
    "ok": "check",
    "bad": "x-mark",
    "warn": "exclamation-triangle",
    "idle": "clock",
    "off": "no-symbol",
    "ended": "question-mark-circle",
}
_HEX = re.compile(r"(?<![0-9A-Za-z])(did:op:|0x)?([0-9a-fA-F]{40,})(?![0-9A-Za-z])")
_SIX_PLACES = Decimal("0.000001")
_DIGITS = 200  # more than the largest amount of the token with the most decimals has
_LONG = 12  # digits before the point, from which on an amount is told by its size
_TONE_OF_LEVEL = {"error": "bad", "warning": "warn", "success": "ok"}


@register.filter
def duration(value: timedelta | float | None) -> str:
    """Show a length of time as 0:07, 3:52, 1:02:03 or 2 d 3 h. A number is seconds; nothing is a dash."""
    if value is None:
        return "–"
    seconds = max(0, int(value.total_seconds() if isinstance(value, timedelta) else value))
    if seconds >= 2 * 86_400:
        return f"{seconds // 86_400} d {seconds % 86_400 // 3600} h"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@register.filter
def span(value: timedelta | float | None) -> str:
    """Show a length of time in words, for limits and estimates: 45 s, 2 min, 1 h 30 min, 7 days."""
    if value is None:
        return "–"
    seconds = max(0, round(value.total_seconds() if isinstance(value, timedelta) else value))
    for unit, name, small, small_name in (
        (86_400, "days", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= unit:
            rest = seconds % unit // small
            word = "day" if name == "days" and seconds // unit == 1 else name
            return f"{seconds // unit} {word}" + (f" {rest} {small_name}" if rest else "")
    return f"{seconds} s"


@register.filter
def filesize(value: int | None) -> str:
    """Show bytes as 812 B, 41.2 kB, 1.3 MB (thousands); nothing is a dash."""
    if value is None:
        return "–"
    size = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"


@register.filter
def amount(value: Decimal | None, rounding: str = "up") -> str:
    """Show an amount of tokens as 1,234.5; what is finer than six places is rounded up, or with "down" down.

    What is paid is never more than what is shown, and what there is never less; `exact` goes beside it.
    """
    if value is None:
        return "–"
    way = ROUND_FLOOR if rounding == "down" else ROUND_CEILING
    with localcontext(prec=_DIGITS):
        return exact(value.quantize(_SIX_PLACES, rounding=way))


@register.filter
def exact(value: Decimal | None) -> str:
    """Show an amount to its last digit: no rounding hides a wei."""
    if value is None:
        return "–"
    text = f"{value:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@register.filter
def plain(value: Decimal) -> str:
    """Write an amount of tokens as a form takes it: exact, in digits alone."""
    return f"{value:f}"


@register.filter
def brief(value: Decimal | None) -> str:
    """Show an amount of tokens where there is little room: 1,234.5, 0.00041, 1.16 times 10^59; rounded."""
    if value is None:
        return "–"
    with localcontext(prec=_DIGITS):
        size = value.adjusted() if value else 0
        if size >= _LONG:
            return f"{value.scaleb(-size).quantize(Decimal('0.01'), rounding=ROUND_HALF_EVEN)} × 10^{size}"
        places = Decimal(1).scaleb(-4 if size >= 0 else size - 3)
        return exact(value.quantize(places, rounding=ROUND_HALF_EVEN))


@register.filter
def since(value: datetime | None) -> timedelta | None:
    """Give the time that has passed since then."""
    return None if value is None else timezone.now() - value


@register.filter
def percent(value: float | None) -> str:
    """Show a part of one as 62 %."""
    return "–" if value is None else f"{value * 100:.0f} %"


@register.filter
def short_address(value: str) -> str:
    """Shorten an address, hash or node's job id in the middle: 0x7099…79C8."""
    return value if len(value) <= 14 else f"{value[:6]}…{value[-4:]}"


@register.filter
def short_did(value: str) -> str:
    """Shorten a DID in the middle: did:op:3f2a…91c0."""
    return value if len(value) <= 20 else f"{value[:11]}…{value[-4:]}"


@register.filter
def short_hashes(value: str) -> str:
    """Shorten each address, hash and DID inside of a text in the middle; the whole text goes beside it, on hover."""
    return _HEX.sub(lambda found: f"{found[1] or ''}{found[2][:4]}…{found[2][-4:]}", value)


@register.filter
def initials(value: str) -> str:
    """Give two letters for a person: AL for Alice, AS for Alice Smith."""
    words = value.split()
    letters = words[0][0] + words[-1][0] if len(words) > 1 else value[:2]
    return letters.upper()


@register.filter
def reltime(value: datetime | None) -> SafeString | str:
    """Show a time as "4 min ago" or "in 6 days", exact on hover; the script keeps it fresh."""
    if value is None:
        return "never"
    return format_html(
        '<time datetime="{}" title="{}" data-relative>{}</time>',
        value.isoformat(timespec="seconds"),
        _exactly(value),
        words_for(value - timezone.now()),
    )


@register.filter
def clock(value: datetime | None) -> SafeString | str:
    """Show the time of day, with the date on hover."""
    if value is None:
        return ""
    local = timezone.localtime(value)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        value.isoformat(timespec="milliseconds"),
        _exactly(value),
        local.strftime("%H:%M:%S"),
    )


@register.filter
def day(value: datetime | None) -> SafeString | str:
    """Show the day, with the exact time on hover."""
    if value is None:
        return "–"
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        value.isoformat(timespec="seconds"),
        _exactly(value),
        timezone.localtime(value).strftime("%Y-%m-%d"),
    )


@register.filter
def tone(level: str) -> str:
    """Give the colour word of a message's level."""
    return _TONE_OF_LEVEL.get(level, "")


@register.inclusion_tag("components/state.html")
def state(kind: str, word: str) -> dict[str, str]:
    """Show a state by colour, icon and word. kind: run, ok, bad, warn, idle, off or ended."""
    return {"kind": kind, "word": word, "icon": TONES[kind]}


@register.simple_tag(takes_context=True)
def nav_link(context: RequestContext, name: str, *also: str) -> SafeString:
    """Open the link to one of the team's places, marked when the page belongs to it."""
    match = context["request"].resolver_match
    here: Any = match.url_name if match else ""
    current = any(here == mine or (here or "").startswith(f"{mine}-") for mine in (name, *also))
    return format_html(
        '<a href="{}"{}>',
        reverse(name, args=[context["team"].slug]),
        SafeString(' aria-current="page"') if current else "",
    )


def _exactly(value: datetime) -> str:
    """Write a time in the reader's zone, with the zone's name; many zones have no name but their distance to UTC."""
    local = timezone.localtime(value)
    zone = local.strftime("%Z")
    return f"{local:%Y-%m-%d %H:%M:%S} {'UTC' if zone[:1] in ('+', '-') else ''}{zone}"


def words_for(away: timedelta) -> str:
    """Say how far away a time is, in words; negative is past."""
    seconds = int(abs(away.total_seconds()))
    if seconds < 5:
        return "now"
    for unit, one, many in ((86_400, "day", "days"), (3600, "h", "h"), (60, "min", "min"), (1, "s", "s")):
        if seconds >= unit:
            number = seconds // unit
            said = f"{number} {one if number == 1 else many}"
            break
    return f"in {said}" if away > timedelta(0) else f"{said} ago"
