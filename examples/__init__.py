"""Models, benchmarks and notebooks; not part of the installed package."""
