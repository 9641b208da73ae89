"""The second stage: which domains of its pool a claim is on. Pure, exact, and without a solver."""
