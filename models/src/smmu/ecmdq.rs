//! Enhanced command queues: the ring of the SMMU's own command queue, many times over and each with an enable and an error
//! flag of its own (IHI 0070, 3.5.6). Their registers lie in [`Registers`].

use std::collections::BTreeSet;

use bitvec::prelude::*;
use spec::smmu::CommandError;

use super::command_queue::{CommandQueue, Fetch, Head};
use super::registers::Registers;
use crate::bus::{Abort, Data};

/// What all enhanced command queues have prefetched, by queue.
///
/// *Invariant:* `ready` tells of every queue whether a command can be taken from it now.
#[derive(Clone, Debug, Default)]
pub struct Ecmdqs {
    queues: Vec<CommandQueue>,
    ready: BitVec,
    /// Queues that may want to read.
    restless: BTreeSet<usize>,
}

impl Ecmdqs {
    /// For so many queues, disabled.
    pub fn new(queues: usize) -> Self {
        Self {
            queues: vec![CommandQueue::default(); queues],
            ready: BitVec::repeat(false, queues),
            restless: BTreeSet::new(),
        }
    }

    /// Queues from which a command can be taken.
    pub fn ready(&self) -> &BitSlice {
        &self.ready
    }
    /// Whether a taken command has not been retired.
    pub fn is_executing(&self, queue: usize) -> bool {
        self.queues[queue].is_executing()
    }

    /// Something about this queue has changed.
    fn touch(&mut self, queue: usize, registers: &Registers) {
        self.ready.set(queue, self.queues[queue].is_ready(registers.ecmdq(queue)));
        self.restless.insert(queue);
    }

    /// Software wrote PROD: its index, its enable or its acknowledgement.
    pub fn written(&mut self, queue: usize, registers: &Registers) {
        let file = registers.ecmdq(queue);
        self.queues[queue].produced(file);
        if !file.is_wanted() {
            self.queues[queue].forget();
        }
        self.touch(queue, registers);
    }

    /// The device has acknowledged the enable.
    pub fn acknowledged(&mut self, queue: usize, registers: &Registers) {
        self.touch(queue, registers);
    }

    /// The next read to perform, and for which queue.
    pub fn wants_fetch(&mut self, registers: &Registers) -> Option<(usize, Fetch)> {
        while let Some(&queue) = self.restless.first() {
            if let Some(fetch) = self.queues[queue].wants_fetch(registers.ecmdq(queue)) {
                return Some((queue, fetch));
            }
            self.restless.remove(&queue);
        }
        None
    }

    /// The bytes of a read.
    pub fn fetched(&mut self, queue: usize, ticket: u32, result: Result<Data, Abort>, registers: &Registers) {
        self.queues[queue].fetched(ticket, result);
        self.touch(queue, registers);
    }

    /// Takes the head of a queue for execution; [`Ecmdqs::retire`] ends it.
    pub fn take(&mut self, queue: usize, registers: &Registers) -> Option<Head> {
        let head = self.queues[queue].take(registers.ecmdq(queue));
        self.touch(queue, registers);
        head
    }

    /// CONS passes the taken command, or the queue stops there, which the caller reports in GERROR. True if a full queue has
    /// got room.
    pub fn retire(
        &mut self,
        queue: usize,
        result: Result<(), CommandError>,
        registers: &mut Registers,
    ) -> bool {
        let has_room = self.queues[queue].retire(result, registers.ecmdq_mut(queue));
        self.touch(queue, registers);
        has_room
    }
}
