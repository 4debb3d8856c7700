//! What an SMMUv3 need not have (IHI 0070): enhanced command queues and address translation operations, of a v3.3
//! implementation that has them, besides all that [`crate::smmuv3`] is about.
//!
//! Unless a row says otherwise the machine is set up as there. There are two control pages of four queues, and a VATOS page.

mod ask;
mod atos;
mod ecmdq;
mod faults;
mod queue;

use crate::rig::Rig;
use crate::suite::{Check, Group, Need, Row, Suite};

/// A row on a machine that has what is optional.
const fn row(id: &'static str, section: &'static str, text: &'static str, run: fn(&mut Rig) -> Check) -> Row {
    Row::new(id, section, text, run).needs(Need::Optional)
}

/// All rows.
pub const SUITE: Suite = Suite {
    name: "smmuv3-optional",
    title: "Optional parts of SMMUv3 against IHI 0070",
    about: ", and looks at registers, memory, interrupts and DMA only. The section is that of IHI 0070.",
    basis: "Section",
    groups: &[
        Group { title: "Enhanced command queues", rows: ecmdq::ROWS },
        Group { title: "Address translation operations", rows: atos::ROWS },
        Group { title: "Faults of address translation operations", rows: faults::ROWS },
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
        assert_eq!(ids.len(), unique.len());
        assert!(ids.iter().all(|id| id.starts_with("EQ") || id.starts_with("AT")));
    }
}
