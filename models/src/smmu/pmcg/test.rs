//! One group: registers, filters, overflow, capture.

use spec::regs::Block;
use spec::smmu::Pmcg;
use spec::smmu::pmcg::{CFGR, Counter, EVTYPER, Place};

use super::{Change, Group, Page, Shape};
use crate::smmu::features::{Features, IdrProfile};
use crate::smmu::interrupts::Raise;

/// A group with everything: filters of their own, messages, one page.
const FULL: Shape = Shape {
    counters: 4,
    bits: 40,
    relocated: false,
    msi: true,
    capture: true,
    one_filter: false,
    sid_bits: 16,
    events: 0xff,
    iidr: 0,
    minor: 3,
};

/// Event that the tests count.
const EVENT: u16 = 2;
const ALL_STREAMS: u64 = 0xffff_ffff;
const SPAN: u64 = 1 << 29;
const OVFCAP: u64 = 1 << 31;

/// A group, driven as software does it: registers by name.
struct Rig(Group);

impl Rig {
    fn new(shape: Shape) -> Self {
        Self(Group::new(shape).expect("a shape"))
    }
    fn at(&self, place: Place) -> (Page, u32, usize) {
        let cfgr = CFGR(self.0.read(Page::Zero, Pmcg::CFGR.offset(), 4));
        let wide = cfgr.size() > 31;
        let page = if cfgr.reloc_ctrs() && place.is_relocated() { Page::One } else { Page::Zero };
        (page, place.offset(wide), place.bytes(wide) as usize)
    }
    fn read(&self, reg: Pmcg) -> u64 {
        let (page, offset, len) = self.at(Place::Group(reg));
        self.0.read(page, offset, len)
    }
    fn write(&mut self, reg: Pmcg, value: u64) {
        let (page, offset, len) = self.at(Place::Group(reg));
        if self.0.write(page, offset, len, value) == Change::IrqCtrl {
            self.0.complete_irq_ctrl();
        }
    }
    fn of(&self, reg: Counter, n: u8) -> u64 {
        let (page, offset, len) = self.at(Place::Counter { n, reg });
        self.0.read(page, offset, len)
    }
    fn set(&mut self, reg: Counter, n: u8, value: u64) {
        let (page, offset, len) = self.at(Place::Counter { n, reg });
        self.0.write(page, offset, len, value);
    }
    /// The reset sequence of the Linux driver.
    fn reset_by_linux(&mut self) {
        let cfgr = CFGR(self.read(Pmcg::CFGR));
        let present = u64::MAX >> (63 - cfgr.nctr());
        self.write(Pmcg::CR, 0);
        self.write(Pmcg::IRQ_CTRL, 0);
        for reg in [Pmcg::CNTENCLR0, Pmcg::INTENCLR0, Pmcg::OVSCLR0] {
            self.write(reg, present);
        }
    }
    /// Starts a counter at a value, and the group.
    fn start(&mut self, n: u8, evtyper: u64, smr: u64, value: u64) {
        self.set(Counter::EVTYPER, n, evtyper);
        self.set(Counter::SMR, n, smr);
        self.set(Counter::EVCNTR, n, value);
        self.write(Pmcg::INTENSET0, 1 << n);
        self.write(Pmcg::CNTENSET0, 1 << n);
        self.write(Pmcg::IRQ_CTRL, 1);
        self.write(Pmcg::CR, 1);
    }
    /// `EVENT` happens to a stream.
    fn happen(&mut self, sid: u32, times: u64) -> bool {
        self.0.count(sid, |event| if event == EVENT { times } else { 0 })
    }
}

