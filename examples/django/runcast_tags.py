"""`{% load runcast_tags %}`, then `{% runcast_script %}` in the head and `{% run_status run_id %}` for the bar."""

from django import template
from django.conf import settings
from django.urls import reverse
from django.utils.html import format_html

register = template.Library()


@register.simple_tag
def runcast_script():
    return format_html('<script src="{}/run-status.js" defer></script>', settings.RUNCAST_URL)


@register.simple_tag
def run_status(run_id, variant="bar"):
    """One run, as a `bar`, `badge`, `steps`, `log`, or `compact`."""
    return format_html(
        '<run-status run="{}" variant="{}" token-url="{}"></run-status>', run_id, variant, reverse("runcast_token")
    )
