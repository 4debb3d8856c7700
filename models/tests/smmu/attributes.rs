//! Memory attributes of transactions, from the tables to the way out (IHI 0070, 13), as the byte of MAIR and the SH field that
//! say them.

use std::collections::BTreeMap;

use models::bus::{Abort, Data, PhysAddr};
use models::smmu::attributes::{Attributes, Memory, Shareability};
use models::smmu::tables::Builder;
use models::smmu::{Outcome, Request, RequestKind, TableMemory, translate_at_once};
use spec::smmu::Ste;
use spec::smmu::page0::{CR0, CR1, GBPA, IDR3};
use spec::smmu::ste::config;

use super::bench::{Bench, NESTED_IPA};

/// Attr0 Device-nGnRE, Attr1 Write-Back, Attr2 Non-cacheable, Attr3 Write-Through without write allocation.
const MAIR: u64 = 0xaa44_ff04;

fn given(outcome: Outcome) -> (u8, u8) {
    let Outcome::Translated { attributes, .. } = outcome else { panic!("{outcome:?}") };
    (attributes.mair(), attributes.sh())
}

/// As a walk finds them; the TLBs must know the same, for this request and for one with other attributes.
fn leaves(bench: &mut Bench, request: Request) -> (u8, u8) {
    let other = request.with_attributes(Attributes::new(Memory::NON_CACHEABLE, Shareability::Outer));
    let [walk, hit, different] = [request, request, other].map(|r| given(bench.go(r)));
    assert_eq!(walk, hit, "{request:?}");
    bench.caches.clear();
    assert_eq!(different, given(bench.go(other)), "{other:?}");
    bench.caches.clear();
    walk
}

fn mapped(attrindx: u64, sh: u64, change: impl Fn(Ste) -> Ste) -> Bench {
    let mut bench = Bench::new();
    bench.ste(1, |ste| change(ste.with_shcfg(1)));
    bench.cd(1, |cd| cd.with_mair(MAIR));
    bench.page(|leaf| leaf.with_attrindx(attrindx).with_sh(sh));
    bench
}

#[test]
fn stage_1() {
    let as_is = |ste: Ste| ste;
    for (attrindx, sh, want) in
        [(0, 0, (0x04, 2)), (1, 3, (0xff, 3)), (1, 0, (0xff, 0)), (2, 3, (0x44, 2)), (3, 2, (0xaa, 2))]
    {
        let mut bench = mapped(attrindx, sh, as_is);
        assert_eq!(leaves(&mut bench, Request::read(1, 0x1000)), want, "{attrindx} {sh}");
    }
    // Of what comes in only hints matter: no allocation by writes, then by anything.
    for (alloccfg, want) in [(0, (0xff, 3)), (0b1100, (0xee, 3)), (0b1001, (0xcc, 3))] {
        let mut bench = mapped(1, 3, |ste| ste.with_alloccfg(alloccfg).with_shcfg(2));
        assert_eq!(leaves(&mut bench, Request::read(1, 0x1000)), want, "{alloccfg:#b}");
        let incoming = Attributes::new(Memory::NON_CACHEABLE, Shareability::Outer);
        let request = Request::read(1, 0x1000).with_attributes(incoming);
        assert_eq!(leaves(&mut bench, request), (0xff, 3), "what is not cached has no hints");
    }
}

#[test]
fn stage_2() {
    for (memattr, sh, fwb, want) in [
        (0xf, 3, false, (0xff, 3)),
        (0xf, 0, false, (0xff, 3)),
        (0xf, 2, false, (0xff, 2)),
        (0x5, 3, false, (0x44, 2)),
        (0x1, 3, false, (0x04, 2)),
        (0xa, 3, false, (0xbb, 3)),
        (0x6, 3, true, (0xff, 3)),
        (0x5, 3, true, (0x44, 2)),
        (0x7, 3, true, (0xff, 3)),
    ] {
        let mut bench = Bench::new();
        let space = bench.s2;
        bench.ste(2, |ste| ste.with_s2fwb(fwb).with_shcfg(1));
        bench.leaf2(space, 0x1000, 3, |leaf| leaf.with_memattr(memattr).with_sh(sh));
        assert_eq!(leaves(&mut bench, Request::read(2, 0x1000)), want, "{memattr:#x} {sh} {fwb}");
    }
}

