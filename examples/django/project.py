"""
A page with a moving bar, in Django: a job, a token view, and a template tag. A whole project in this file, of which
yours has its own settings, users and urls: what is to be copied is `token`, `policy`, and runcast_tags.py.
"""

import os
import secrets
import tempfile
import threading
import time
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command, execute_from_command_line
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from auth import Keyring, mint
from gateway import Publisher

GATEWAY = os.environ.get("RUNCAST_URL", "http://127.0.0.1:8787")  # as browsers reach it
SOCKETS = GATEWAY.replace("http", "ws", 1)
POLICY = (
    f"default-src 'none'; script-src 'self' {GATEWAY}; connect-src 'self' {GATEWAY} {SOCKETS}; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

settings.configure(
    RUNCAST_URL=GATEWAY,  # for the template tag
    SECRET_KEY=os.environ.get("SESSION_SECRET") or secrets.token_hex(32),
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(tempfile.mkdtemp()) / "users"}},
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        f"{__name__}.policy",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "DIRS": [Path(__file__).parent / "templates"],
            "OPTIONS": {"libraries": {"runcast_tags": "runcast_tags"}},  # in an app of yours: its templatetags/
        }
    ],
)
django.setup()

from django.contrib.auth import get_user_model, login  # noqa: E402  (a project has its settings elsewhere)

keys = Keyring.from_environ(os.environ).keys_of(os.environ.get("RUNCAST_ENVIRONMENT", "default"))
publisher = Publisher()


def policy(get_response):
    """From Django 6 on this is the setting SECURE_CSP."""

    def middleware(request):
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response

    return middleware


@csrf_exempt  # it changes nothing, and pages of others can't read what it answers
@require_POST
def token(request):
    """What the element asks for, now and whenever its token is about to end: it sees this user's runs alone."""
    if not request.user.is_authenticated:
        return HttpResponse(status=401)  # not `login_required`: a page to sign in at is no answer to a script
    user = f"user:{request.user.pk}"
    return JsonResponse({"token": mint({"read": {"tags": user}}, keys, expires="15m", subject=user)})


@require_POST
def start(request):
    if not request.user.is_authenticated:
        return HttpResponse(status=401)
    run = publisher.create("export", tags=[f"user:{request.user.pk}"])
    rows = int(request.GET.get("rows", 200))
    threading.Thread(target=export, args=(run.id, rows), daemon=True).start()  # in production a Celery task
    return redirect("show", run.id)


def export(run_id, rows):
    with publisher.running("export", id=run_id) as run:
        for row in range(rows):
            run.progress(row, rows, "writing rows")
            time.sleep(0.1)  # the work
            if run.cancel_requested:
                run.cancel()
                return
        run.complete({"rows": rows})


def show(request, run_id=None):
    if not request.user.is_authenticated:  # here everybody is signed in as somebody new
        login(request, get_user_model().objects.create_user(secrets.token_hex(8)))
    return render(request, "export.html", {"run_id": run_id})


urlpatterns = [
    path("", show),
    path("token", token, name="runcast_token"),
    path("exports", start, name="start"),
    path("exports/<run_id>", show, name="show"),
]

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    execute_from_command_line()
