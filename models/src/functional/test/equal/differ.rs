//! What software, devices and observers see of both machines.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::super::*;
use super::pair::{BUILT, INDICES, Pair, RINGS};
use crate::dma::{AtcInvalidate, PageResponse};
use crate::record::CommandQueue;

/// Ends of names of counters that depend on when things happen: on reads ahead that an error made useless, on writes of CONS that
/// fell together, on turns of the arbiter.
const TIMELY: [&str; 8] = [
    "command_fetches",
    "inserted_syncs",
    "merged_misses",
    "walk_slots_full",
    "slots_full",
    ".fetches",
    ".fetched_bytes",
    ".write_backs",
];

/// Ends of names of counters that depend on how transactions are divided.
const TRAFFIC: [&str; 4] = ["dmas", "lookups", "hits", "misses"];

/// Which records keep their order among themselves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Strand {
    /// Updates and register writes.
    Registers,
    /// Each queue.
    Queue(CommandQueue),
    /// Transactions and what their translation filled.
    Transactions,
    /// Event records.
    Events,
    /// Page requests, but not their answers: those of software come from many queues.
    PageRequests,
    /// No order.
    Others,
}

fn strand(record: &Record) -> Option<Strand> {
    Some(match record {
        Record::SmmuRegister { .. } | Record::SmmuUpdated { .. } | Record::CmdqvRegister { .. } => {
            Strand::Registers
        }
        Record::CommandConsumed { queue, .. } | Record::CommandError { queue, .. } => Strand::Queue(*queue),
        Record::DescriptorUpdated { .. }
        | Record::DmaTranslated { .. }
        | Record::DmaDone { .. }
        | Record::DmaAborted { .. }
        | Record::AtsAnswered { .. }
        | Record::TlbFilled { .. } => Strand::Transactions,
        Record::EventWritten { .. } | Record::EventDropped { .. } => Strand::Events,
        Record::PageRequestWritten { .. } | Record::PageRequestDropped { .. } => Strand::PageRequests,
        // The rig's own.
        Record::MemoryWrite { .. } => return None,
        _ => Strand::Others,
    })
}

/// Times differ by design, and so do numbers of transactions once one of them was divided further.
fn text(record: &Record) -> String {
    let mut record = record.clone();
    match &mut record {
        Record::DmaTranslated { id, begun, .. } | Record::DmaAborted { id, begun, .. } => {
            (*id, *begun) = (0, Time::ZERO);
        }
        Record::DmaDone { id, .. } => *id = 0,
        Record::DescriptorUpdated { who, .. } => who.begun = Time::ZERO,
        _ => {}
    }
    format!("{record:x?}")
}

fn strands<'a>(records: impl Iterator<Item = &'a Record>) -> BTreeMap<Strand, Vec<String>> {
    let mut strands = BTreeMap::<_, Vec<String>>::new();
    for record in records {
        if let Some(strand) = strand(record) {
            strands.entry(strand).or_default().push(text(record));
        }
    }
    if let Some(others) = strands.get_mut(&Strand::Others) {
        others.sort();
    }
    strands
}

fn differ<T: PartialEq + Debug>(what: &str, plain: &T, timed: &T, to: &mut Vec<String>) {
    if plain != timed {
        to.push(format!("{what}: without time {plain:x?}\n{what}:    with time {timed:x?}"));
    }
}

