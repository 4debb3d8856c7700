//! The registers of each enhanced command queue, and what may be written there when (IHI 0070, 6.3.107 to 6.3.109).

use spec::regs::RegFile;
use spec::smmu::ecmdq::{ECMDQ_BASE, ECMDQ_CONS, ECMDQ_PROD};
use spec::smmu::{CommandError, Ecmdq};

use super::{COMMAND_LOG2, Change, Registers};
use crate::smmu::command_queue::QueueRegisters;
use crate::smmu::features::Features;
use crate::smmu::ring::Ring;

/// The registers of one queue.
#[derive(Clone, Debug)]
pub struct EcmdqFile {
    file: RegFile<Ecmdq>,
    /// log2 of the entries that it may have.
    entries_log2: u8,
    /// The address bits that there are.
    reach: u64,
}

impl EcmdqFile {
    pub(super) fn new(features: &Features) -> Self {
        let (entries_log2, reach) = (features.cmdqs, features.truncated(u64::MAX));
        Self { file: RegFile::reset(), entries_log2, reach }
    }
    /// ECMDQ_PROD.EN.
    pub fn is_wanted(&self) -> bool {
        self.file.get::<ECMDQ_PROD>().en()
    }
    /// ECMDQ_CONS.ENACK.
    pub fn is_acknowledged(&self) -> bool {
        self.file.get::<ECMDQ_CONS>().enack()
    }
    /// Whether the device has still to answer the enable.
    pub fn is_changing(&self) -> bool {
        self.is_wanted() != self.is_acknowledged()
    }
    /// Whether an error waits for its acknowledgement.
    pub fn is_stopped(&self) -> bool {
        self.file.get::<ECMDQ_CONS>().err() != self.file.get::<ECMDQ_PROD>().errack()
    }

    pub(super) fn read(&self, reg: Ecmdq) -> u64 {
        self.file.read(reg)
    }
    pub(super) fn read_word(&self, reg: Ecmdq, upper: bool) -> u32 {
        self.file.read_word(reg, upper)
    }
    pub(super) fn merge_word(&self, reg: Ecmdq, upper: bool, value: u32) -> u64 {
        self.file.merge_word(reg, upper, value)
    }

    /// ENACK follows EN.
    fn acknowledge(&mut self) {
        let wanted = self.is_wanted();
        self.file.set(self.file.get::<ECMDQ_CONS>().with_enack(wanted));
    }

    /// Software writes. True if it wrote to PROD and that was permitted.
    fn write(&mut self, reg: Ecmdq, value: u64) -> bool {
        let off = !self.is_wanted() && !self.is_acknowledged();
        match reg {
            Ecmdq::ECMDQ_PROD if !self.is_changing() => {
                self.file.write(reg, value);
                return true;
            }
            Ecmdq::ECMDQ_CONS if off => {
                self.file.write(reg, ECMDQ_CONS(value).with_enack(false).0);
            }
            Ecmdq::ECMDQ_BASE if off => {
                self.file.write(reg, value);
            }
            Ecmdq::ECMDQ_BASE | Ecmdq::ECMDQ_PROD | Ecmdq::ECMDQ_CONS => {}
        }
        false
    }
}

impl QueueRegisters for EcmdqFile {
    fn runs(&self) -> bool {
        self.is_wanted() && self.is_acknowledged() && !self.is_stopped()
    }
    fn ring(&self) -> Ring {
        let base = self.file.get::<ECMDQ_BASE>();
        Ring::new(base.addr() & self.reach, base.log2size() as u8, self.entries_log2, COMMAND_LOG2)
    }
    fn prod(&self) -> u32 {
        self.file.get::<ECMDQ_PROD>().wr() as u32
    }
    fn cons(&self) -> u32 {
        self.file.get::<ECMDQ_CONS>().rd() as u32
    }
    fn set_cons(&mut self, pointer: u32) {
        self.file.set(self.file.get::<ECMDQ_CONS>().with_rd(pointer.into()));
    }
    fn stop(&mut self, code: CommandError) {
        let cons = self.file.get::<ECMDQ_CONS>();
        self.file.set(cons.with_err_reason(code.0.into()).with_err(!cons.err()));
    }
}

impl Registers {
    /// Enhanced command queues.
    pub fn ecmdqs(&self) -> usize {
        self.ecmdqs.len()
    }
    /// The registers of an enhanced command queue.
    pub fn ecmdq(&self, queue: usize) -> &EcmdqFile {
        &self.ecmdqs[queue]
    }
    /// The same, for the device.
    pub(crate) fn ecmdq_mut(&mut self, queue: usize) -> &mut EcmdqFile {
        &mut self.ecmdqs[queue]
    }
    /// Whether some enhanced command queue is enabled, or on its way to either state.
    pub(super) fn is_an_ecmdq_enabled(&self) -> bool {
        self.ecmdqs.iter().any(|queue| queue.is_wanted() || queue.is_acknowledged())
    }

