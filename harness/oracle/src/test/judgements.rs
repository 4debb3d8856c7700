//! Each judgement: what is legal, and each kind of violation.

use super::*;

/// One entry of a TLB may stand for neighbours that say so, until any of them is invalidated.
#[test]
fn contiguous_leaves() {
    use Do::{Inv, Leaf, Sync, Unmap, Use};
    let near = leaf1(A).with_contiguous(true);
    let (next, far) = (Use(0, HOST, 0x2000, A + 0x1000), Use(0, HOST, 0x1_2000, A + 0x1_1000));
    let other = Inv(CMDQ0, Command::tlbi_nh_va(7, 0, 0x2000, true));
    check(&[
        ("a neighbour", &[Leaf(IOVA, near), Use(0, HOST, IOVA, A), next], &[]),
        ("no neighbour", &[Leaf(IOVA, near), far], &[Kind::IsolationBreach]),
        ("without the bit", &[Leaf(IOVA, leaf1(A)), next], &[Kind::IsolationBreach]),
        ("elsewhere", &[Leaf(IOVA, near), Use(0, HOST, 0x2000, A)], &[Kind::IsolationBreach]),
        ("gone, not invalidated", &[Leaf(IOVA, near), Unmap(IOVA), next], &[]),
        (
            "gone and invalidated",
            &[Leaf(IOVA, near), Unmap(IOVA), other, Sync(CMDQ0), next],
            &[Kind::StaleUse],
        ),
    ]);
}

#[test]
fn stage1_of_the_host() {
    use Do::{Begin, Finish, Inv, Leaf, Map, Sync, Unmap, Use};
    let elsewhere = Command::tlbi_nh_va(7, 0, 0x2000, true);
    let global = leaf1(A).with_ng(false);
    let old = Use(0, HOST, IOVA, A);
    check(&[
        ("mapped", &[Map(IOVA, A), old], &[]),
        ("race before any invalidation", &[Map(IOVA, A), Unmap(IOVA), old], &[]),
        ("race before the SYNC", &[Map(IOVA, A), Unmap(IOVA), Inv(CMDQ0, PAGE), old], &[]),
        (
            "after the SYNC",
            &[Map(IOVA, A), Unmap(IOVA), Inv(CMDQ0, PAGE), Sync(CMDQ0), old],
            &[Kind::StaleUse],
        ),
        (
            "told once",
            &[Map(IOVA, A), Unmap(IOVA), Inv(CMDQ0, PAGE), Sync(CMDQ0), old, old],
            &[Kind::StaleUse],
        ),
        (
            "the new page",
            &[Map(IOVA, A), Map(IOVA, B), Inv(CMDQ0, PAGE), Sync(CMDQ0), Use(0, HOST, IOVA, B)],
            &[],
        ),
        (
            "the old page",
            &[Map(IOVA, A), Map(IOVA, B), Inv(CMDQ0, PAGE), Sync(CMDQ0), old],
            &[Kind::StaleUse],
        ),
        ("invalidated too early", &[Map(IOVA, A), Inv(CMDQ0, PAGE), Unmap(IOVA), Sync(CMDQ0), old], &[]),
        ("another address", &[Map(IOVA, A), Unmap(IOVA), Inv(CMDQ0, elsewhere), Sync(CMDQ0), old], &[]),
        ("SYNC of another queue", &[Map(IOVA, A), Unmap(IOVA), Inv(CMDQ0, PAGE), Sync(CMDQ1), old], &[]),
        (
            "invalidated on another SMMU",
            &[Map(IOVA, A), Unmap(IOVA), Inv(CMDQ1, PAGE), Sync(CMDQ1), old],
            &[],
        ),
        (
            "an ASID does not cover a global page",
            &[Leaf(IOVA, global), Unmap(IOVA), Inv(CMDQ0, Command::tlbi_nh_asid(7, 0)), Sync(CMDQ0), old],
            &[],
        ),
        (
            "a VMID does",
            &[Leaf(IOVA, global), Unmap(IOVA), Inv(CMDQ0, Command::tlbi_nh_all(0)), Sync(CMDQ0), old],
            &[Kind::StaleUse],
        ),
        (
            "permission taken away",
            &[Map(IOVA, A), Leaf(IOVA, leaf1(A).with_ap(3)), Inv(CMDQ0, PAGE), Sync(CMDQ0), old],
            &[Kind::StaleUse],
        ),
        ("mapped again", &[Map(IOVA, A), Unmap(IOVA), Inv(CMDQ0, PAGE), Sync(CMDQ0), Map(IOVA, A), old], &[]),
        ("never mapped", &[Map(IOVA, A), Use(0, HOST, IOVA, B)], &[Kind::IsolationBreach]),
        (
            "on its way when the SYNC completes",
            &[Map(IOVA, A), Begin(0, HOST, IOVA, A), Unmap(IOVA), Inv(CMDQ0, PAGE), Sync(CMDQ0), Finish],
            &[Kind::EarlySync],
        ),
        (
            "begun from the TLB after the unmap, on its way when the SYNC completes",
            &[Map(IOVA, A), Unmap(IOVA), Begin(0, HOST, IOVA, A), Inv(CMDQ0, PAGE), Sync(CMDQ0), Finish],
            &[Kind::EarlySync],
        ),
        (
            "performed before the SYNC completes",
            &[Map(IOVA, A), Begin(0, HOST, IOVA, A), Unmap(IOVA), Inv(CMDQ0, PAGE), Finish, Sync(CMDQ0)],
            &[],
        ),
        (
            "on its way, but of another page",
            &[
                Map(IOVA, A),
                Map(0x2000, B),
                Begin(0, HOST, 0x2000, B),
                Unmap(IOVA),
                Inv(CMDQ0, PAGE),
                Sync(CMDQ0),
                Finish,
            ],
            &[],
        ),
        (
            "on its way for ever",
            &[Map(IOVA, A), Begin(0, HOST, IOVA, A), Unmap(IOVA), Inv(CMDQ0, PAGE), Sync(CMDQ0)],
            &[Kind::EarlySync],
        ),
    ]);
}

