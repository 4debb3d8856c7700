//! The reference translation against rows of the specification.

use super::*;

fn fault(event: EventNumber) -> Fault {
    Fault { event, s2: false, class: class::IN, ipa: 0, recorded: true, stall: false, raz_wi: false }
}

fn configuration(event: EventNumber) -> Outcome {
    Outcome::Fault(Fault { class: 0, ..fault(event) })
}

/// Rows of the specification's conformance tables that are about a single transaction.
#[test]
fn reference_translation() {
    use EventNumber as E;
    let to = |pa, bits| Outcome::Translated { pa, bits, due: false };
    let s1 = |event| Outcome::Fault(fault(event));
    let s2 = |event, class, ipa| Outcome::Fault(Fault { s2: true, class, ipa, ..fault(event) });
    let mut b = Bench::new();
    b.play(&[
        Do::Map(0x1000, A),
        Do::Leaf(0x2000, leaf1(A).with_ap(3)),
        Do::Leaf(0x3000, leaf1(A).with_af(false)),
        Do::Leaf(0x4000, leaf1(A).with_ap(0)),
        Do::Leaf(0x5000, Leaf1([leaf1(A).0[0] & !2])),
        Do::Leaf(0x6000, leaf1(A).with_uxn(true)),
        Do::GuestMap(0x1000, GUEST_IPA + 0x40_1000),
        Do::GuestMap(0x2000, 0x5000_0000),
    ]);
    let block = leaf1(0x9_0020_0000).with_page(false);
    b.map(HOST_S1, 0, 2, 0x4000_0000, block.0[0]);
    let write = Access { write: true, ..Access::default() };
    let read = Access::default();
    let fetch = Access { instruction: true, ..Access::default() };
    let privileged = Access { privileged: true, ..Access::default() };
    let rows = [
        ("X01", HOST, None, 0x1234, read, to(A + 0x234, 12)),
        ("X02", HOST, None, 0x7000, read, s1(E::F_TRANSLATION)),
        ("X06", HOST, None, 1 << 48, read, s1(E::F_TRANSLATION)),
        ("upper half, EPD1", HOST, None, 0xffff_0000_0000_1000, read, s1(E::F_TRANSLATION)),
        ("X09", HOST, None, 0x5000, read, s1(E::F_TRANSLATION)),
        ("X11", HOST, None, 0x3000, read, s1(E::F_ACCESS)),
        ("X13", HOST, None, 0x2000, write, s1(E::F_PERMISSION)),
        ("read of a read-only page", HOST, None, 0x2000, read, to(A, 12)),
        ("X14", HOST, None, 0x4000, read, s1(E::F_PERMISSION)),
        ("X14, privileged", HOST, None, 0x4000, privileged, to(A, 12)),
        ("X17", HOST, None, 0x6000, fetch, s1(E::F_PERMISSION)),
        ("X17, data", HOST, None, 0x6000, read, to(A, 12)),
        ("X23", HOST, None, 0x4012_3456, read, to(0x9_0032_3456, 21)),
        ("C02", HOST, Some(1), 0x1000, read, configuration(E::C_BAD_SUBSTREAMID)),
        ("T01", 0x1ff, None, 0, read, configuration(E::C_BAD_STREAMID)),
        ("T08", 0x50, None, 0, read, configuration(E::C_BAD_STE)),
        ("T09", CLOSED, None, 0, read, Outcome::Abort),
        ("T10", BYPASS, None, 0x1234, read, to(0x1234, 64)),
        ("T11", BYPASS, None, 1 << 48, read, s1(E::F_ADDR_SIZE)),
        ("C01", DIRECT, Some(1), GUEST_IPA, read, configuration(E::C_BAD_SUBSTREAMID)),
        ("stage 2", DIRECT, None, GUEST_IPA + 0x1234, write, to(GUEST_PA + 0x1234, 21)),
        ("N01", DIRECT, None, 1 << 39, read, s2(E::F_TRANSLATION, class::IN, 1 << 39)),
        ("nested", NESTED, None, 0x1234, write, to(GUEST_PA + 0x40_1234, 12)),
        ("nested, stage 1", NESTED, None, 0x3000, write, s1(E::F_TRANSLATION)),
        ("N05", NESTED, None, 0x2000, write, s2(E::F_TRANSLATION, class::IN, 0x5000_0000)),
    ];
    for (name, sid, ssid, iova, access, want) in rows {
        let dma = Dma { ssid, access, ..b.dma(0, sid, iova) };
        assert_eq!(b.expect(dma), want, "{name}");
    }
    b.step(Do::S2Gone(GUEST_IPA));
    let dma = b.dma(0, NESTED, 0x1000);
    assert_eq!(b.expect(dma), s2(E::F_TRANSLATION, class::CD, GUEST_CD), "N03");
}

