//! Enhanced command queues and address translation operations in both machines.

use spec::smmu::Vatos;
use spec::smmu::ecmdq::{ECMDQ_CONS, ECMDQ_PROD};
use spec::smmu::page0::{GATOS_ADDR, GATOS_SID};

use super::super::*;
use super::pair::{Pair, RINGS};

/// Enhanced command queues of the machines that have them, 16 entries each.
pub(super) const QUEUES: u8 = 8;
const RING_LOG2: u64 = 4;
/// Offsets of GATOS_CTRL and VATOS_CTRL; SID, ADDR and PAR follow.
const GROUPS: [u64; 2] = [0x100, 0x2_0a00];

/// What software asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub(super) virt: bool,
    pub(super) sid: u32,
    pub(super) ssid: Option<u32>,
    /// With TYPE and the other fields below the address.
    pub(super) addr: u64,
    pub(super) vmid: u32,
}

/// Where an enhanced command queue has its ring.
pub(super) fn ring(queue: u8) -> u64 {
    RINGS + (u64::from(8 + queue) << 16)
}

/// Where its registers are.
pub(super) fn registers(queue: u8) -> u64 {
    BASE + 0x10_0000 + 0x4000 * u64::from(queue)
}

impl Pair {
    pub(super) fn is_optional(&self) -> bool {
        self.plain.smmu.config().idr == IdrProfile::OPTIONAL
    }
    /// Registers that not all machines have.
    pub(super) fn optional_places(&self) -> Vec<u64> {
        if !self.is_optional() {
            return Vec::new();
        }
        let queues = (0..QUEUES).flat_map(|q| (0..4).map(move |r| registers(q) + 4 * r));
        let vatos = (0..8).map(|r| BASE + GROUPS[1] + 4 * r);
        queues.chain(vatos).collect()
    }

    /// Software sets up an enhanced command queue and enables it.
    pub(super) fn open_enhanced(&mut self, queue: u8) {
        let at = registers(queue);
        self.write(at + 8, false, 0);
        self.write(at, true, ring(queue) | RING_LOG2);
        self.write(at + 8, false, 0);
        self.write(at + 0xc, false, 0);
        self.write(at + 8, false, ECMDQ_PROD(0).with_en(true).0);
    }

    pub(super) fn push_enhanced(&mut self, queue: u8, commands: &[Command]) {
        let at = registers(queue);
        let [prod, _] = self.read(at + 8);
        let mut prod = ECMDQ_PROD(prod.into());
        for command in commands {
            self.store(ring(queue) + 16 * (prod.wr() & 15), &command.to_bytes());
            prod = prod.with_wr((prod.wr() + 1) & 31);
        }
        self.write(at + 8, false, prod.0);
    }

    /// Queues that stopped go on with a CMD_SYNC in place of what stopped them.
    pub(super) fn acknowledge_enhanced(&mut self) {
        for queue in (0..QUEUES).filter(|_| self.is_optional()).collect::<Vec<_>>() {
            let at = registers(queue);
            let [prod, cons] = [8, 0xc].map(|r| u64::from(self.read(at + r)[0]));
            let (prod, cons) = (ECMDQ_PROD(prod), ECMDQ_CONS(cons));
            if cons.err() != prod.errack() {
                self.store(ring(queue) + 16 * (cons.rd() & 15), &Command::sync().to_bytes());
                self.write(at + 8, false, prod.with_errack(cons.err()).0);
            }
        }
    }

    /// The result is compared with all other registers.
    pub(super) fn operate(&mut self, operation: &Operation) {
        let Operation { virt, sid, ssid, addr, vmid } = *operation;
        let at = BASE + GROUPS[usize::from(virt)];
        let sid = GATOS_SID(0).with_streamid(sid.into());
        let sid = sid.with_ssid_valid(ssid.is_some()).with_substreamid(ssid.unwrap_or(0).into());
        self.write(BASE + 0x180, false, vmid.into());
        self.write(at + 8, true, sid.0);
        self.write(at + 0x10, true, GATOS_ADDR(addr).0);
        self.write(at, false, 1);
        let [running, _] = self.read(at);
        assert_eq!(running, 0, "an operation ends");
        let par = self.read(at + 0x18)[0];
        self.operations[usize::from(par & 1 != 0)] += 1;
    }
}

/// The registers of VATOS are where this file thinks.
#[test]
fn the_groups_are_alike() {
    use spec::regs::Block;
    assert_eq!(u64::from(Vatos::VATOS_CTRL.offset()), GROUPS[1] & 0xffff);
}
