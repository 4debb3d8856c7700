//! The memory of a fuzzed machine: 64KB in which everything is close to everything else.
//!
//! ```text
//!   0x0000 Stream table, level-1 descriptors, CDs    0x1000 queues, doorbells, rings of VCMDQs
//!   0x2000 stage-1 tables, levels 0 to 3             0x6000 stage-2 tables, levels 1 to 3
//!   0xa000 data
//! ```
//! Tables have entries that lead back to themselves and into the queues. Stage 2 maps this memory one to one, so that a nested
//! stream can use the tables of stage 1.

use spec::smmu::descriptor::{Leaf1, Leaf2, Table};
use spec::smmu::ste::config;
use spec::smmu::{Cd, L1Cd, L1Std, Ste};

use super::super::rig::{PAGE1, PAGE2};

pub(super) const BASE: u64 = 0x8000_0000;
/// Address bits within this memory.
pub(super) const MASK: u64 = 0xffff;
pub(super) const STREAMS: u64 = BASE;
pub(super) const STREAMS_LOG2: u64 = 4;
/// Level-1 descriptors of a two-level Stream table.
pub(super) const ARRAYS: u64 = BASE + 0x400;
const CD: u64 = BASE + 0x800;
/// A linear table of four CDs, and level-1 descriptors of a table with two levels.
pub(super) const CDS: u64 = BASE + 0xc00;
const L1CDS: u64 = BASE + 0xe00;
pub(super) const COMMANDS: u64 = BASE + 0x1000;
pub(super) const COMMANDS_LOG2: u64 = 4;
pub(super) const EVENTS: u64 = BASE + 0x1100;
pub(super) const EVENTS_LOG2: u64 = 3;
pub(super) const REQUESTS: u64 = BASE + 0x1300;
pub(super) const REQUESTS_LOG2: u64 = 4;
pub(super) const DOORBELL: u64 = BASE + 0x1200;
/// Where VCMDQs write CONS.
pub(super) const INDICES: u64 = BASE + 0x1240;
/// Rings of eight VCMDQs.
pub(super) const RINGS: u64 = BASE + 0x1400;
pub(super) const RING_LOG2: u64 = 4;
pub(super) const ONE: u64 = BASE + 0x2000;
pub(super) const TWO: u64 = BASE + 0x6000;
const DATA: u64 = BASE + 0xa000;

/// Streams 1 to 3: stage 1, stage 2, both. 4 bypasses, 5 aborts, 6 is not valid, 7 has substreams, 8 and 9 are 1 and 2 with faults
/// that stall, 10 has substreams in two levels, 11 is of EL2, 12 has split-stage ATS.
pub(super) const SIDS: [u32; 14] = [1, 2, 3, 7, 8, 9, 10, 12, 11, 4, 5, 6, 15, 0x123];

/// Words of memory that are not zero. `updates`: descriptors that wait for the hardware to update them.
pub(super) fn words(updates: bool) -> Vec<(u64, u64)> {
    let mut words = Vec::new();
    let mut put = |at: u64, all: &[u64]| words.extend((at..).step_by(8).zip(all.iter().copied()));
    let cd = Cd::default()
        .with_v(true)
        .with_aa64(true)
        .with_t0sz(16)
        .with_ttb0(ONE)
        .with_epd1(true)
        .with_ips(5)
        .with_asid(1)
        .with_r(true)
        .with_a(true)
        .with_ha(updates)
        .with_hd(updates);
    put(CD, &cd.0);
    put(CD + 64, &cd.with_s(true).with_asid(2).0);
    for (n, cd) in [cd.with_asid(3), cd.with_asid(4).with_s(true), Cd::default(), cd].iter().enumerate() {
        put(CDS + 64 * n as u64, &cd.0);
    }
    put(L1CDS, &L1Cd::default().with_v(true).with_l2ptr(BASE).0);
    put(ARRAYS, &L1Std::default().with_span(5).with_l2ptr(STREAMS).0);

    let valid = Ste::default().with_v(true);
    let one = valid.with_config(config::S1).with_s1contextptr(CD).with_eats(1);
    let under = |ste: Ste| {
        ste.with_s2t0sz(25)
            .with_s2sl0(1)
            .with_s2ps(5)
            .with_s2aa64(true)
            .with_s2r(true)
            .with_s2vmid(5)
            .with_s2ttb(TWO)
            .with_s2ha(updates)
            .with_s2hd(updates)
    };
    let two = under(valid.with_config(config::S2));
    let both = under(one.with_config(config::NESTED));
    for (sid, ste) in [
        (1, one),
        (2, two.with_eats(1)),
        (3, both),
        (4, valid.with_config(config::BYPASS)),
        (5, valid.with_config(config::ABORT)),
        (7, one.with_s1contextptr(CDS).with_s1cdmax(2).with_s1dss(2)),
        (8, one.with_s1contextptr(CD + 64).with_eats(0)),
        (9, two.with_s2s(true).with_s2vmid(6)),
        (10, one.with_s1contextptr(L1CDS).with_s1cdmax(7).with_s1fmt(1)),
        (11, one.with_strw(2)),
        (12, both.with_eats(2)),
    ] {
        put(STREAMS + 64 * sid, &ste.0);
    }

    let table = |to: u64| Table([0]).with_valid(true).with_table(true).with_next4k(to).0[0];
    let leaf = |leaf: Leaf1, to: u64| leaf.with_oa(to);
    put(ONE, &[table(ONE + 0x1000), table(ONE)]);
    put(
        ONE + 0x1000,
        &[table(ONE + 0x2000), leaf(PAGE1, 0x8000_0000).0[0], table(ONE + 0x1000), table(COMMANDS)],
    );
    put(ONE + 0x2000, &[table(ONE + 0x3000), leaf(PAGE1, BASE).0[0], table(ONE + 0x2000), table(TWO)]);
    for page in 0..8_u64 {
        let last = leaf(PAGE1, DATA + (page << 12) % 0x6000).with_page(true).with_ng(page != 3);
        let last = match page {
            1 => last.with_af(!updates),
            2 => last.with_ap(3).with_dbm(updates),
            4 => last.with_contiguous(true),
            _ => last,
        };
        put(ONE + 0x3000 + 8 * page, &last.0);
    }
    put(
        ONE + 0x3000 + 8 * 8,
        &[leaf(PAGE1, COMMANDS).with_page(true).0[0], leaf(PAGE1, ONE).with_page(true).0[0]],
    );

    let same = |leaf: Leaf2, to: u64| leaf.with_oa(to);
    put(TWO, &[table(TWO + 0x1000), same(PAGE2, 0x8000_0000).0[0], table(TWO + 0x1000), table(TWO)]);
    put(TWO + 0x1000, &[table(TWO + 0x2000), same(PAGE2, BASE).0[0], table(TWO + 0x1000)]);
    for page in 0..16_u64 {
        let last = same(PAGE2, BASE + (page << 12)).with_page(true);
        let last = match page {
            11 => last.with_af(!updates),
            12 => last.with_s2ap(1).with_dbm(updates),
            _ => last,
        };
        put(TWO + 0x2000 + 8 * page, &last.0);
    }
    for at in (DATA..BASE + 0x1_0000).step_by(0x108) {
        put(at, &[at ^ 0x5555_aaaa_0000_0000]);
    }
    words.retain(|(_, word)| *word != 0);
    words
}