/// The behaviour that a few bits of the STE and the CD select.
#[test]
fn reference_configuration() {
    use EventNumber as E;
    let s1 = |event| Outcome::Fault(fault(event));
    let to = |pa, bits| Outcome::Translated { pa, bits, due: false };
    let cd =
        Cd::default().with_v(true).with_aa64(true).with_t0sz(16).with_ips(5).with_epd1(true).with_a(true);
    let cd = cd.with_r(true).with_asid(7).with_ttb0(HOST_S1);
    let ste = Bench::new().read_ste(HOST);
    let many = ste.with_s1cdmax(4);
    let unmapped = fault(E::F_TRANSLATION);
    let rows = [
        ("X03", ste, cd.with_r(false), None, 0x7000, Outcome::Fault(Fault { recorded: false, ..unmapped })),
        ("X04", ste, cd.with_a(false), None, 0x7000, Outcome::Fault(Fault { raz_wi: true, ..unmapped })),
        ("stall", ste, cd.with_s(true), None, 0x7000, Outcome::Fault(Fault { stall: true, ..unmapped })),
        ("X07", ste, cd.with_tbi0(true), None, 0x5a00_0000_0000_1000, to(A, 12)),
        ("X08", ste, cd.with_tbi0(true), None, 0x5a80_0000_0000_1000, s1(E::F_TRANSLATION)),
        ("X10", ste, cd.with_ips(0), None, 0x1000, s1(E::F_ADDR_SIZE)),
        ("X12", ste, cd.with_affd(true), None, 0x3000, to(A, 12)),
        ("X20", ste, cd.with_e0pd0(true), None, 0x1000, s1(E::F_TRANSLATION)),
        ("X28", ste, cd.with_ha(true), None, 0x3000, Outcome::Translated { pa: A, bits: 12, due: true }),
        ("C03", many, cd, Some(16), 0x1000, configuration(E::C_BAD_SUBSTREAMID)),
        ("C04", many, cd, None, 0x1000, configuration(E::F_STREAM_DISABLED)),
        ("C05", many.with_s1dss(2), cd, Some(0), 0x1000, configuration(E::F_STREAM_DISABLED)),
        ("CD 0 for traffic without", many.with_s1dss(2), cd, None, 0x1000, to(A, 12)),
        ("stage 1 bypassed", many.with_s1dss(1), cd, None, 0x1000, to(0x1000, 64)),
        ("CD of the SubstreamID", many, cd, Some(0), 0x1000, to(A, 12)),
        ("C07", many, cd, Some(1), 0x1000, configuration(E::C_BAD_CD)),
        ("C10", ste.with_s1stalld(true), cd.with_s(true), None, 0x1000, configuration(E::C_BAD_CD)),
        (
            "two-level CDs, L1 invalid",
            many.with_s1fmt(1).with_s1contextptr(0x60_0000),
            cd,
            Some(0),
            0,
            configuration(E::C_BAD_SUBSTREAMID),
        ),
        ("two-level CDs", many.with_s1fmt(1).with_s1contextptr(0x61_0000), cd, Some(0), 0x1000, to(A, 12)),
    ];
    for (name, ste, cd, ssid, iova, want) in rows {
        let mut b = Bench::new();
        b.play(&[Do::Map(0x1000, A), Do::Leaf(0x3000, leaf1(A).with_af(false)), Do::Ste(HOST, ste)]);
        b.structure(HOST_CD, &cd.0);
        b.write(0x61_0000, HOST_CD | 1);
        let dma = Dma { ssid, access: Access::default(), ..b.dma(0, HOST, iova) };
        assert_eq!(b.expect(dma), want, "{name}");
    }
}

#[test]
fn two_level_stream_table() {
    let registers = |split, log2size| Registers {
        cr0: CR0(0).with_smmuen(true),
        strtab_base: STRTAB_BASE(0).with_addr(0x70_0000),
        strtab_base_cfg: STRTAB_BASE_CFG(0).with_log2size(log2size).with_split(split).with_fmt(1),
        failed: false,
        ..Registers::default()
    };
    let unknown = Outcome::Fault(Fault { recorded: false, class: 0, ..fault(EventNumber::C_BAD_STREAMID) });
    let passes = Outcome::Translated { pa: 0x1000, bits: 64, due: false };
    // Split, span, StreamID, outcome.
    let rows = [
        (8, 9, 0x105, passes),
        (8, 0, 0x105, unknown),
        (8, 12, 0x105, unknown),
        (8, 3, 0x105, unknown),
        (8, 4, 0x105, passes),
        (6, 8, 0x105, unknown),
        (8, 9, 0x1_0000, unknown),
    ];
    for (split, span, sid, want) in rows {
        let mut b = Bench::new();
        b.see(Fact::Configured { smmu: 0, registers: registers(split, 16) });
        let (l1, index) = (u64::from(sid) >> split, u64::from(sid) & ((1 << split) - 1));
        b.write(0x70_0000 + l1 * 8, 0x71_0000 | span);
        b.write(0x71_0000 + index * 64, Ste::default().with_v(true).with_config(config::BYPASS).0[0]);
        let dma = b.dma(0, sid, 0x1000);
        assert_eq!(b.expect(dma), want, "split {split} span {span} sid {sid:#x}");
    }
}

#[test]
fn granules() {
    // Granule in the CD, size, levels with their index bits, page bits.
    for (tg0, t0sz, page_bits, levels) in
        [(0u64, 25u64, 12u32, 3u32), (2, 28, 14, 2), (1, 22, 16, 2), (1, 16, 16, 3)]
    {
        let mut b = Bench::new();
        let cd = Cd::default()
            .with_v(true)
            .with_aa64(true)
            .with_t0sz(t0sz)
            .with_tg0(tg0)
            .with_ips(5)
            .with_epd1(true);
        let root = 0x1000_0000;
        b.structure(HOST_CD, &cd.with_a(true).with_r(true).with_ttb0(root).0);
        let iova = 0x5_4321_8765 & ((1 << (64 - t0sz)) - 1);
        let per_level = page_bits - 3;
        let mut table = root;
        for level in 4 - levels..4 {
            let shift = page_bits + per_level * (3 - level);
            let index = iova >> shift & ((1 << per_level) - 1);
            let next = table + 0x10_0000;
            b.write(table + index * 8, if level == 3 { leaf1(0x8_8765_0000).0[0] } else { next | 3 });
            table = next;
        }
        let dma = b.dma(0, HOST, iova);
        let pa = 0x8_8765_0000 | (iova & ((1 << page_bits) - 1));
        assert_eq!(
            b.expect(dma),
            Outcome::Translated { pa, bits: page_bits, due: false },
            "{page_bits} bits, {levels} levels"
        );
    }
}
