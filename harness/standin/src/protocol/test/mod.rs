//! Tests against a client of our own.

mod client;
mod connection;
mod random;
mod recorder;
mod server;
mod socket;
mod wire;
