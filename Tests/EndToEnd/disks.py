"""Small disks of a test's own. Standard library only."""
import os
import subprocess
import tempfile
import unittest


def _mount(directory, size):
    return subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", directory], capture_output=True).returncode == 0


def _can_mount():
    with tempfile.TemporaryDirectory() as directory:
        if not _mount(directory, "1m"):
            return False
        subprocess.run(["umount", directory], check=True)
        return True


#: What needs a disk is left out where none may be mounted.
needs_disk = unittest.skipUnless(_can_mount(), "may not mount a small disk here")


def disk(test, size):
    """The place of an empty disk, which goes away after the test."""
    place = tempfile.mkdtemp()
    test.addCleanup(os.rmdir, place)
    test.assertTrue(_mount(place, size))
    test.addCleanup(subprocess.run, ["umount", "-l", place], check=True)
    return place
