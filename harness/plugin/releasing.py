"""The release of a run: had ready before the first guest; and the ``release`` fixture for checks of installing."""

from __future__ import annotations

from dataclasses import dataclass

from harness.core import Deadline, InteropError, UsageError
from harness.guest import Guest
from harness.image.progress import Progress
from harness.lab.releases import Prepared, Release, Seen, Side, Which, install, prepare, remove
from harness.lab.releases.preparing import image_of
from harness.lab.releases.seen import see
from harness.plugin.options import DEFAULT_IMAGE


def made_ready(asked: tuple[Release, Which] | None, progress: Progress) -> Prepared | None:
    """The run's release with all its files, or None where it has none.

    Raises:
        UsageError: a hash is missing or wrong.
        LabError: the archive cannot be reached.
    """
    return prepare(*asked, progress=progress) if asked else None


def chosen_image(prepared: Prepared | None, option: str) -> str:
    """What guests boot: the release's image where it is one, else what the user chose.

    Raises:
        UsageError: the user chose another.
    """
    own = image_of(prepared) if prepared else None
    if own and option not in (DEFAULT_IMAGE, own):
        raise UsageError(
            f"--image {option}: the release is a whole image, {own}, and guests cannot boot both",
            hint="leave --image out",
        )
    return own or option


def named_image(asked: str, option: str) -> str:
    """The image that a run's first line names: the release's where it is one, else what the user chose."""
    try:
        release, which = Release.asked(asked)
    except InteropError:
        return option  # what is wrong with it is said where the run needs it
    side = release.side(which)
    return side.image.name if side.image else option


@dataclass(frozen=True, slots=True)
class ReleaseUnderTest:
    """The ``release`` fixture: a release to install and remove in guests that are as their image (``guests.bare()``).

    Args:
        prepared: the release, its files at hand.
    """

    prepared: Prepared

    @property
    def release(self) -> Release:
        """As its file has it."""
        return self.prepared.release

    @property
    def which(self) -> Which:
        """The side under test."""
        return self.prepared.which

    @property
    def side(self) -> Side:
        """What the side under test is."""
        return self.prepared.side

    @property
    def services(self) -> tuple[str, ...]:
        """Units that must run; of each, the names that distributions give it, with blanks between."""
        return self.release.services

    def deadline(self) -> Deadline:
        """For installing one side, or removing it."""
        return Deadline.after(self.prepared.patience)

    def install(self, guest: Guest, which: Which | None = None) -> Seen:
        """Install the side under test, or that one, over whatever there is; returns the versions seen afterwards.

        Raises:
            InstallFailed: it did not install.
            Unchanged: it did, and is not what the release file says.
        """
        return install(guest, self.prepared, which or self.which, self.deadline())

    def seen(self, guest: Guest) -> Seen:
        """The versions that the guest has now."""
        return see(guest, self.release)

    def remove(self, guest: Guest, which: Which | None = None, *, kernel: str | None = None) -> tuple[str, ...]:
        """Remove the side under test, or that one, with its settings; returns the packages that went.

        Args:
            guest: where.
            which: the side.
            kernel: where it brings a kernel: the one to boot first.

        Raises:
            InstallFailed: it would not go.
        """
        return remove(guest, self.prepared, which or self.which, self.deadline(), kernel=kernel)


RELEASE = "release"
"""The fixture's name."""

NO_RELEASE = "no release to install: give --release NAME, of those that `interop release list` shows"
"""Why checks of installing are skipped where none is given."""


def why_not(prepared: Prepared | None, backend: str) -> str | None:
    """Why there is nothing to install on hosts of a backend, as a skip says it; None where there is."""
    if prepared is None:
        return NO_RELEASE
    release = prepared.release
    if backend not in release.hosts:
        return f"the release {release.name} is for {', '.join(release.hosts)}, not {backend}"
    if prepared.image:
        return f"the release {release.name} is a whole image: it is booted, and nothing is installed"
    return None


def nothing_for(prepared: Prepared | None, backend: str) -> bool:
    """Whether guests of a backend stay as their image."""
    return prepared is None or backend not in prepared.release.hosts
