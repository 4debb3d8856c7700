//! Translation table descriptors, VMSAv8-64 (DDI 0487, D8.3), little-endian.
//!
//! The output address of a leaf is drawn down to bit 12; larger granules and blocks have fewer address bits, which is
//! the walker's business. [`Leaf1`] and [`Leaf2`] are a block or page at stage 1 and stage 2, [`Table`] is a table
//! descriptor of either stage.

crate::layout! {
    /// Table descriptor, both stages.
    pub struct Table([u64; 1]) {
        /// The descriptor is valid.
        valid[0],
        /// A table, rather than a block.
        table[1],
        /// Next table, 4KB granule.
        next4k[47:12] addr,
        /// Next table, 16KB granule.
        next16k[47:14] addr,
        /// Next table, 64KB granule.
        next64k[47:16] addr,
        /// Address bits 51:48 of the next table, 64KB granule.
        next64k_hi[15:12],
        /// No privileged execution below.
        pxntable[59],
        /// No unprivileged execution below.
        uxntable[60],
        /// Bit 0: no unprivileged access below; bit 1: no writes below.
        aptable[62:61],
        /// Non-secure below.
        nstable[63],
        /// All that restricts what is below: `pxntable`, `uxntable` and `aptable`, lowest bit first.
        restrictions[62:59],
    }
}

crate::layout! {
    /// Block or page descriptor, stage 1.
    pub struct Leaf1([u64; 1]) {
        /// The descriptor is valid.
        valid[0],
        /// 1 for a page (level 3), 0 for a block.
        page[1],
        /// Byte of CD.MAIR that gives the memory type.
        attrindx[4:2],
        /// Non-secure output, in Secure tables.
        ns[5],
        /// Bit 0 (AP\[1\]): unprivileged access; bit 1 (AP\[2\]): read-only.
        ap[7:6],
        /// 0 Non-shareable, 2 Outer, 3 Inner Shareable.
        sh[9:8],
        /// Has been accessed.
        af[10],
        /// Tagged with the ASID.
        ng[11],
        /// Address bits 51:48 of the output, 64KB granule.
        oa_hi[15:12],
        /// Block translation entry: a break-before-make hint.
        nt[16],
        /// Output address, bits 47:12.
        oa[47:12] addr,
        /// Guarded page.
        gp[50],
        /// Writable-clean if read-only.
        dbm[51],
        /// One of a group of alike neighbours.
        contiguous[52],
        /// No privileged execution.
        pxn[53],
        /// XN in an EL2 regime.
        uxn[54],
        /// For software.
        sw[58:55],
        /// Page-based hardware attributes.
        pbha[62:59],
    }
}

crate::layout! {
    /// Block or page descriptor, stage 2.
    pub struct Leaf2([u64; 1]) {
        /// The descriptor is valid.
        valid[0],
        /// 1 for a page (level 3), 0 for a block.
        page[1],
        /// Memory type: 0xf is Normal Write-Back, 1 Device-nGnRE; differs with STE.S2FWB.
        memattr[5:2],
        /// Bit 0: readable; bit 1: writable.
        s2ap[7:6],
        /// 0 Non-shareable, 2 Outer, 3 Inner Shareable.
        sh[9:8],
        /// Has been accessed.
        af[10],
        /// Address bits 51:48 of the output, 64KB granule.
        oa_hi[15:12],
        /// Block translation entry: a break-before-make hint.
        nt[16],
        /// Output address, bits 47:12.
        oa[47:12] addr,
        /// Writable-clean if not writable.
        dbm[51],
        /// One of a group of alike neighbours.
        contiguous[52],
        /// Execute-never, see DDI 0487 for the four values.
        xn[54:53],
        /// For software.
        sw[58:56],
        /// Page-based hardware attributes.
        pbha[62:59],
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::layout::{Layout, check_layout};

    #[test]
    fn tables_are_sound() {
        check_layout::<Table>(&["next16k", "next64k", "next64k_hi", "restrictions"]);
        check_layout::<Leaf1>(&["oa_hi", "nt"]);
        check_layout::<Leaf2>(&["oa_hi", "nt"]);
    }

    /// Masks that other readers of the architecture (Linux `pgtable-hwdef.h`, `io-pgtable-arm.c`) give.
    #[test]
    fn agrees_with_linux() {
        for (name, want) in [
            ("valid", 1),
            ("page", 2),
            ("attrindx", 7 << 2),
            ("ap", 3 << 6),
            ("sh", 3 << 8),
            ("af", 1 << 10),
            ("ng", 1 << 11),
            ("gp", 1 << 50),
            ("dbm", 1 << 51),
            ("contiguous", 1 << 52),
            ("pxn", 1 << 53),
            ("uxn", 1 << 54),
        ] {
            assert_eq!(Leaf1::field(name).unwrap().mask(), want, "{name}");
        }
        for (name, want) in [("s2ap", 3 << 6), ("memattr", 0xf << 2), ("sh", 3 << 8), ("af", 1 << 10)] {
            assert_eq!(Leaf2::field(name).unwrap().mask(), want, "{name}");
        }
        for (name, want) in
            [("pxntable", 1 << 59), ("uxntable", 1 << 60), ("aptable", 3 << 61), ("nstable", 1 << 63)]
        {
            assert_eq!(Table::field(name).unwrap().mask(), want, "{name}");
        }
    }

    #[test]
    fn worked_encodings() {
        let page = Leaf1::default().with_valid(true).with_page(true).with_attrindx(1).with_ap(1).with_sh(3);
        let page = page.with_af(true).with_ng(true).with_oa(0x8000_1000);
        let read_only = page.with_ap(3).with_uxn(true).with_pxn(true);
        let clean = page.with_ap(3).with_dbm(true);
        let block =
            Leaf1::default().with_valid(true).with_attrindx(1).with_sh(3).with_af(true).with_oa(0x8020_0000);
        let s2 = Leaf2::default().with_valid(true).with_page(true).with_memattr(0xf).with_s2ap(3).with_sh(3);
        let s2 = s2.with_af(true).with_oa(0x8000_3000);
        let s2_device =
            Leaf2::default().with_valid(true).with_page(true).with_memattr(1).with_s2ap(1).with_af(true);
        let s2_device = s2_device.with_oa(0x8000_4000);
        let table = Table::default().with_valid(true).with_table(true).with_next4k(0x8000_2000);
        for (got, want) in [
            (page.words(), 0x8000_1f47),
            (read_only.words(), 0x0060_0000_8000_1fc7),
            (clean.words(), 0x0008_0000_8000_1fc7),
            (table.words(), 0x8000_2003),
            (block.words(), 0x8020_0705),
            (s2.words(), 0x8000_37ff),
            (s2_device.words(), 0x8000_4447),
        ] {
            assert_eq!(got, [want], "{want:#x}");
        }
        let back = Leaf1([0x0060_0000_8000_1fc7]);
        assert_eq!((back.oa(), back.ap(), back.attrindx()), (0x8000_1000, 3, 1));
        assert!(back.uxn() && back.pxn() && back.af() && back.ng() && !back.dbm());
    }
}