#[test]
fn guest_behind_two_smmus() {
    use Do::{GuestMap, GuestUnmap, Inv, S2Block, S2Gone, Sync, Use};
    const IPA: u64 = GUEST_IPA + 0x40_1000;
    const PA: u64 = GUEST_PA + 0x40_1000;
    let block = GUEST_IPA + 0x40_0000;
    let elsewhere = GUEST_PA + 0xc0_0000;
    let on0 = Use(0, NESTED, IOVA, PA);
    let on1 = Use(1, NESTED, IOVA, PA);
    let s2 = Command::tlbi_s2_ipa(VMID[0], block, true);
    let all = Command::tlbi_nh_all(VMID[0]);
    let physical = Command::tlbi_nh_va(7, VMID[0], IOVA, true);
    check(&[
        ("mapped on both", &[GuestMap(IOVA, IPA), on0, on1], &[]),
        (
            "unmapped, guest not told",
            &[GuestMap(IOVA, IPA), GuestUnmap(IOVA), Inv(GUEST, PAGE), on0, on1],
            &[],
        ),
        (
            "only one SMMU was told",
            &[
                GuestMap(IOVA, IPA),
                GuestUnmap(IOVA),
                Inv(CMDQ0, physical),
                Sync(CMDQ0),
                Inv(GUEST, PAGE),
                Sync(GUEST),
                on1,
            ],
            &[Kind::StaleUse],
        ),
        (
            "neither, to the guest's knowledge both",
            &[GuestMap(IOVA, IPA), GuestUnmap(IOVA), Inv(GUEST, PAGE), Sync(GUEST), on0, on1],
            &[Kind::StaleUse, Kind::StaleUse],
        ),
        (
            "the host alone promises nothing for the other SMMU",
            &[GuestMap(IOVA, IPA), GuestUnmap(IOVA), Inv(CMDQ0, physical), Sync(CMDQ0), on1],
            &[],
        ),
        (
            "stage 2 changed, combined translations not invalidated",
            &[GuestMap(IOVA, IPA), S2Gone(block), Inv(CMDQ0, s2), Sync(CMDQ0), on0],
            &[],
        ),
        (
            "stage 2 changed, both invalidated",
            &[
                GuestMap(IOVA, IPA),
                S2Gone(block),
                Inv(CMDQ0, s2),
                Sync(CMDQ0),
                Inv(CMDQ0, all),
                Sync(CMDQ0),
                on0,
            ],
            &[Kind::StaleUse],
        ),
        (
            "stage 2 changed, in the wrong order",
            &[
                GuestMap(IOVA, IPA),
                S2Gone(block),
                Inv(CMDQ0, all),
                Sync(CMDQ0),
                Inv(CMDQ0, s2),
                Sync(CMDQ0),
                on0,
            ],
            &[],
        ),
        (
            "stage 2 only",
            &[S2Gone(block), Inv(CMDQ0, s2), Sync(CMDQ0), Use(0, DIRECT, IPA, PA)],
            &[Kind::StaleUse],
        ),
        ("stage 2 only, race", &[S2Gone(block), Inv(CMDQ0, s2), Use(0, DIRECT, IPA, PA)], &[]),
        (
            "the tables lead to foreign memory",
            &[S2Block(block, 0x7_0000_0000), Use(0, DIRECT, IPA, 0x7_0000_1000)],
            &[Kind::IsolationBreach],
        ),
        ("own memory elsewhere", &[S2Block(block, elsewhere), Use(0, DIRECT, IPA, elsewhere + 0x1000)], &[]),
    ]);
}

