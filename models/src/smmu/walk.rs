//! Translation table descriptors as a walk sees them: pure functions of one descriptor (DDI 0487, D8.3).

use spec::smmu::descriptor::{Leaf1, Table};

use super::config::Tables;
use super::granule::{Granule, low_mask};

/// What a descriptor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptor {
    /// Nothing is mapped.
    Invalid,
    /// The next table.
    Table {
        /// Its address.
        next: u64,
        /// The descriptor.
        table: Table,
    },
    /// A block or page.
    Leaf {
        /// First address it maps to.
        output: u64,
        /// The descriptor, without its meaning at either stage.
        raw: u64,
    },
    /// An address in it is beyond the output size.
    AddressSize,
}

/// Decodes the descriptor `raw`, as read from memory, at `level`. `oas` in bits.
#[inline]
pub const fn decode(raw: u64, tables: &Tables, level: u8, oas: u8) -> Descriptor {
    let raw = if tables.big_endian { raw.swap_bytes() } else { raw };
    let (table, leaf) = (Table([raw]), Leaf1([raw]));
    let granule = tables.granule;
    let wide = matches!(granule, Granule::K64) && oas == 52;
    let decoded = match (table.valid(), table.table(), level) {
        (true, true, 0..=2) => {
            let next = match granule {
                Granule::K4 => table.next4k(),
                Granule::K16 => table.next16k(),
                Granule::K64 if wide => table.next64k() | table.next64k_hi() << 48,
                Granule::K64 => table.next64k(),
            };
            Descriptor::Table { next, table }
        }
        (true, page, _) if page == (level == 3) && (page || granule.has_block(level, oas)) => {
            let high = if wide { leaf.oa_hi() << 48 } else { 0 };
            Descriptor::Leaf { output: leaf.oa() & !low_mask(granule.shift(level)) | high, raw }
        }
        _ => return Descriptor::Invalid,
    };
    match decoded {
        Descriptor::Table { next: address, .. } | Descriptor::Leaf { output: address, .. }
            if address >> tables.output_bits != 0 =>
        {
            Descriptor::AddressSize
        }
        decoded => decoded,
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn types_and_addresses() {
        let page = |oa| Leaf1::default().with_valid(true).with_page(true).with_oa(oa).0[0];
        let block = |oa| Leaf1::default().with_valid(true).with_oa(oa).0[0];
        let leaf = |output, raw| Descriptor::Leaf { output, raw };
        use Granule::{K4, K16, K64};
        for (granule, level, oas, raw, want) in [
            (K4, 3, 48, 0, Descriptor::Invalid),
            (K4, 3, 48, block(0x1000), Descriptor::Invalid),
            (K4, 3, 48, page(0x1000), leaf(0x1000, page(0x1000))),
            (K4, 2, 48, block(0x20_1000), leaf(0x20_0000, block(0x20_1000))),
            (K4, 1, 48, block(0x4000_0000), leaf(0x4000_0000, block(0x4000_0000))),
            (K4, 0, 48, block(0), Descriptor::Invalid),
            (K16, 2, 48, block(0x200_0000), leaf(0x200_0000, block(0x200_0000))),
            (K16, 1, 48, block(0), Descriptor::Invalid),
            (K64, 2, 48, block(0x2000_0000), leaf(0x2000_0000, block(0x2000_0000))),
            (K64, 1, 48, block(0), Descriptor::Invalid),
            (K64, 3, 48, page(0x1_3000), leaf(0x1_0000, page(0x1_3000))),
            (K64, 3, 52, page(0x1_3000), leaf(0x3_0000_0001_0000, page(0x1_3000))),
            (K64, 1, 52, block(0x3000), leaf(0x3_0000_0000_0000, block(0x3000))),
            (K4, 3, 40, page(1 << 40), Descriptor::AddressSize),
        ] {
            let tables = Tables { granule, output_bits: oas, ..Tables::default() };
            assert_eq!(decode(raw, &tables, level, oas), want, "{granule:?} {level} {raw:#x}");
            let big = Tables { big_endian: true, ..tables };
            assert_eq!(decode(raw.swap_bytes(), &big, level, oas), want);
        }
        let tables = Tables { granule: K4, output_bits: 48, ..Tables::default() };
        let table = Table::default().with_valid(true).with_table(true).with_next4k(0x8000_2000);
        assert_eq!(decode(table.0[0], &tables, 0, 48), Descriptor::Table { next: 0x8000_2000, table });
    }
}
