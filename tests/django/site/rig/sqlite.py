"""How each SQLite connection is set up: settings of the database, none of Django's."""
from django.db.backends.signals import connection_created


def set_up(sender, connection, **kwargs):
    cursor = connection.cursor()
    # A test's data need not survive a power cut. With it, waiting for the disk leaves the numbers.
    cursor.execute("PRAGMA synchronous = OFF")
    # From 3.26 on SQLite follows a renamed table into the foreign keys of the others, and the
    # migrations of these releases then leave keys that point at a table that is gone.
    cursor.execute("PRAGMA legacy_alter_table = ON")
    cursor.close()


connection_created.connect(set_up, dispatch_uid="rig.sqlite")