#[test]
fn shapes() {
    for (shape, cfgr, ceid, pidr) in [
        (Shape::MMU_700_TCU, 0x00d0_1f07, 0x7f, [0x87, 0xb4, 0x1b, 0x10, 4]),
        (Shape::MMU_700_TBU, 0x00d0_1f07, 0x87, [0x87, 0xb4, 0x1b, 0x10, 4]),
        (FULL, 0x0060_2703, 0xff, [0, 0, 8, 0, 0]),
    ] {
        let rig = Rig::new(shape);
        assert_eq!((rig.read(Pmcg::CFGR), rig.read(Pmcg::CEID0), rig.read(Pmcg::CEID1)), (cfgr, ceid, 0));
        let read = [Pmcg::PIDR0, Pmcg::PIDR1, Pmcg::PIDR2, Pmcg::PIDR3, Pmcg::PIDR4].map(|r| rig.read(r));
        assert_eq!(read, pidr);
        assert_eq!(rig.read(Pmcg::IIDR), u64::from(shape.iidr));
    }
    for bad in [
        Shape { counters: 0, ..FULL },
        Shape { counters: 65, ..FULL },
        Shape { bits: 33, ..FULL },
        Shape { sid_bits: 33, ..FULL },
    ] {
        assert!(Group::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn linux_resets_it_from_any_state() {
    for shape in [FULL, Shape::MMU_700_TCU] {
        let mut rig = Rig::new(shape);
        rig.start(1, u64::from(EVENT), 0, 0);
        rig.start(0, u64::from(EVENT) | SPAN, ALL_STREAMS, u64::MAX);
        assert!(rig.happen(1, 1) && rig.0.is_counting());
        rig.reset_by_linux();
        for reg in
            [Pmcg::CR, Pmcg::IRQ_CTRL, Pmcg::IRQ_CTRLACK, Pmcg::CNTENSET0, Pmcg::INTENSET0, Pmcg::OVSSET0]
        {
            assert_eq!(rig.read(reg), 0, "{reg}");
        }
        assert!(!rig.0.is_counting() && !rig.happen(1, 1));
    }
}

/// SPAN, SMR, and StreamIDs that are counted and that are not. The patterns are examples of IHI 0070, 10.4, in 16 bits.
#[test]
fn filters() {
    for (span, smr, counted, not) in [
        (0, 5, vec![5, 0x1_0005], vec![4, 7, 0x8005]),
        (0, ALL_STREAMS, vec![0xffff], vec![0, 0x7fff]),
        (SPAN, ALL_STREAMS, vec![0, 5, 0xffff], vec![]),
        (SPAN, 0x7fff, vec![0, 5, 0xffff], vec![]),
        (SPAN, 0x42, vec![0x42, 0x43], vec![0x40, 0x41, 0x44]),
        (SPAN, 0xf7f7, vec![0xf7f0, 0xf7f7, 0xf7ff], vec![0xf7e7, 0xf6f7, 0x77f7]),
        (SPAN, 0xf7f6, vec![0xf7f6, 0xf7f7], vec![0xf7f0, 0xf7f4]),
        (SPAN, 0xf5ff, vec![0xf400, 0xf5ff, 0xf7ff], vec![0xf3ff, 0xf800]),
    ] {
        let mut rig = Rig::new(FULL);
        rig.start(2, u64::from(EVENT) | span, smr, 0);
        counted.iter().chain(&not).for_each(|&sid| {
            rig.happen(sid, 1);
        });
        assert_eq!(rig.of(Counter::EVCNTR, 2), counted.len() as u64, "SMR {smr:#x}, SPAN {span:#x}");
    }
}

#[test]
fn one_filter_for_all() {
    let mut rig = Rig::new(Shape::MMU_700_TBU);
    rig.start(0, SPAN | 7, 0x42, 0);
    rig.start(3, SPAN | OVFCAP | u64::from(EVENT), 9, 0);
    assert_eq!((rig.of(Counter::SMR, 3), rig.of(Counter::EVTYPER, 3)), (0, OVFCAP | u64::from(EVENT)));
    for sid in [9, 0x42, 0x43, 0x44] {
        rig.happen(sid, 1);
    }
    assert_eq!((rig.of(Counter::EVCNTR, 3), rig.of(Counter::EVCNTR, 0)), (2, 0));
}

/// What must be so for an event to be counted.
#[test]
fn enables() {
    for (cr, cnten, evtyper, want) in [
        (1, 2, u64::from(EVENT), 3),
        (0, 2, u64::from(EVENT), 0),
        (1, 0, u64::from(EVENT), 0),
        (1, 1, u64::from(EVENT), 0),
        (1, 2, u64::from(EVENT) + 1, 0),
        (1, 2, 0xffff, 0),
    ] {
        let mut rig = Rig::new(FULL);
        rig.set(Counter::EVTYPER, 1, evtyper);
        rig.write(Pmcg::CNTENSET0, cnten);
        rig.write(Pmcg::CR, cr);
        rig.happen(0, 3);
        assert_eq!(rig.of(Counter::EVCNTR, 1), want, "CR {cr}, CNTEN {cnten}, {:?}", EVTYPER(evtyper));
    }
}

#[test]
fn an_overflow_interrupts_once_and_counting_goes_on() {
    for bits in [32, 36, 40, 44, 48, 64] {
        let max = u64::MAX >> (64 - u32::from(bits));
        for (inten, irqen, interrupts) in [(1, 1, true), (0, 1, false), (1, 0, false)] {
            let mut rig = Rig::new(Shape { bits, ..FULL });
            rig.start(0, u64::from(EVENT), 1, max - 1);
            rig.write(Pmcg::INTENCLR0, 1 ^ inten);
            rig.write(Pmcg::IRQ_CTRL, irqen);
            assert!(!rig.happen(1, 1));
            assert_eq!((rig.of(Counter::EVCNTR, 0), rig.read(Pmcg::OVSSET0)), (max, 0));
            assert_eq!(rig.happen(1, 3), interrupts, "{bits} bits");
            assert_eq!((rig.of(Counter::EVCNTR, 0), rig.read(Pmcg::OVSCLR0)), (2, 1), "{bits} bits");
            assert!(!rig.happen(1, 1), "no further overflow");
            rig.write(Pmcg::OVSCLR0, 1);
            assert_eq!(rig.read(Pmcg::OVSSET0), 0);
        }
    }
}

#[test]
fn capture_on_request_and_on_overflow() {
    let mut rig = Rig::new(FULL);
    rig.start(0, u64::from(EVENT), 1, 10);
    rig.start(1, u64::from(EVENT) | OVFCAP, 1, u64::MAX);
    rig.start(2, u64::from(EVENT), 9, 77);
    rig.write(Pmcg::CAPR, 0);
    assert_eq!(rig.of(Counter::SVR, 0), 0, "only a 1 captures");
    rig.write(Pmcg::CAPR, 1);
    let shadows = |rig: &Rig| [0, 1, 2].map(|n| rig.of(Counter::SVR, n));
    assert_eq!(shadows(&rig), [10, (1 << 40) - 1, 77]);
    rig.happen(1, 1);
    assert_eq!(shadows(&rig), [11, 0, 77], "with the value after the overflow");
    rig.happen(1, 1);
    assert_eq!(shadows(&rig), [11, 0, 77]);
    rig.set(Counter::SVR, 0, 5);
    assert_eq!((rig.of(Counter::SVR, 0), rig.read(Pmcg::CAPR)), (11, 0), "read-only, write-only");
}

/// What is on page 1 is not on page 0, and the reverse.
#[test]
fn relocation() {
    let counter = |reg| Place::Counter { n: 1, reg };
    for (place, moves) in [
        (counter(Counter::EVCNTR), true),
        (counter(Counter::SVR), true),
        (counter(Counter::EVTYPER), false),
        (Place::Group(Pmcg::OVSSET0), true),
        (Place::Group(Pmcg::OVSCLR0), true),
        (Place::Group(Pmcg::CNTENSET0), false),
        (Place::Group(Pmcg::CFGR), false),
        (Place::Group(Pmcg::PIDR2), false),
    ] {
        for relocated in [false, true] {
            let mut rig = Rig::new(Shape { relocated, ..FULL });
            rig.start(1, u64::from(EVENT), 0, 0x55);
            rig.write(Pmcg::OVSSET0, 2);
            rig.write(Pmcg::CAPR, 1);
            let read = [Page::Zero, Page::One].map(|page| rig.0.read(page, place.offset(true), 4) != 0);
            let on_one = relocated && moves;
            assert_eq!(read, [!on_one, on_one], "{place:?}, relocated {relocated}");
        }
    }
    assert_eq!(Rig::new(FULL).0.read(Page::Zero, 0x1000 + Pmcg::CFGR.offset(), 4), 0, "beyond the page");
}

/// Register, access in bytes, what is written, what is read.
#[test]
fn write_rules() {
    let full = Pmcg::CNTENSET0.offset();
    for (offset, len, value, want, why) in [
        (full, 8, u64::MAX, 0xf, "counters that do not exist are RES0"),
        (full, 4, 0b101, 0b101, "a half"),
        (full + 4, 4, 0b101, 0, "the upper half has no counters"),
        (0x000, 8, u64::MAX, (1 << 40) - 1, "as many bits as SIZE says"),
        (0x020, 8, 7, 0, "counter 4 does not exist"),
        (0x400, 4, 0xffff_ffff, 0xa000_ffff, "no filter by PARTID, no Secure streams"),
        (0x404, 4, 0xffff_ffff, 0xa000_ffff, "filters of their own"),
        (0xa00, 4, 0xffff_ffff, 0xffff, "as many bits as there are"),
        (0xa02, 2, 0xffff, 0, "no such access"),
        (0xe00, 4, 0, 0x0060_2703, "read-only"),
        (0xe04, 4, 0xffff_ffff, 1, "one bit"),
        (0xe58, 8, u64::MAX, 0x000f_ffff_ffff_fffc, "an address"),
        (0xe5c, 4, 0xf_1234, 0xf_1234, "its upper half"),
        (0xe60, 8, 0x3f_8765_4321, 0x3f_8765_4321, "two registers"),
        (0xdf8, 4, 1, 0, "no Secure state"),
        (0xe6c, 4, 1, 0, "no partitions"),
        (0xf00, 4, 1, 0, "reserved"),
    ] {
        let mut rig = Rig::new(FULL);
        rig.0.write(Page::Zero, offset, len, value);
        assert_eq!(rig.0.read(Page::Zero, offset, len), want, "{offset:#x}: {why}");
    }
}

/// Counters of 32 bits lie four bytes apart, so that a wide access reaches two.
#[test]
fn narrow_counters() {
    let mut rig = Rig::new(Shape { bits: 32, ..FULL });
    rig.0.write(Page::Zero, 8, 8, 0x2222_2222_1111_1111);
    assert_eq!((rig.of(Counter::EVCNTR, 2), rig.of(Counter::EVCNTR, 3)), (0x1111_1111, 0x2222_2222));
    assert_eq!(rig.0.read(Page::Zero, 8, 8), 0x2222_2222_1111_1111);
}

#[test]
fn messages_are_configured_while_they_are_disabled() {
    let features = Features::new(IdrProfile::STANDARD).expect("the standard profile is modelled");
    let mut rig = Rig::new(FULL);
    // Of 48 address bits the last one is lost.
    rig.write(Pmcg::IRQ_CFG0, 1 << 48 | 0x800);
    rig.write(Pmcg::IRQ_CFG1, 7);
    rig.write(Pmcg::IRQ_CTRL, 1);
    for reg in [Pmcg::IRQ_CFG0, Pmcg::IRQ_CFG1, Pmcg::IRQ_CFG2] {
        rig.write(reg, 4);
    }
    assert_eq!(
        (rig.read(Pmcg::IRQ_CFG0), rig.read(Pmcg::IRQ_CFG1), rig.read(Pmcg::IRQ_CFG2)),
        (1 << 48 | 0x800, 7, 0)
    );
    assert_eq!(rig.0.raise(Some(9), &features), Some(Raise::Message { addr: 0x800, data: 7 }));
    rig.0.message_aborted();
    assert_eq!(rig.read(Pmcg::IRQ_STATUS), 1);
    rig.write(Pmcg::IRQ_CTRL, 0);
    assert_eq!(rig.read(Pmcg::IRQ_STATUS), 1, "kept until it is enabled again");
    rig.write(Pmcg::IRQ_CTRL, 1);
    assert_eq!(rig.read(Pmcg::IRQ_STATUS), 0);
    let mut plain = Rig::new(Shape { msi: false, ..FULL });
    plain.write(Pmcg::IRQ_CFG0, 0x800);
    assert_eq!((plain.read(Pmcg::IRQ_CFG0), plain.0.raise(Some(9), &features)), (0, Some(Raise::Wire(9))));
    assert_eq!(plain.0.raise(None, &features), None);
}

/// IRQ_CTRL is taken only when no Update is under way, and acts with its ACK.
#[test]
fn update_of_irq_ctrl() {
    let mut rig = Rig::new(FULL);
    rig.start(0, u64::from(EVENT), 1, u64::MAX);
    rig.write(Pmcg::IRQ_CTRL, 0);
    let at = Pmcg::IRQ_CTRL.offset();
    assert_eq!(rig.0.write(Page::Zero, at, 4, 1), Change::IrqCtrl);
    assert_eq!((rig.read(Pmcg::IRQ_CTRL), rig.read(Pmcg::IRQ_CTRLACK)), (1, 0));
    assert!(!rig.happen(1, 1), "not before the ACK");
    assert_eq!(rig.0.write(Page::Zero, at, 4, 0), Change::None);
    assert_eq!(rig.read(Pmcg::IRQ_CTRL), 1);
    rig.0.complete_irq_ctrl();
    assert_eq!(rig.read(Pmcg::IRQ_CTRLACK), 1);
    rig.set(Counter::EVCNTR, 0, u64::MAX);
    assert!(rig.happen(1, 1));
    assert_eq!(rig.0.write(Page::Zero, at, 4, 1), Change::None, "nothing changes");
    assert_eq!(rig.0.write(Page::Zero, at, 4, 0), Change::IrqCtrl);
    assert!(rig.0.is_disabling_irq());
}

#[test]
fn cycles_pass_only_where_they_are_counted() {
    let mut rig = Rig::new(FULL);
    rig.0.advance(100);
    rig.start(0, 0, 7, 5);
    rig.start(1, u64::from(EVENT), 7, 5);
    assert!(!rig.0.advance(130));
    assert_eq!((rig.of(Counter::EVCNTR, 0), rig.of(Counter::EVCNTR, 1)), (35, 5), "whatever the filter says");
    rig.write(Pmcg::CR, 0);
    rig.0.advance(200);
    rig.write(Pmcg::CR, 1);
    rig.0.advance(201);
    assert_eq!(rig.of(Counter::EVCNTR, 0), 36);
    rig.set(Counter::EVCNTR, 0, (1 << 40) - 10);
    assert_eq!(rig.0.next_overflow(), Some(10));
    assert!(!rig.0.advance(210));
    assert!(rig.0.advance(211));
    assert_eq!((rig.of(Counter::EVCNTR, 0), rig.read(Pmcg::OVSSET0)), (0, 1));
    assert_eq!(rig.0.next_overflow(), None, "not for ever");
    rig.write(Pmcg::OVSCLR0, 1);
    assert_eq!(rig.0.next_overflow(), Some(1 << 40));
    rig.write(Pmcg::INTENCLR0, 1);
    assert_eq!(rig.0.next_overflow(), None, "nobody hears of it");
}
