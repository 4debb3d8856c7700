//! Performance monitors in time.

use spec::regs::Block;
use spec::smmu::Pmcg;
use spec::smmu::pmcg::{Counter, Place};

use super::*;
use crate::smmu::pmcg::{Each, PmcgConfig, STRIDE, Shape};

/// A TCU's group that can send messages, with one page.
const SHAPE: Shape = Shape { bits: 40, relocated: false, msi: true, ..Shape::MMU_700_TCU };

fn bench() -> Bench {
    Bench::booted_with(|c| {
        let shapes = Each { tcu: SHAPE, tbu: Shape::MMU_700_TBU };
        let lines = Each { tcu: Some(91), tbu: Some(92) };
        c.pmcg = Some(PmcgConfig { shapes, lines, ..PmcgConfig::mmu_700(PMCG) });
    })
}

fn group(reg: Pmcg) -> u64 {
    PMCG + u64::from(reg.offset())
}

fn value(n: u8) -> u64 {
    PMCG + u64::from(Place::Counter { n, reg: Counter::EVCNTR }.offset(true))
}

impl Bench {
    fn wide(&mut self, addr: u64, value: u64) {
        self.access(addr, Op::Write(Data::u64(value)));
    }
    fn wide_read(&mut self, addr: u64) -> u64 {
        self.access(addr, Op::Read { len: 8 }).value()
    }
    /// Counts cycles in counter 0, from a value.
    fn count_cycles(&mut self, from: u64) {
        self.wide(value(0), from);
        self.wide(group(Pmcg::INTENSET0), 1);
        self.wide(group(Pmcg::CNTENSET0), 1);
        self.write_at(group(Pmcg::CR), 1);
    }
}

#[test]
fn cycles_pass_with_time() {
    let mut bench = bench();
    let period = bench.psmmu.config().timing.clock.period();
    bench.count_cycles(0);
    let (first, began) = (bench.wide_read(value(0)), bench.now());
    bench.run_until(began + Time::us(5));
    let (second, ended) = (bench.wide_read(value(0)), bench.now());
    assert_eq!((second - first) * period.as_ps(), (ended - began).as_ps());
    bench.write_at(group(Pmcg::CR), 0);
    let stopped = bench.wide_read(value(0));
    bench.run_until(bench.now() + Time::us(5));
    assert_eq!(bench.wide_read(value(0)), stopped);
}

/// The alarm goes off when the counter overflows and not again before software has cleared the status, so that a counter that is
/// left alone does not keep time going.
#[test]
fn cycles_overflow_on_time() {
    let mut bench = bench();
    bench.update(PMCG - BASE + 0xe50, PMCG - BASE + 0xe54, 1);
    bench.count_cycles((1 << 40) - 3_000);
    let began = bench.now();
    bench.run_until(began + Time::ns(2_900));
    assert_eq!(bench.interrupts, [0; 0]);
    bench.run();
    assert_eq!(bench.interrupts, [91]);
    assert!(bench.now() - began < Time::us(4), "nothing happens after it");
    assert_eq!(bench.wide_read(group(Pmcg::OVSSET0)), 1);
    bench.wide(value(0), (1 << 40) - 1_000);
    bench.run();
    assert_eq!(bench.interrupts, [91]);
    bench.wide(group(Pmcg::OVSCLR0), 1);
    bench.wide(value(0), (1 << 40) - 1_000);
    bench.run();
    assert_eq!(bench.interrupts, [91, 91]);
}

/// IRQ_CTRL takes its time, and to disable also waits for the message to arrive.
#[test]
fn messages_and_the_handshake() {
    let mut bench = bench();
    bench.wide(group(Pmcg::IRQ_CFG0), DOORBELL);
    bench.write_at(group(Pmcg::IRQ_CFG1), 0x77);
    bench.write_at(PMCG + 0x400, 1 << 29 | 4);
    bench.write_at(PMCG + 0xa00, u32::MAX);
    bench.wide(value(0), (1 << 40) - 1);
    bench.wide(group(Pmcg::INTENSET0), 1);
    bench.wide(group(Pmcg::CNTENSET0), 1);
    bench.write_at(group(Pmcg::IRQ_CTRL), 1);
    assert_eq!(bench.read_at(group(Pmcg::IRQ_CTRLACK)), 0, "an Update takes time");
    bench.run();
    assert_eq!(bench.read_at(group(Pmcg::IRQ_CTRLACK)), 1);
    bench.write_at(group(Pmcg::CR), 1);
    bench.latency = Time::us(1);
    bench.dma(STREAM, 0x1000, Op::Read { len: 8 });
    let counted = |bench: &Bench| bench.psmmu.pmcg_rows()[0].1;
    while counted(&bench) != 0 {
        assert!(bench.step(), "the counter overflows");
    }
    bench.write_at(group(Pmcg::IRQ_CTRL), 0);
    bench.run_until(bench.now() + Time::ns(500));
    assert_eq!(bench.read_at(group(Pmcg::IRQ_CTRLACK)), 1, "the message is under way");
    bench.run();
    assert_eq!(bench.read_at(group(Pmcg::IRQ_CTRLACK)), 0);
    assert_eq!(bench.memory.read_u64(DOORBELL) as u32, 0x77);
    assert_eq!((bench.read_at(group(Pmcg::IRQ_STATUS)), bench.interrupts.len()), (0, 0));
}

#[test]
fn an_aborted_message_is_a_status() {
    let mut bench = bench();
    bench.aborts.insert(DOORBELL);
    bench.wide(group(Pmcg::IRQ_CFG0), DOORBELL);
    bench.update(PMCG - BASE + 0xe50, PMCG - BASE + 0xe54, 1);
    bench.count_cycles((1 << 40) - 100);
    bench.run();
    assert_eq!(bench.read_at(group(Pmcg::IRQ_STATUS)), 1);
    assert_eq!(bench.read32(GERROR), bench.read32(GERRORN), "no global error");
}

#[test]
fn what_lies_around() {
    let mut bench = bench();
    for (offset, want) in
        [(0xe00, true), (STRIDE + 0xe00, false), (2 * STRIDE + 0xe00, true), (0x2000, false)]
    {
        assert_eq!(bench.read_at(PMCG + offset) != 0, want, "{offset:#x}");
    }
    let errors =
        |bench: &Bench| bench.records.iter().filter(|(_, r)| matches!(r, Record::BusError { .. })).count();
    assert_eq!(errors(&bench), 0);
}
