"""The known bugs as a test suite: grading, gallery, packed recordings and fingerprints."""
