"""Changes of a recording that leave what is said as it is, and two that nobody can hear."""

from speechkit.units.perturbations.perturbation import (
    AUDIBLE,
    CONTROLS,
    KINDS,
    Perturbation,
    PerturbationConfig,
    perturb,
)

__all__ = ["AUDIBLE", "CONTROLS", "KINDS", "Perturbation", "PerturbationConfig", "perturb"]
