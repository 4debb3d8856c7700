//! Results for people ([`text`]), for programs ([`json`]) and for CI ([`junit`]).

pub mod json;
pub mod junit;
pub mod text;

#[cfg(test)]
mod tests;
