"""One measure per file: tensors in, tensors out.

A measure takes a trace, a recurrent module, or tensors, and returns tensors, or one of the results that are listed
last. What measures compute with is in `numerics`, which is no public interface.
"""

from rnn_diag.diagnostics.carousel import (
    Carousel,
    ForgetRate,
    carousel,
    forget_rate,
    log_retention,
)
from rnn_diag.diagnostics.fisher_memory import fisher_memory_curve
from rnn_diag.diagnostics.gate_drive import (
    DRIVE_SOURCES,
    GateDrive,
    gate_drive,
)
from rnn_diag.diagnostics.gradient_norms import (
    cell_grad_norms,
    gradient_profile,
    gradient_profile_from_the_end,
    gradient_ratio_to_last,
    hidden_grad_norms,
    hidden_grad_norms_direct,
    hidden_grad_norms_recurrent,
    log_gradient_slope,
)
from rnn_diag.diagnostics.gradient_span import (
    GradientSpan,
    gradient_span,
)
from rnn_diag.diagnostics.horizon import (
    half_life,
    joint_horizon,
    memory_horizon,
)
from rnn_diag.diagnostics.impulse import (
    ImpulseResponse,
    bounded_input_gain,
    impulse_response,
)
from rnn_diag.diagnostics.initial_spectrum import (
    InitialSpectrum,
    initial_expectations,
)
from rnn_diag.diagnostics.jacobian import (
    ExtremeSingularValues,
    jacobian_product_singular_values,
    state_jacobian,
)
from rnn_diag.diagnostics.lagged_gradients import (
    lagged_cell_grad_norms,
    lagged_grad_norms,
    lagged_state_norms,
    spread_targets,
)
from rnn_diag.diagnostics.lyapunov import (
    kaplan_yorke_dimension,
    lyapunov_exponents,
)
from rnn_diag.diagnostics.memory_capacity import (
    MemoryCapacity,
    memory_capacity,
)
from rnn_diag.diagnostics.module_trace import module_trace
from rnn_diag.diagnostics.non_finite import (
    NonFinite,
    first_non_finite,
    first_non_finite_of,
)
from rnn_diag.diagnostics.numerics.profile import Profile
from rnn_diag.diagnostics.numerics.share import Share
from rnn_diag.diagnostics.saturation import (
    GateSaturation,
    UnitState,
    gate_saturation,
    relu_silence,
    tanh_saturation,
    unit_states,
)
from rnn_diag.diagnostics.spectrum import (
    Spectrum,
    recurrent_spectrum,
)
from rnn_diag.diagnostics.stability import stability_verdicts
from rnn_diag.diagnostics.step_contributions import (
    early_late_cosine,
    step_weight_grad_norms,
)

# Gradients through time.
__all__ = [
    "cell_grad_norms",
    "early_late_cosine",
    "gradient_profile",
    "gradient_profile_from_the_end",
    "gradient_ratio_to_last",
    "gradient_span",
    "hidden_grad_norms",
    "hidden_grad_norms_direct",
    "hidden_grad_norms_recurrent",
    "lagged_cell_grad_norms",
    "lagged_grad_norms",
    "log_gradient_slope",
    "spread_targets",
    "step_weight_grad_norms",
]

# Memory: how long, and how much.
__all__ += [
    "carousel",
    "fisher_memory_curve",
    "forget_rate",
    "half_life",
    "joint_horizon",
    "lagged_state_norms",
    "log_retention",
    "memory_capacity",
    "memory_horizon",
]

# Stability of the state.
__all__ += [
    "bounded_input_gain",
    "impulse_response",
    "jacobian_product_singular_values",
    "kaplan_yorke_dimension",
    "lyapunov_exponents",
    "stability_verdicts",
    "state_jacobian",
]

# Weights alone.
__all__ += [
    "initial_expectations",
    "recurrent_spectrum",
]

# Gates and units.
__all__ += [
    "gate_drive",
    "gate_saturation",
    "relu_silence",
    "tanh_saturation",
    "unit_states",
]

# Values that are not finite; traces of modules alone.
__all__ += [
    "first_non_finite",
    "first_non_finite_of",
    "module_trace",
]

# What measures return, and the names in it.
__all__ += [
    "DRIVE_SOURCES",
    "Carousel",
    "ExtremeSingularValues",
    "ForgetRate",
    "GateDrive",
    "GateSaturation",
    "GradientSpan",
    "ImpulseResponse",
    "InitialSpectrum",
    "MemoryCapacity",
    "NonFinite",
    "Profile",
    "Share",
    "Spectrum",
    "UnitState",
]
