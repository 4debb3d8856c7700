//! The untimed reference that judges every run. Shares the layouts in crate spec with the models and nothing else.