impl Pair {
    /// What is different, in words; the records since the last call are compared.
    pub(super) fn differences(&mut self) -> Vec<String> {
        let mut all = std::mem::take(&mut self.results);
        if self.raced {
            return Vec::new();
        }
        self.registers(&mut all);
        self.memories(&mut all);
        let world = &self.plain.world;
        differ("interrupts", &world.interrupts, &self.timed.interrupts, &mut all);
        let untagged = |all: &[AtcInvalidate]| -> Vec<_> {
            all.iter().map(|i| AtcInvalidate { tag: 0, ..*i }).collect()
        };
        let mut invalidations = [&world.invalidations, &self.timed.invalidations].map(|i| untagged(i));
        invalidations.iter_mut().for_each(|i| i.sort_by_key(|i| (i.sid, i.ssid, i.addr, i.size_log2)));
        differ("ATC invalidations", &invalidations[0], &invalidations[1], &mut all);
        let sorted = |all: &[PageResponse]| {
            let mut all = all.to_vec();
            all.sort_by_key(|r| (r.sid, r.ssid, r.group, r.answer.code()));
            all
        };
        let responses = [&world.page_responses, &self.timed.page_responses].map(|r| sorted(r));
        differ("page responses", &responses[0], &responses[1], &mut all);
        let plain = strands(world.records[self.told[0]..].iter());
        let timed = strands(self.timed.records[self.told[1]..].iter().map(|(_, r)| r));
        self.told = [world.records.len(), self.timed.records.len()];
        for strand in plain.keys().chain(timed.keys()).collect::<BTreeSet<_>>() {
            let (a, b) = (plain.get(strand), timed.get(strand));
            let open = self.long || self.many && *strand == Strand::Transactions;
            if !open {
                differ(&format!("{strand:?}"), &a, &b, &mut all);
            }
        }
        self.divided |= self.long;
        self.counters(&mut all);
        // Reading registers may have let commands go on.
        if self.raced { Vec::new() } else { all }
    }

    fn registers(&mut self, all: &mut Vec<String>) {
        let smmu =
            (0..0x200).step_by(4).chain([0x1_00a8, 0x1_00ac, 0x1_00c8, 0x1_00cc]).map(|offset| BASE + offset);
        let mut places: Vec<u64> = smmu.collect();
        if self.plain.smmu.cmdqv().is_some() {
            places.extend((0..0x34).step_by(4).chain((0x200..0x220).step_by(4)).map(|offset| CMDQV + offset));
            for v in 0..4 {
                places.extend([0, 4, 0x40, 0x44, 0x80, 0x84, 0xc0].map(|r| CMDQV + 0x1000 + 0x100 * v + r));
            }
            for q in 0..8 {
                places.extend((0..7).map(|r| CMDQV + 0x1_0000 + 0x80 * q + 4 * r));
                places.extend((0..4).map(|r| CMDQV + 0x2_0000 + 0x80 * q + 4 * r));
            }
        }
        if self.monitored() {
            places.extend(self.pmcg_places());
        }
        places.extend(self.optional_places());
        for place in places {
            let [plain, timed] = self.read(place);
            differ(&format!("register {:#x}", place - BASE), &plain, &timed, all);
        }
    }

    fn memories(&self, all: &mut Vec<String>) {
        let pages = |base: u64, n: u64| (0..n).map(move |page| base + (page << 12));
        let rings = (0..16).map(|q| RINGS + (q << 16));
        let regions =
            pages(COMMANDS, 3).chain(pages(EVENTS, 3)).chain(pages(PAGE_REQUESTS, 3)).chain(pages(PAGES, 16));
        let regions = regions.chain(pages(BUILT, 64));
        let mut bytes = [[0; 4096]; 2];
        for page in regions.chain([DOORBELL, INDICES, STREAMS, TABLES]).chain(rings) {
            self.plain.world.memory.read(page, &mut bytes[0]);
            self.timed.memory.read(page, &mut bytes[1]);
            // Whole pages first: nearly all are equal.
            if bytes[0] != bytes[1]
                && let Some(at) = (0..4096).find(|&i| bytes[0][i] != bytes[1][i])
            {
                let words = bytes.map(|b| b[at & !7..][..8].to_vec());
                differ(&format!("memory at {:#x}", page + at as u64), &words[0], &words[1], all);
            }
        }
    }

    fn counters(&self, all: &mut Vec<String>) {
        // Latencies have no counterpart, and quantiles are slow.
        let psmmu = &self.timed.psmmu;
        let timed = psmmu.counters().rows(&psmmu.caches().stats, psmmu.cmdqv(), false);
        let mut timed: BTreeMap<_, _> = timed.into_iter().chain(psmmu.pmcg_rows()).collect();
        *timed.get_mut("dmas").expect("it is counted") += self.retried;
        for (name, n) in self.plain.smmu.metrics() {
            let of = |names: &[&str]| names.iter().any(|n| name.ends_with(n));
            if !(of(&TIMELY) || self.divided && of(&TRAFFIC)) {
                differ(&name, &Some(&n), &timed.get(&name), all);
            }
        }
    }
}
