//! SMMUv3 (IHI 0070): stages 1 and 2, queues, ATS, of a v3.3 implementation whose faults may stall and terminate.
//!
//! Unless a row says otherwise: both queues have 64 entries and are enabled, the Stream table is linear, and stream 1 is
//! translated by stage 1 with 4KB pages of which one is mapped.

mod ats;
mod bypass;
mod caches;
mod commands;
mod context;
mod events;
mod pri;
mod registers;
mod stage2;
mod stall;
mod stream_table;
mod translation;

use crate::suite::{Group, Suite};

/// All rows.
pub const SUITE: Suite = Suite {
    name: "smmuv3",
    title: "SMMUv3 against IHI 0070",
    about: ", and looks at registers, memory, interrupts and DMA only. The section is that of IHI 0070.",
    basis: "Section",
    groups: &[
        Group { title: "Registers", rows: registers::ROWS },
        Group { title: "Global bypass and SMMUEN", rows: bypass::ROWS },
        Group { title: "Stream table and STE", rows: stream_table::ROWS },
        Group { title: "SubstreamID and CD", rows: context::ROWS },
        Group { title: "Translation and faults", rows: translation::ROWS },
        Group { title: "Stage 2 and nested", rows: stage2::ROWS },
        Group { title: "TLBs and configuration caches", rows: caches::ROWS },
        Group { title: "Commands and their queue", rows: commands::ROWS },
        Group { title: "Event queue", rows: events::ROWS },
        Group { title: "PRI queue", rows: pri::ROWS },
        Group { title: "Stall", rows: stall::ROWS },
        Group { title: "ATS", rows: ats::ROWS },
    ],
};

#[cfg(test)]
mod test {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let ids: Vec<_> = SUITE.groups.iter().flat_map(|g| g.rows).map(|row| row.id).collect();
        let unique: BTreeSet<_> = ids.iter().collect();
        assert_eq!((ids.len(), unique.len()), (191, 191));
    }
}
