"""One fit as all diagnostics of a trainer share it: what is due, measured, merged over ranks and published."""
