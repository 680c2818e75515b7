"""A Django project that runs unchanged on every release of the rig."""
import sys

if sys.version_info[0] == 3:
    # Before anything of Django is imported: `import rig` comes first everywhere.
    from rig import compat
