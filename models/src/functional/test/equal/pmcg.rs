//! Performance monitors: what each event counts, in both machines.

use spec::regs::Block;
use spec::smmu::Pmcg;
use spec::smmu::pmcg::{Counter, Place};

use super::super::*;
use super::pair::Pair;
use super::step::{Access, Step, machine, monitors};
use crate::dma::Incoming;
use crate::smmu::pmcg::STRIDE;

const SPAN: u64 = 1 << 29;

/// Where a register of an MMU-700's group is.
fn at(tcu: bool, place: Place) -> u64 {
    let unit = if tcu { 0 } else { 2 * STRIDE };
    let page = if place.is_relocated() { STRIDE } else { 0 };
    PMCG + unit + page + u64::from(place.offset(false))
}

impl Pair {
    pub(super) fn monitored(&self) -> bool {
        self.plain.smmu.config().pmcg.is_some()
    }

    /// Out of reset counters count cycles; only one machine has a clock.
    pub(super) fn count_no_cycles(&mut self) {
        if !self.monitored() {
            return;
        }
        for (tcu, n) in [true, false].into_iter().flat_map(|tcu| (0..8).map(move |n| (tcu, n))) {
            self.write(at(tcu, Place::Counter { n, reg: Counter::EVTYPER }), false, 0xffff);
        }
    }

    /// Sets up a counter and starts it. The filter is that of all counters of the group; without one all streams count.
    pub(super) fn count(&mut self, tcu: bool, n: u8, event: u16, filter: Option<u32>, value: u32) {
        let counter = |n, reg| at(tcu, Place::Counter { n, reg });
        let group = |reg| at(tcu, Place::Group(reg));
        self.write(group(Pmcg::CNTENCLR0), true, 1 << n);
        self.write(counter(0, Counter::SMR), false, filter.unwrap_or(u32::MAX).into());
        self.write(counter(n, Counter::EVTYPER), false, u64::from(event) | SPAN);
        if n > 0 {
            let first = self.read(counter(0, Counter::EVTYPER))[0];
            self.write(counter(0, Counter::EVTYPER), false, u64::from(first) | SPAN);
        }
        self.write(counter(n, Counter::EVCNTR), false, value.into());
        self.write(group(Pmcg::INTENSET0), true, 1 << n);
        self.write(group(Pmcg::CNTENSET0), true, 1 << n);
        self.write(group(Pmcg::IRQ_CTRL), false, 1);
        self.write(group(Pmcg::CR), false, 1);
    }

    /// Every register that may differ.
    pub(super) fn pmcg_places(&self) -> Vec<u64> {
        let counters = (0..8).flat_map(|n| Counter::ALL.iter().map(move |&reg| Place::Counter { n, reg }));
        let groups = Pmcg::ALL.iter().map(|&reg| Place::Group(reg));
        let places: Vec<_> = counters.chain(groups).collect();
        [true, false].into_iter().flat_map(|tcu| places.iter().map(move |&place| at(tcu, place))).collect()
    }

    fn counter(&mut self, tcu: bool, n: u8) -> [u32; 2] {
        self.read(at(tcu, Place::Counter { n, reg: Counter::EVCNTR }))
    }
}

fn dma(sid: u32, addr: u64, access: Access) -> Step {
    Step::Dma { sid, ssid: None, incoming: Incoming::DEFAULT, addr, access }
}

fn pair() -> Pair {
    Pair::new(&PsmmuConfig { pmcg: Some(monitors()), ..machine() })
}

/// Steps after which each counter starts at 0; what then happens; what the events of TBU and TCU have counted.
type Row<'a> = (&'a str, Vec<Step>, Step, &'a [(u16, u32)], &'a [(u16, u32)]);

