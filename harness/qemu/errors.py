"""The leaf's one error; whoever uses the leaf says on which host it happened."""


class QemuError(Exception):
    """QEMU, its firmware or one of the leaf's own helpers is missing, refused or did not answer in time."""
