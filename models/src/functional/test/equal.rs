//! Equality of both drivers.
