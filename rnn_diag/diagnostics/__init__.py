"""One measure per file: tensors in, tensors out."""

from rnn_diag.diagnostics.gradient_norms import (
    cell_grad_norms,
    early_late_cosine,
    gradient_profile,
    gradient_profile_from_the_end,
    gradient_ratio_to_last,
    hidden_grad_norms,
    hidden_grad_norms_direct,
    hidden_grad_norms_recurrent,
    log_gradient_slope,
    step_weight_grad_norms,
)
from rnn_diag.diagnostics.profile import Profile

__all__ = [
    "Profile",
    "cell_grad_norms",
    "early_late_cosine",
    "gradient_profile",
    "gradient_profile_from_the_end",
    "gradient_ratio_to_last",
    "hidden_grad_norms",
    "hidden_grad_norms_direct",
    "hidden_grad_norms_recurrent",
    "log_gradient_slope",
    "step_weight_grad_norms",
]
