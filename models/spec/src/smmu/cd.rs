//! Context descriptors and their level-1 descriptor (IHI 0070, 5.3 and 5.4).

crate::layout! {
    /// Context Descriptor: stage-1 tables of one address space.
    pub struct Cd([u64; 8]) {
        /// Input size of TTB0 is 64 minus this.
        t0sz[5:0],
        /// Granule of TTB0: 0 4KB, 1 64KB, 2 16KB.
        tg0[7:6],
        /// Walks through TTB0, inner: 0 Non-cacheable, 1 Write-Back, 2 Write-Through, 3 Write-Back without allocation.
        ir0[9:8],
        /// Walks through TTB0, outer.
        or0[11:10],
        /// Walks through TTB0: 0 Non-shareable, 2 Outer, 3 Inner Shareable.
        sh0[13:12],
        /// No walks through TTB0.
        epd0[14],
        /// The tables are big-endian.
        endi[15],
        /// Input size of TTB1 is 64 minus this.
        t1sz[21:16],
        /// Granule of TTB1: 1 16KB, 2 4KB, 3 64KB.
        tg1[23:22],
        /// As IR0, for TTB1.
        ir1[25:24],
        /// As OR0, for TTB1.
        or1[27:26],
        /// As SH0, for TTB1.
        sh1[29:28],
        /// No walks through TTB1.
        epd1[30],
        /// The descriptor is valid.
        v[31],
        /// Output size, encoded as IDR5.OAS.
        ips[34:32],
        /// No Access flag faults.
        affd[35],
        /// What is writable is not executable.
        wxn[36],
        /// What unprivileged accesses may write is not executable by privileged ones.
        uwxn[37],
        /// The top byte is ignored, lower half.
        tbi0[38],
        /// The top byte is ignored, upper half.
        tbi1[39],
        /// Privileged accesses may not use unprivileged pages.
        pan[40],
        /// The tables are AArch64's.
        aa64[41],
        /// Hardware manages the dirty state.
        hd[42],
        /// Hardware sets the Access flag.
        ha[43],
        /// Stall on a fault.
        s[44],
        /// Record a fault.
        r[45],
        /// Abort, rather than RAZ/WI.
        a[46],
        /// Not shared with processing elements.
        aset[47],
        /// Tag of the non-global translations.
        asid[63:48],
        /// Secure streams: NS of the fetches of the first table.
        nscfg0[64],
        /// Hierarchical attributes are ignored, lower half.
        had0[65],
        /// Unprivileged accesses fault without a walk, lower half.
        e0pd0[66],
        /// Hardware sets the Access flag of table descriptors.
        haft[67],
        /// Table of the lower half.
        ttb0[115:68] addr,
        /// The Protected attribute of stage-1 descriptors is in use.
        pnch[122],
        /// PAN also concerns pages that unprivileged accesses may execute.
        epan[123],
        /// Descriptor bits 62:59 are hardware's, lower half.
        hwu0[127:124],
        /// As NSCFG0, for TTB1.
        nscfg1[128],
        /// As HAD0, upper half.
        had1[129],
        /// As E0PD0, upper half.
        e0pd1[130],
        /// AttrIndx has four bits.
        aie[131],
        /// Table of the upper half.
        ttb1[179:132] addr,
        /// 52-bit addresses with 4KB and 16KB granules.
        ds[186],
        /// Permission indirection.
        pie[187],
        /// As HWU0, upper half.
        hwu1[191:188],
        /// Memory attributes, one byte per AttrIndx.
        mair[255:192],
        /// Implementation-defined attributes, one byte per AttrIndx.
        amair[319:256],
        /// MPAM partition.
        partid[367:352],
        /// MPAM performance group.
        pmg[375:368],
        /// Indirect permissions, unprivileged.
        piiu[447:384],
        /// Indirect permissions, privileged.
        piip[511:448],
    }
}

crate::layout! {
    /// Level-1 Context Descriptor: an array of CDs.
    pub struct L1Cd([u64; 1]) {
        /// The descriptor is valid.
        v[0],
        /// Where the array lies.
        l2ptr[51:12] addr,
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::layout::check_layout;

    #[test]
    fn tables_are_sound() {
        check_layout::<Cd>(&[]);
        check_layout::<L1Cd>(&[]);
    }

    #[test]
    fn worked_encodings() {
        let cd = Cd::default().with_v(true).with_t0sz(16).with_ir0(1).with_or0(1).with_sh0(3).with_epd1(true);
        let cd = cd.with_ips(5).with_aa64(true).with_r(true).with_a(true).with_aset(true).with_asid(0x42);
        let cd = cd.with_ttb0(0x9000_0000).with_mair(0xf404_ff44);
        assert_eq!(cd.words(), [0x0042_e205_c000_3510, 0x9000_0000, 0, 0xf404_ff44, 0, 0, 0, 0]);
        let back = Cd::from_bytes(&cd.to_bytes());
        assert_eq!((back.asid(), back.t0sz(), back.ips(), back.ttb0()), (0x42, 16, 5, 0x9000_0000));
        assert!(back.epd1() && !back.epd0() && back.r() && back.a() && !back.s());
        let l1 = L1Cd::default().with_v(true).with_l2ptr(0xb001_0000);
        assert_eq!(l1.words(), [0xb001_0001]);
    }
}
