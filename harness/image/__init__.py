"""One recipe, one image, every format: building, storing and converting guest images, and seeding guests."""

from harness.image.model import Access, Format, Image, SeedNetwork
from harness.image.progress import SILENT, Progress
from harness.image.recipe import NamedRecipe
from harness.image.resolving import resolve
from harness.image.store import Store

__all__ = [
    "SILENT",
    "Access",
    "Format",
    "Image",
    "NamedRecipe",
    "Progress",
    "SeedNetwork",
    "Store",
    "resolve",
]
