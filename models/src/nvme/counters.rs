//! What a controller has done since it was made. Resets leave these alone.

use super::layout::{AdminOpcode, Opcode};

/// What a controller has done since it was made.
#[derive(Clone, Debug)]
pub struct Counters {
    admin: Box<[u64; 256]>,
    io: Box<[u64; 256]>,
    /// Bytes of data given to the host by Read.
    pub bytes_read: u64,
    /// Bytes of data taken from the host by Write.
    pub bytes_written: u64,
    /// Commands that ended with another status than success.
    pub errors: u64,
    /// Accesses that the storage failed.
    pub media_errors: u64,
    /// Interrupts sent.
    pub interrupts: u64,
    /// Doorbell writes that were ignored, as the queue or the value was wrong.
    pub bad_doorbells: u64,
    /// Resets of any kind, also those by CC.EN.
    pub resets: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            admin: Box::new([0; 256]),
            io: Box::new([0; 256]),
            bytes_read: 0,
            bytes_written: 0,
            errors: 0,
            media_errors: 0,
            interrupts: 0,
            bad_doorbells: 0,
            resets: 0,
        }
    }
}

impl Counters {
    /// Admin commands of an opcode.
    pub fn admin(&self, opcode: AdminOpcode) -> u64 {
        self.admin[usize::from(opcode.0)]
    }
    /// NVM commands of an opcode.
    pub fn io(&self, opcode: Opcode) -> u64 {
        self.io[usize::from(opcode.0)]
    }
    /// Commands of all kinds.
    pub fn commands(&self) -> u64 {
        self.admin.iter().chain(self.io.iter()).sum()
    }
    pub(super) fn count(&mut self, admin: bool, opcode: u8) {
        let of = if admin { &mut self.admin } else { &mut self.io };
        of[usize::from(opcode)] += 1;
    }
}
