//! What only a driver that controls every answer can see. What software sees are the rows of `conformance cmdqv`.

mod errors;
mod handshakes;
mod options;
mod queues;
