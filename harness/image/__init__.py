"""One recipe, one image, every format: building, storing and converting guest images, and seeding guests."""
