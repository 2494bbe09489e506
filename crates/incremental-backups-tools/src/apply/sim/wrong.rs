//! Variants that do something wrong on purpose, to see that the sweeps notice.