#[test]
fn nested() {
    for (attrindx, memattr, fwb, want) in [
        (1, 0xf, false, (0xff, 3)),
        (2, 0xf, false, (0x44, 2)),
        (1, 0x5, false, (0x44, 2)),
        (3, 0xf, false, (0xaa, 3)),
        (0, 0xf, false, (0x04, 2)),
        (1, 0x0, false, (0x00, 2)),
        // A guest's Non-cacheable and Device memory is forced to Write-Back, or is left alone.
        (2, 0x6, true, (0xff, 2)),
        (0, 0x6, true, (0xff, 2)),
        (3, 0x6, true, (0xee, 3)),
        (3, 0x7, true, (0xaa, 3)),
        (2, 0x7, true, (0x44, 2)),
    ] {
        let mut bench = Bench::new();
        let (one, two) = (bench.n1, bench.n2);
        bench.ste(3, |ste| ste.with_s2fwb(fwb).with_shcfg(1));
        bench.cd(3, |cd| cd.with_mair(MAIR));
        bench.leaf2(two, NESTED_IPA, 3, |leaf| leaf.with_memattr(memattr));
        let addr = bench.b.descriptor(&one, 0x1000, 3);
        let leaf = spec::smmu::descriptor::Leaf1([bench.b.word(addr)]);
        bench.b.set_words(addr, &leaf.with_attrindx(attrindx).0);
        assert_eq!(leaves(&mut bench, Request::read(3, 0x1000)), want, "{attrindx} {memattr:#x} {fwb}");
    }
}

/// Without translation: STE.Config, GBPA, and addresses that came from ATS.
#[test]
fn bypass() {
    for (mtcfg, memattr, shcfg, alloccfg, want) in [
        (false, 0x5, 1, 0, (0xff, 3)),
        (true, 0x5, 1, 0, (0x44, 2)),
        (true, 0x1, 3, 0, (0x04, 2)),
        (true, 0xa, 2, 0, (0xbb, 2)),
        (false, 0, 0, 0b1100, (0xee, 0)),
    ] {
        let what = format!("{mtcfg} {memattr:#x} {shcfg} {alloccfg:#b}");
        let mut bench = Bench::new();
        bench.control.gbpa =
            GBPA(0).with_mtcfg(mtcfg).with_memattr(memattr).with_shcfg(shcfg).with_alloccfg(alloccfg);
        bench.ste(1, |ste| {
            let ste = ste.with_config(config::BYPASS).with_mtcfg(mtcfg).with_memattr(memattr);
            ste.with_shcfg(shcfg).with_alloccfg(alloccfg)
        });
        let request = Request::read(1, 0x1000);
        assert_eq!(given(bench.go(request)), want, "STE {what}");
        bench.control.cr0 = CR0(0);
        assert_eq!(given(bench.go(request)), want, "GBPA {what}");
        bench.control.features.attr_types_ovr = false;
        assert_eq!(given(bench.go(request)), (0xff, 3), "no overrides {what}");
        bench.control.cr0 = CR0(0).with_smmuen(true);
        bench.caches.clear();
        assert_eq!(given(bench.go(request)), (0xff, 3), "no overrides {what}");
    }
}