#[test]
fn configuration_and_endpoint_caches() {
    use Do::{Answer, Ats, Inv, Map, Pass, Sync, TimedOut, Unmap, Use};
    let old = Use(0, HOST, IOVA, A);
    let cfgi = Inv(CMDQ0, Command::cfgi_ste(HOST, true));
    let atc = Inv(CMDQ0, Command::atc_inv(HOST, None, IOVA, 0));
    check(&[
        ("STE changed, not invalidated", &[Map(IOVA, A), Pass(HOST), old], &[]),
        ("STE changed, bypass at once", &[Map(IOVA, A), Pass(HOST), Use(0, HOST, IOVA, IOVA)], &[]),
        (
            "STE changed and invalidated",
            &[Map(IOVA, A), Pass(HOST), cfgi, Sync(CMDQ0), old],
            &[Kind::StaleUse],
        ),
        (
            "another stream's STE invalidated",
            &[Map(IOVA, A), Pass(HOST), Inv(CMDQ0, Command::cfgi_ste(DIRECT, true)), Sync(CMDQ0), old],
            &[],
        ),
        (
            "the endpoint may keep what only the SMMU dropped",
            &[Map(IOVA, A), Unmap(IOVA), Inv(CMDQ0, PAGE), Sync(CMDQ0), Ats(HOST, IOVA, A)],
            &[],
        ),
        ("translated address", &[Map(IOVA, A), Answer(HOST, IOVA, A), Ats(HOST, A + 8, A + 8)], &[]),
        ("translated address out of thin air", &[Map(IOVA, A), Ats(HOST, A, A)], &[Kind::IsolationBreach]),
        (
            "one alias gone",
            &[
                Map(IOVA, A),
                Answer(HOST, IOVA, A),
                Map(0x2000, A),
                Answer(HOST, 0x2000, A),
                Unmap(0x2000),
                Inv(CMDQ0, Command::atc_inv(HOST, None, 0x2000, 0)),
                Sync(CMDQ0),
                Ats(HOST, A, A),
            ],
            &[],
        ),
        (
            "translated address kept too long",
            &[Map(IOVA, A), Answer(HOST, IOVA, A), Unmap(IOVA), atc, Sync(CMDQ0), Ats(HOST, A, A)],
            &[Kind::StaleUse],
        ),
        (
            "translated address, the endpoint did not answer",
            &[
                Map(IOVA, A),
                Answer(HOST, IOVA, A),
                Unmap(IOVA),
                Inv(CMDQ0, PAGE),
                atc,
                TimedOut(CMDQ0),
                Sync(CMDQ0),
                Ats(HOST, A, A),
            ],
            &[],
        ),
        (
            "the SMMU's own TLB was told all the same",
            &[
                Map(IOVA, A),
                Unmap(IOVA),
                Inv(CMDQ0, PAGE),
                atc,
                TimedOut(CMDQ0),
                Sync(CMDQ0),
                Use(0, HOST, IOVA, A),
            ],
            &[Kind::StaleUse],
        ),
        (
            "the endpoint did not answer, and did when asked again",
            &[
                Map(IOVA, A),
                Answer(HOST, IOVA, A),
                Unmap(IOVA),
                atc,
                TimedOut(CMDQ0),
                Sync(CMDQ0),
                atc,
                Sync(CMDQ0),
                Ats(HOST, A, A),
            ],
            &[Kind::StaleUse],
        ),
        (
            "another endpoint's time-out, on another queue",
            &[
                Map(IOVA, A),
                Answer(HOST, IOVA, A),
                Unmap(IOVA),
                atc,
                TimedOut(CMDQ1),
                Sync(CMDQ0),
                Ats(HOST, A, A),
            ],
            &[Kind::StaleUse],
        ),
        (
            "the endpoint was told too",
            &[Map(IOVA, A), Unmap(IOVA), Inv(CMDQ0, PAGE), Sync(CMDQ0), atc, Sync(CMDQ0), Ats(HOST, IOVA, A)],
            &[Kind::StaleUse],
        ),
    ]);
}

