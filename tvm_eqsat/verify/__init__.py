"""Evidence that two programs are equivalent: exact in a prime field, and on random inputs."""