/// An address that came from ATS leaves as it is; with split stages stage 2 is asked, and the overrides do not act.
#[test]
fn translated() {
    let translated = |sid, addr| Request::read(sid, addr).of_kind(RequestKind::AtsTranslated);
    let mut bench = Bench::new();
    bench.control.cr0 = CR0(0).with_smmuen(true).with_atschk(true);
    bench.ste(1, |ste| ste.with_eats(1).with_mtcfg(true).with_memattr(5));
    assert_eq!(given(bench.go(translated(1, 0x1000))), (0xff, 3));
    let space = bench.n2;
    bench.ste(3, |ste| ste.with_eats(2).with_mtcfg(true).with_memattr(5));
    bench.leaf2(space, NESTED_IPA, 3, |leaf| leaf.with_memattr(0xa).with_sh(2));
    assert_eq!(leaves(&mut bench, translated(3, NESTED_IPA)), (0xbb, 2));
}

/// Memory that remembers how it was read, by address.
struct Noted<'a>(&'a Builder, BTreeMap<u64, (u8, u8)>);

impl TableMemory for &mut Noted<'_> {
    fn read(
        &mut self,
        addr: PhysAddr,
        len: usize,
        attributes: impl FnOnce() -> Attributes,
    ) -> Result<Data, Abort> {
        let attributes = attributes();
        self.1.insert(addr, (attributes.mair(), attributes.sh()));
        self.0.read(addr, len)
    }
    fn compare_swap(&mut self, _: PhysAddr, _: u64, _: u64) -> Result<u64, Abort> {
        Err(Abort)
    }
}

/// Structures and tables are read as CR1, STE and CD say, those of stage 1 as stage 2 agrees.
#[test]
fn walks() {
    let ptwnnc = IDR3(0).with_ptwnnc(true).0 as u32;
    for (name, sid, memattr, idr3, [cd, table]) in [
        ("stage 1 only", 1, 0x5, ptwnnc, [(0xfa, 2), (0xf4, 2)]),
        ("Write-Back", 3, 0xf, ptwnnc, [(0xfa, 2), (0xf4, 2)]),
        ("Non-cacheable", 3, 0x5, ptwnnc, [(0x44, 2), (0x44, 2)]),
        ("Device", 3, 0x1, ptwnnc, [(0x44, 2), (0x44, 2)]),
        ("Device without PTWNNC", 3, 0x1, 0, [(0x04, 2), (0x04, 2)]),
    ] {
        let mut bench = Bench::new();
        bench.control.features.idr.idr3 = idr3;
        bench.control.cr1 = CR1(0).with_table_ic(1).with_table_oc(3).with_table_sh(3);
        bench.ste(sid, |ste| {
            let ste = ste.with_s1cir(2).with_s1cor(1).with_s1csh(2);
            ste.with_s2ir0(1).with_s2or0(1).with_s2sh0(0).with_s2ptw(false)
        });
        bench.cd(sid, |cd| cd.with_ir0(0).with_or0(1).with_sh0(2));
        let (space, two) = if sid == 1 { (bench.s1, bench.n2) } else { (bench.n1, bench.n2) };
        for block in 0..8 {
            bench.leaf2(two, 0x4000_0000 + (block << 21), 2, |leaf| leaf.with_memattr(memattr));
        }
        let leaf = bench.b.descriptor(&space, 0x1000, 3);
        let mut noted = Noted(&bench.b, BTreeMap::new());
        let request = Request::read(sid, 0x1000);
        let (outcome, _) = translate_at_once(&request, &bench.control, &mut bench.caches, &mut noted);
        assert!(matches!(outcome, Outcome::Translated { .. }), "{name}: {outcome:?}");
        let how = |addr| noted.1[&addr];
        assert_eq!(how(bench.b.ste_addr(sid)), (0xef, 3), "{name}: STE");
        assert_eq!(how(bench.cds[usize::from(sid == 3)]), cd, "{name}: CD");
        assert_eq!(how(leaf), table, "{name}: table of stage 1");
        if sid == 3 {
            assert_eq!(how(bench.b.descriptor(&two, NESTED_IPA, 3)), (0xff, 0), "{name}: table of stage 2");
        }
    }
}