    pub(super) fn store_ecmdq(&mut self, queue: usize, reg: Ecmdq, value: u64) -> Change {
        if self.ecmdqs[queue].write(reg, value) { Change::Ecmdq(queue) } else { Change::None }
    }
    /// The enable of this queue has taken effect. Says where ECMDQ_CONS is and what it holds now.
    pub fn complete_ecmdq(&mut self, queue: usize) -> (u32, u64) {
        self.ecmdqs[queue].acknowledge();
        let offset = self.features.ecmdq.map_or(0, |pages| pages.offset(queue) as u32);
        (offset + spec::regs::Block::offset(Ecmdq::ECMDQ_CONS), self.ecmdqs[queue].read(Ecmdq::ECMDQ_CONS))
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::smmu::features::{Features, IdrProfile};
    use crate::smmu::register_pages::CONTROL_PAGES;

    /// Queue 5 of 8: the second one of page 1.
    const Q: usize = 5;
    const AT: u32 = CONTROL_PAGES as u32 + 0x1_4000;
    const EN: u64 = 1 << 31;
    const ERRACK: u64 = 1 << 23;

    fn reset() -> Registers {
        Registers::new(Features::new(IdrProfile::OPTIONAL).unwrap())
    }

    #[test]
    fn page_0_describes_the_control_pages() {
        let r = reset();
        assert_eq!(r.read(0x190, 4), 1 << 24 | 2 << 16);
        for (offset, len, want) in [
            (0x4000, 8, 0x10_0003),
            (0x4008, 4, 1),
            (0x400c, 4, 1),
            (0x4020, 8, 0x11_0003),
            (0x402c, 4, 1),
            (0x4040, 8, 0),
            (0x4048, 4, 0),
            (0x4010, 8, 0),
        ] {
            assert_eq!(r.read(offset, len), want, "{offset:#x}");
        }
        let mut written = reset();
        written.write(0x4000, 8, u64::MAX);
        written.write(0x4008, 4, 0);
        assert_eq!((written.read(0x4000, 8), written.read(0x4008, 4)), (0x10_0003, 1));
    }

    #[test]
    fn what_may_be_written_when() {
        const ALL: u64 = u64::MAX;
        // EN and ENACK; what BASE, PROD and CONS keep of all ones.
        for (en, enack, base, prod, cons) in [
            (false, false, 0x400f_ffff_ffff_ffff, 0x808f_ffff, 0x078f_ffff),
            (true, true, 0, 0x808f_ffff, EN),
            (true, false, 0, EN, 0),
            (false, true, 0, 0, EN),
        ] {
            for (reg, len, want) in [(0, 8, base), (8, 4, prod), (0xc, 4, cons)] {
                let mut r = reset();
                if enack {
                    r.write(AT + 8, 4, EN);
                    r.complete_ecmdq(Q);
                }
                if en != enack {
                    r.write(AT + 8, 4, if en { EN } else { 0 });
                }
                let [write, _] = r.write(AT + reg, len, ALL);
                assert_eq!(r.read(AT + reg, len), want, "+{reg:#x} with EN={en} ENACK={enack}");
                let permitted = reg == 8 && en == enack;
                assert_eq!(write.unwrap().change == Change::Ecmdq(Q), permitted);
            }
        }
    }

    #[test]
    fn runs_while_enabled_on_both_sides_and_not_stopped() {
        let mut r = reset();
        let runs = |r: &Registers| r.ecmdq(Q).runs();
        r.write(AT + 8, 4, EN | 3);
        assert!(!runs(&r) && r.ecmdq(Q).is_changing());
        assert_eq!(r.complete_ecmdq(Q), (AT + 0xc, EN));
        assert!(runs(&r));
        r.ecmdq_mut(Q).stop(CommandError::CERROR_ABT);
        assert_eq!(r.read(AT + 0xc, 4), EN | 2 << 24 | 1 << 23);
        assert!(!runs(&r));
        r.write(AT + 8, 4, EN | ERRACK | 3);
        assert!(runs(&r));
        r.ecmdq_mut(Q).stop(CommandError::CERROR_ILL);
        assert_eq!(r.read(AT + 0xc, 4), EN | 1 << 24, "ERR toggles");
        r.write(AT + 8, 4, ERRACK | 3);
        assert!(r.ecmdq(Q).is_changing());
        r.complete_ecmdq(Q);
        assert!(!r.ecmdq(Q).is_acknowledged(), "an error does not keep ENACK from following");
        assert!((0..8).filter(|&q| q != Q).all(|q| !r.ecmdq(q).is_wanted()), "the others are untouched");
    }

    #[test]
    fn an_enabled_queue_guards_the_attributes_of_queues() {
        let mut r = reset();
        r.write(AT + 8, 4, EN);
        r.write(0x28, 4, 0xfff);
        assert_eq!(r.read(0x28, 4), 0xfc0, "on its way counts");
        r.complete_ecmdq(Q);
        r.write(AT + 8, 4, 0);
        r.write(0x28, 4, 0xfff);
        assert_eq!(r.read(0x28, 4), 0xfc0);
        r.complete_ecmdq(Q);
        r.write(0x28, 4, 0xfff);
        assert_eq!(r.read(0x28, 4), 0xfff);
    }
}
