//! Messages between QEMU and a function that lives here: the server's side of vfio-user.
//!
//! ```text
//!   QEMU (vfio-user-pci)                                          one thread
//!     | UNIX socket                      +---------------------------------------------------+
//!     +--- bytes, descriptors --> socket | --> Inbound --> Session --> Board (all functions) |
//!     <--- bytes ---------------- socket | <-- Outbound <--- reply --+     |                 |
//!                                        |        ^------ DMA_WRITE ------ Outbox            |
//!                                        +---------------------------------------------------+
//! ```
//!
//! [`Connection`] is sans-IO: bytes and descriptors go in, calls of a [`Function`] and bytes come out. [`Server`] moves the bytes
//! of any number of connections and gives all of them to one [`Board`], in one order.
//!
//! What must stay true:
//! * The server never waits for a client. QEMU serves our DMA requests on a loop that a vCPU blocks while it waits for our reply.
//! * Nothing a client sends makes a panic, an access outside of a region, or memory that grows with the stream.
//! * Replies leave in the order of their commands; a DMA_WRITE leaves behind the reply during which it was made.
//!
//! Not offered: mapped regions, REGION_WRITE_MULTI, twin sockets, migration, DMA_READ (guest memory is mapped instead).

mod board;
mod connection;
mod function;
mod fuzz;
mod inbound;
mod outbound;
mod server;
mod session;
mod socket;
mod version;
pub mod wire;

#[cfg(test)]
mod test;

pub use board::{Board, Idle, Outbox, Place};
pub use connection::{Closed, Connection, Limits};
pub use function::{DmaFile, DmaRange, Function, Irq, IrqAction, IrqData, Region, SetIrqs, Shape};
pub use fuzz::fuzz;
pub use outbound::Unsent;
pub use server::{Ended, Server, ServerError, Settings, Stop};
pub use socket::{Endpoint, EndpointError};