#[test]
fn a_changed_context_lives_on_in_the_tlb() {
    let table = 0x28_0000;
    let rows = [
        ("nothing invalidated", &[][..], &[][..]),
        ("CD alone", &[Command::cfgi_cd(HOST, 0, true)], &[]),
        ("CD and ASID", &[Command::cfgi_cd(HOST, 0, true), Command::tlbi_nh_asid(7, 0)], &[Kind::StaleUse]),
    ];
    for (name, commands, want) in rows {
        let mut b = Bench::new();
        b.play(&[Do::Map(IOVA, A), Do::Use(0, HOST, IOVA, A)]);
        b.map(table, 0, 3, IOVA, leaf1(B).0[0]);
        let cd = Cd(std::array::from_fn(|i| b.words[&(HOST_CD + 8 * i as u64)]));
        b.structure(HOST_CD, &cd.with_ttb0(table).0);
        for command in commands {
            b.command(CMDQ0, *command, None);
        }
        b.play(&[Do::Sync(CMDQ0), Do::Use(0, HOST, IOVA, B), Do::Use(0, HOST, IOVA, A)]);
        let kinds: Vec<_> = b.finish().iter().map(|f| f.kind).collect();
        assert_eq!(kinds, want, "{name}");
    }
}

/// A page is only in the table of a new CD.
#[test]
fn an_abort_tells_which_old_value_leads_to_it() {
    const NEW: u64 = 0x5000;
    let table = 0x28_0000;
    let gone = [Command::cfgi_cd(HOST, 0, true), Command::tlbi_nh_asid(7, 0)];
    let told = [
        "the abort is what an old value of CD 0 leads to",
        "smmu0 did consume CFGI_CD sid=0x10 ssid=0 leaf; it kept the entry nevertheless",
    ];
    /// Commands, the event, and what is told if it is a finding.
    type Row<'a> = (&'a str, &'a [Command], EventNumber, Option<&'a [&'a str]>);
    let rows: [Row<'_>; 3] = [
        ("the old CD may be cached", &[], EventNumber::F_TRANSLATION, None),
        ("it may not", &gone, EventNumber::F_TRANSLATION, Some(&told)),
        ("nothing leads there", &gone, EventNumber::F_PERMISSION, Some(&[])),
    ];
    for (name, commands, event, want) in rows {
        let mut b = Bench::new();
        b.play(&[Do::Map(IOVA, A), Do::Use(0, HOST, IOVA, A)]);
        b.map(table, 0, 3, NEW, leaf1(B).0[0]);
        let cd = Cd(std::array::from_fn(|i| b.words[&(HOST_CD + 8 * i as u64)]));
        b.structure(HOST_CD, &cd.with_ttb0(table).0);
        for command in commands {
            b.command(CMDQ0, *command, None);
        }
        b.play(&[Do::Sync(CMDQ0), Do::Wait(20), Do::Abort(HOST, NEW, Some(event))]);
        let findings = b.finish();
        let found = findings.iter().find(|f| f.kind == Kind::SpuriousAbort);
        let after = |f: &Finding| {
            let told = f.story.iter().skip_while(|line| !line.starts_with("legal here"));
            told.skip(1).cloned().collect::<Vec<_>>()
        };
        assert_eq!(
            found.map(after),
            want.map(|lines| lines.iter().map(|&l| l.to_owned()).collect()),
            "{name}"
        );
    }
}

#[test]
fn page_requests_and_interrupts() {
    use Do::{Interrupt, PageInterrupt, PageRequest, Wait};
    let request = PageRequest(HOST, IOVA);
    check(&[
        ("request, interrupt", &[request, PageInterrupt], &[]),
        ("several", &[request, request, PageInterrupt, Wait(500)], &[]),
        ("lost interrupt", &[request, Wait(10), request], &[Kind::LostInterrupt]),
        ("that of another queue", &[request, Interrupt], &[Kind::LostInterrupt]),
        ("late interrupt", &[request, Wait(500), PageInterrupt, Wait(500), request, PageInterrupt], &[]),
    ]);
}

#[test]
fn events_and_interrupts() {
    use Do::{Abort, Dropped, Interrupt, LateAbort, Map, Overflow, Record, Ste as SetSte, Unmap, Wait};
    use EventNumber as E;
    let fault = Abort(HOST, IOVA, TRANSLATION);
    let record = Record(E::F_TRANSLATION, HOST, IOVA);
    let broken = Ste::default().with_v(true).with_config(config::S1).with_strw(1);
    check(&[
        ("fault, record, interrupt", &[fault, record, Interrupt], &[]),
        ("record before the abort", &[record, Interrupt, Wait(10), fault], &[]),
        ("lost event", &[fault], &[Kind::LostEvent]),
        ("excused by overflow", &[Overflow(true), fault, Overflow(false)], &[]),
        ("dropped", &[fault, Dropped(E::F_TRANSLATION, HOST, IOVA)], &[]),
        ("another one dropped", &[fault, Dropped(E::F_TRANSLATION, HOST, 0x2000)], &[Kind::LostEvent]),
        ("overflow comes after", &[fault, Overflow(true)], &[]),
        ("lost after overflow is over", &[Overflow(true), Overflow(false), fault], &[Kind::LostEvent]),
        ("lost interrupt", &[fault, record], &[Kind::LostInterrupt]),
        ("late interrupt", &[fault, record, Wait(500), Interrupt, Wait(500), fault, record, Interrupt], &[]),
        ("record of nothing", &[Map(IOVA, A), Wait(500), record, Interrupt], &[Kind::SpuriousEvent]),
        (
            "record of another address",
            &[Map(0x2000, A), Wait(500), fault, Record(E::F_TRANSLATION, HOST, 0x2000), Interrupt],
            &[Kind::LostEvent, Kind::SpuriousEvent],
        ),
        ("stalled: recorded, not aborted", &[record, Interrupt], &[]),
        (
            "aborted though mapped",
            &[Map(IOVA, A), Wait(1), Abort(HOST, IOVA, TRANSLATION), record, Interrupt],
            &[Kind::SpuriousAbort],
        ),
        ("aborted silently", &[Abort(HOST, IOVA, None)], &[Kind::LostEvent]),
        (
            "wrong event",
            &[Abort(HOST, IOVA, Some(E::F_PERMISSION)), Record(E::F_PERMISSION, HOST, IOVA), Interrupt],
            &[Kind::WrongEvent],
        ),
        ("closed stream", &[Abort(CLOSED, IOVA, None)], &[]),
        (
            "closed stream with a record",
            &[Abort(CLOSED, IOVA, TRANSLATION), Record(E::F_TRANSLATION, CLOSED, IOVA), Interrupt],
            &[Kind::WrongEvent],
        ),
        (
            "bad STE",
            &[
                SetSte(HOST, broken),
                Abort(HOST, IOVA, Some(E::C_BAD_STE)),
                Record(E::C_BAD_STE, HOST, 0),
                Interrupt,
            ],
            &[],
        ),
        (
            "unknown stream",
            &[Abort(0x1ff, 0, Some(E::C_BAD_STREAMID)), Record(E::C_BAD_STREAMID, 0x1ff, 0), Interrupt],
            &[],
        ),
        (
            "mapped while under way",
            &[Wait(50), Map(IOVA, A), LateAbort(HOST, IOVA, TRANSLATION, 20), record, Interrupt],
            &[],
        ),
        ("unmapped, not invalidated: either", &[Map(IOVA, A), Unmap(IOVA), fault, record, Interrupt], &[]),
    ]);
}

#[test]
fn the_story_names_who_did_what() {
    let mut b = Bench::new();
    let (ipa, pa) = (GUEST_IPA + 0x40_1000, GUEST_PA + 0x40_1000);
    b.step(Do::GuestMap(IOVA, ipa));
    b.see(Fact::Said { by: 2, what: Saying::Mapped { space: "vm0", iova: IOVA, pa: ipa, len: 0x1000 } });
    b.play(&[Do::Use(1, NESTED, IOVA, pa), Do::GuestUnmap(IOVA)]);
    b.see(Fact::Said { by: 2, what: Saying::Unmapped { space: "vm0", iova: IOVA, len: 0x1000 } });
    b.command(CMDQ0, Command::tlbi_nh_va(7, VMID[0], IOVA, true), None);
    b.command(CMDQ0, Command::sync(), None);
    b.see(Fact::Said { by: 1, what: Saying::Routed { vsmmu: 0, to: 0 } });
    b.see(Fact::Said { by: 1, what: Saying::Skipped { vsmmu: 0, smmu: 1, why: "no viommu for it" } });
    b.play(&[Do::Inv(GUEST, PAGE), Do::Sync(GUEST), Do::Use(1, NESTED, IOVA, pa)]);
    let found = b.finish();
    let text = found.iter().map(|f| format!("{f}\n")).collect::<String>();
    expect_test::expect![[r#"
        stale-use at 11.090 us: nic1 was sent to 0x840401000 by a translation of iova 0x1000 that smmu1 should have dropped
               10.940 us  guest maps vm0 iova 0x1000 to pa 0x40401000, 0x1000 bytes
               10.970 us  cpu0 changes the stage-1 level-3 descriptor of 0x1000 at pa 0x840004008; it held 0x40401f43
               10.980 us  guest unmaps vm0 iova 0x1000, 0x1000 bytes
               11.000 us  smmu0's command queue consumes TLBI_NH_VA asid=0x7 vmid=5 va=0x1000 leaf
               11.020 us  smmu0's command queue sees the CMD_SYNC after it consumed
               11.030 us  vmm sends an invalidation of vm0 to smmu0
               11.040 us  vmm leaves out smmu1 for an invalidation of vm0: no viommu for it
               11.060 us  vm0's command queue consumes TLBI_NH_VA asid=0x7 vmid=0 va=0x1000 leaf
               11.080 us  vm0's command queue sees the CMD_SYNC after it consumed
               11.090 us  nic1 of vm0 (smmu1 StreamID 0x30) writes 64 bytes at iova 0x1000 and goes to pa 0x840401000
          the tables now say: F_TRANSLATION
          smmu1 itself consumed no invalidation that covers it: it kept the entry
    "#]].assert_eq(&text);
}

#[test]
fn while_disabled() {
    let mut b = Bench::new();
    b.see(Fact::Configured { smmu: 0, registers: Registers::default() });
    b.step(Do::Wait(10));
    b.play(&[Do::Use(0, HOST, IOVA, IOVA)]);
    let abort = Registers { gbpa: spec::smmu::page0::GBPA(0).with_abort(true), ..Registers::default() };
    b.see(Fact::Configured { smmu: 0, registers: abort });
    b.play(&[Do::Use(0, HOST, 0x8000, 0x8000), Do::Wait(10)]);
    b.play(&[Do::Abort(HOST, IOVA, None), Do::Use(0, HOST, 0x9000, 0x9000)]);
    let found = b.finish();
    assert_eq!(found.iter().map(|f| f.kind).collect::<Vec<_>>(), [Kind::StaleUse], "{found:#?}");
}

#[test]
fn counts() {
    let mut b = Bench::new();
    b.play(&[Do::Map(IOVA, A), Do::Use(0, HOST, IOVA, A), Do::Unmap(IOVA), Do::Use(0, HOST, IOVA, A)]);
    b.play(&[Do::Inv(CMDQ0, PAGE), Do::Sync(CMDQ0), Do::Use(0, HOST, IOVA, A), Do::Use(0, HOST, IOVA, A)]);
    let c = b.oracle.counters();
    assert_eq!((c.translated, c.races, c.repeated, c.undecided, c.commands), (4, 1, 1, 0, 8));
}