/// Stream 2 has stage-2 tables of three levels, stream 1 stage-1 tables of four; stream 6 has no valid STE.
#[test]
fn each_event_counts_what_it_names() {
    let read = |sid, addr| dma(sid, addr, Access::Read(8));
    let rows: &[Row<'_>] = &[
        (
            "a transaction that nothing is known of",
            vec![],
            read(2, 0),
            &[(1, 1), (2, 1), (7, 0), (0x80, 1), (0x81, 1), (0x83, 1), (0x84, 1)],
            &[
                (1, 1),
                (2, 1),
                (3, 1),
                (4, 3),
                (5, 1),
                (6, 0),
                (0x88, 0),
                (0x8a, 1),
                (0x8b, 1),
                (0x8c, 1),
                (0x8d, 1),
                (0x92, 1),
                (0x94, 1),
            ],
        ),
        (
            "a hit in the micro TLB",
            vec![read(2, 0)],
            read(2, 8),
            &[(1, 1), (2, 0), (0x80, 0), (0x83, 1), (0x84, 0)],
            &[(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (0x92, 0)],
        ),
        (
            "another page of the same table",
            vec![read(2, 0)],
            read(2, 0x3000),
            &[(1, 1), (2, 1), (0x81, 1), (0x84, 1)],
            &[(1, 1), (2, 1), (3, 0), (4, 1), (5, 0), (0x8c, 1), (0x8d, 0), (0x92, 1), (0x94, 0)],
        ),
        (
            "a stage-1 stream: STE and CD, four levels",
            vec![],
            read(1, 0x3000),
            &[(1, 1), (2, 1)],
            &[(2, 1), (3, 1), (4, 4), (5, 2), (0x84, 1), (0x85, 1), (0x80, 1), (0x92, 2), (0x94, 2)],
        ),
        (
            "a stream without a valid STE is counted where it is terminated",
            vec![],
            read(6, 0),
            &[(1, 1), (2, 1), (0x80, 0), (0x83, 1), (0x84, 1)],
            &[(1, 1), (2, 0), (3, 1), (4, 0), (5, 1)],
        ),
        (
            "an ATS translation request meets the TCU only",
            vec![],
            dma(2, 0, Access::Request { write: false }),
            &[(1, 0), (2, 0), (7, 0), (0x83, 0)],
            &[(1, 1), (2, 1), (3, 1), (4, 3), (5, 1), (6, 1)],
        ),
        (
            "an ATS request that the TLB answers",
            vec![read(2, 0)],
            dma(2, 0, Access::Request { write: false }),
            &[(1, 0), (2, 0)],
            &[(1, 1), (2, 0), (4, 0), (6, 1)],
        ),
        (
            "an ATS translated transaction is checked against its STE",
            vec![],
            dma(2, PAGES, Access::Translated { write: false }),
            &[(1, 1), (2, 1), (7, 1), (0x83, 0)],
            &[(1, 1), (2, 0), (3, 1), (4, 0), (5, 1), (6, 0)],
        ),
    ];
    for (what, before, then, tbu, tcu) in rows {
        for (is_tcu, events) in [(false, tbu), (true, tcu)] {
            for chunk in events.chunks(8) {
                let mut pair = pair();
                before.iter().for_each(|step| pair.step(step));
                for (n, (event, _)) in chunk.iter().enumerate() {
                    pair.count(is_tcu, n as u8, *event, None, 0);
                }
                pair.step(then);
                for (n, (event, want)) in chunk.iter().enumerate() {
                    let got = pair.counter(is_tcu, n as u8);
                    assert_eq!(got, [*want; 2], "{what}: event {event:#x}, TCU {is_tcu}");
                }
                assert_eq!(pair.differences(), Vec::<String>::new(), "{what}");
            }
        }
    }
}

/// Filter, and how many of the transactions of streams 1, 2, 3 and 8 count.
#[test]
fn filters_choose_streams() {
    for (filter, want) in [(None, 4), (Some(0), 1), (Some(1), 3), (Some(9), 1), (Some(0x10), 0)] {
        let mut pair = pair();
        pair.count(false, 4, 1, filter, 0);
        for sid in [1, 2, 3, 8] {
            pair.step(&dma(sid, 0, Access::Read(8)));
        }
        assert_eq!(pair.counter(false, 4), [want; 2], "{filter:?}");
    }
}

#[test]
fn an_overflow_is_an_edge_of_the_groups_wire() {
    let mut pair = pair();
    pair.count(false, 0, 1, None, u32::MAX);
    pair.count(true, 1, 4, None, u32::MAX - 1);
    pair.step(&dma(2, 0, Access::Read(8)));
    pair.step(&dma(2, 0x1000, Access::Read(8)));
    assert_eq!(pair.plain.world.interrupts, [92, 91]);
    assert_eq!(pair.differences(), Vec::<String>::new());
}

/// What the walker is counted for is all that the SMMU reads and changes for translations.
#[test]
fn walks_add_up() {
    let updating = IdrProfile { idr0: IdrProfile::STALLING.idr0 | 2 << 6, ..IdrProfile::STALLING };
    let mut pair = Pair::new(&PsmmuConfig { pmcg: Some(monitors()), idr: updating, ..machine() });
    pair.count(true, 0, 4, None, 0);
    pair.count(true, 1, 5, None, 0);
    let counters = |pair: &Pair| {
        let counters = pair.plain.smmu.counters();
        counters.walk_reads + counters.walk_updates
    };
    let before = counters(&pair);
    for (sid, page) in [(1, 0), (2, 1), (3, 2), (3, 5), (7, 0), (10, 1), (2, 2)] {
        pair.step(&dma(sid, page << 12, Access::Write(8)));
    }
    let [walks, structures] = [0, 1].map(|n| u64::from(pair.counter(true, n)[0]));
    assert_eq!(walks + structures, counters(&pair) - before);
    assert!(walks > 20 && structures > 5, "{walks} and {structures}");
    assert_eq!(pair.differences(), Vec::<String>::new());
}
