"""A file under a second name: its bytes lie on the disk once where that is safe."""

import shutil
from pathlib import Path

_WRITABLE = 0o222


def link_or_copy(source: Path, target: Path) -> None:
    """Give a read-only file a second name, as a hard link; copy what may be written to, or cannot be linked here.

    Read-only is what DVC has linked to its cache (`dvc config cache.type hardlink` or `symlink`): nobody writes there.
    Of a file that somebody may edit in place a link would change with it.
    """
    file = source.resolve()  # of a symbolic link the file in the cache
    if not file.stat().st_mode & _WRITABLE:
        try:
            target.hardlink_to(file)
        except OSError:  # another disk, or a file system without links
            pass
        else:
            return
    shutil.copyfile(file, target)
