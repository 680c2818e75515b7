"""prepare.py RELEASE_DIR USERS: makes the database that servers of this release start from.

A server copies it, so that it starts at once. Its name carries a digest of what shaped it: a
changed rig makes a new one.
"""
import hashlib
import json
import os
import shutil
import sys
import tempfile

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)


def template(release_dir, users):
    """The path of the database; it may not exist yet."""
    digest = hashlib.sha256()
    for name in ("prepare.py", os.path.join("rig", "settings.py")):
        with open(os.path.join(here, name), "rb") as source:
            digest.update(source.read())
    return os.path.join(release_dir, "users-%d-%s.sqlite3" % (users, digest.hexdigest()[:12]))


def make(path, users):
    """Two runs at once each make one, and the last rename stays: they are alike."""
    scratch = tempfile.mkdtemp(prefix=".building-", dir=os.path.dirname(path))
    try:
        os.environ["FLOODWALL_SITE"] = json.dumps({"data": scratch})
        os.environ["DJANGO_SETTINGS_MODULE"] = "rig.settings"
        import rig
        import rig.sqlite
        import django
        from django.core.management import call_command

        if django.VERSION >= (1, 7):
            django.setup()
            call_command("migrate", interactive=False, verbosity=0)
        else:
            call_command("syncdb", interactive=False, verbosity=0)

        from django.contrib.auth.models import User
        from django.db import connection

        User.objects.create_superuser("admin", "admin@example.com", "secret")
        for number in range(users):
            User.objects.create_user("user%d" % number, "user%d@example.com" % number, "secret")
        connection.close()
        os.rename(os.path.join(scratch, "db.sqlite3"), path)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    wanted = template(sys.argv[1], int(sys.argv[2]))
    if not os.path.exists(wanted):
        make(wanted, int(sys.argv[2]))
