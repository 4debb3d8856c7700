//! Command line of smmulate.

fn main() {}
