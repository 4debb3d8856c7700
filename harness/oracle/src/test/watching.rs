//! Judgements while a CPU writes tables in silence.

use super::*;
use crate::Source;
use std::sync::Mutex;

/// Memory that others write to.
#[derive(Debug, Default)]
pub(crate) struct Ram(Mutex<BTreeMap<u64, u64>>);

/// Nothing answers from here on.
const END: u64 = 1 << 44;

impl Source for Ram {
    fn read(&self, addr: u64, words: &mut [u64]) -> bool {
        let held = self.0.lock().unwrap();
        for (i, word) in (0..).zip(words.iter_mut()) {
            *word = held.get(&(addr + 8 * i)).copied().unwrap_or(0);
        }
        addr < END
    }
}

impl Ram {
    pub(crate) fn store(&self, addr: u64, word: u64) {
        self.0.lock().unwrap().insert(addr, word);
    }
}

impl Bench {
    /// A bench whose oracle looks at memory.
    pub(super) fn watching(config: Config) -> Self {
        let ram = Arc::new(Ram::default());
        let oracle = Oracle::watching(platform(), config, Arc::clone(&ram));
        Self::of(oracle, Some(ram))
    }
}

/// What is found by an oracle that looks.
fn check(rows: &[(&str, &[Do], &[Kind])]) {
    check_on(|| Bench::watching(Config::default()), rows);
}

#[test]
fn stage1_of_the_host() {
    use Do::{Abort, Begin, Fault, Finish, Inv, Leaf, Map, Record, Sync, Unmap, Use, Walk};
    let (old, new) = (Use(0, HOST, IOVA, A), Use(0, HOST, IOVA, B));
    let (inv, sync) = (Inv(CMDQ0, PAGE), Sync(CMDQ0));
    let elsewhere = Inv(CMDQ0, Command::tlbi_nh_va(7, 0, 0x2000, true));
    let wrong = [Abort(HOST, IOVA, TRANSLATION), Record(EventNumber::F_TRANSLATION, HOST, IOVA)];
    check(&[
        ("mapped", &[Map(IOVA, A), old], &[]),
        ("mapped after a fault", &[Fault(IOVA), Map(IOVA, A), old, Map(IOVA, B), inv, sync, new], &[]),
        ("unmapped, not invalidated", &[Map(IOVA, A), old, Unmap(IOVA), old], &[]),
        ("unmapped, not synchronised", &[Map(IOVA, A), old, Unmap(IOVA), inv, old], &[]),
        ("unmapped and invalidated", &[Map(IOVA, A), old, Unmap(IOVA), inv, sync, old], &[Kind::StaleUse]),
        ("told once", &[Map(IOVA, A), old, Unmap(IOVA), inv, sync, old, old], &[Kind::StaleUse]),
        ("unmapped after the invalidation", &[Map(IOVA, A), old, inv, Unmap(IOVA), sync, old], &[]),
        ("another page invalidated", &[Map(IOVA, A), old, Unmap(IOVA), elsewhere, sync, old], &[]),
        ("a race, then late", &[Map(IOVA, A), old, Unmap(IOVA), old, inv, sync, old], &[Kind::StaleUse]),
        ("a fault, or a race", &[Map(IOVA, A), old, Unmap(IOVA), Fault(IOVA), old], &[]),
        ("moved, race", &[Map(IOVA, A), old, Map(IOVA, B), old, new, inv, old], &[]),
        ("moved, new page", &[Map(IOVA, A), old, Map(IOVA, B), inv, sync, new], &[]),
        ("moved, old page", &[Map(IOVA, A), old, Map(IOVA, B), inv, sync, old], &[Kind::StaleUse]),
        (
            "break before make",
            &[Map(IOVA, A), old, Unmap(IOVA), inv, sync, Map(IOVA, B), new, old],
            &[Kind::StaleUse],
        ),
        ("mapped again", &[Map(IOVA, A), old, Unmap(IOVA), inv, sync, Map(IOVA, A), old], &[]),
        ("moved and back", &[Map(IOVA, A), old, Map(IOVA, B), Map(IOVA, A), inv, sync, old], &[]),
        ("gone between two looks", &[Map(IOVA, A), Map(IOVA, B), old], &[Kind::IsolationBreach]),
        ("gone between two looks, but read", &[Map(IOVA, A), Walk(IOVA), Map(IOVA, B), old], &[]),
        (
            "back and gone between two looks",
            &[Map(IOVA, A), old, Unmap(IOVA), inv, sync, Map(IOVA, A), Unmap(IOVA), old],
            &[Kind::StaleUse],
        ),
        (
            "back and gone between two looks, but read",
            &[Map(IOVA, A), old, Unmap(IOVA), inv, sync, Map(IOVA, A), Walk(IOVA), Unmap(IOVA), old],
            &[],
        ),
        (
            "read, then invalidated",
            &[Map(IOVA, A), Walk(IOVA), Unmap(IOVA), inv, sync, old],
            &[Kind::StaleUse],
        ),
        (
            "permission taken away",
            &[Map(IOVA, A), old, Leaf(IOVA, leaf1(A).with_ap(3)), inv, sync, old],
            &[Kind::StaleUse],
        ),
        ("never mapped", &[Map(IOVA, A), new], &[Kind::IsolationBreach]),
        (
            "on its way when the SYNC completes",
            &[Map(IOVA, A), Begin(0, HOST, IOVA, A), Unmap(IOVA), inv, sync, Finish],
            &[Kind::EarlySync],
        ),
        (
            "performed before the SYNC completes",
            &[Map(IOVA, A), Begin(0, HOST, IOVA, A), Unmap(IOVA), inv, Finish, sync],
            &[],
        ),
        (
            "aborted though mapped",
            &[Map(IOVA, A), old, Do::Wait(1), wrong[0], wrong[1], Do::Interrupt],
            &[Kind::SpuriousAbort],
        ),
    ]);
}

#[test]
fn configuration() {
    use Do::{Inv, Map, Pass, Sync, Use};
    let old = Use(0, HOST, IOVA, A);
    let bypassed = Use(0, HOST, IOVA, IOVA);
    let cfgi = Inv(CMDQ0, Command::cfgi_ste(HOST, true));
    let others = Inv(CMDQ0, Command::cfgi_ste(DIRECT, true));
    let sync = Sync(CMDQ0);
    check(&[
        ("STE changed, not invalidated", &[Map(IOVA, A), old, Pass(HOST), old, bypassed], &[]),
        ("STE changed and invalidated", &[Map(IOVA, A), old, Pass(HOST), cfgi, sync, bypassed], &[]),
        ("old STE", &[Map(IOVA, A), old, Pass(HOST), cfgi, sync, old], &[Kind::StaleUse]),
        ("old STE, not synchronised", &[Map(IOVA, A), old, Pass(HOST), cfgi, old], &[]),
        ("another stream's STE invalidated", &[Map(IOVA, A), old, Pass(HOST), others, sync, old], &[]),
        (
            "an STE that was never used",
            &[Map(IOVA, A), Pass(HOST), cfgi, sync, old],
            &[Kind::IsolationBreach],
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
        let mut b = Bench::watching(Config::default());
        b.play(&[Do::Map(IOVA, A), Do::Use(0, HOST, IOVA, A)]);
        b.map(table, 0, 3, IOVA, leaf1(B).0[0]);
        b.write(HOST_CD + 8, Cd([0; 8]).with_ttb0(table).0[1]);
        for command in commands {
            b.command(CMDQ0, *command, None);
        }
        b.play(&[Do::Sync(CMDQ0), Do::Use(0, HOST, IOVA, B), Do::Use(0, HOST, IOVA, A)]);
        let kinds: Vec<_> = b.finish().iter().map(|f| f.kind).collect();
        assert_eq!(kinds, want, "{name}");
    }
}

#[test]
fn a_freed_table_becomes_data() {
    let leaf_only = PAGE;
    let all_levels = Command::tlbi_nh_va(7, 0, IOVA, false);
    let data = leaf1(B).0[0];
    let rows = [
        ("freed and invalidated", all_levels, A, &[Kind::StaleUse][..]),
        ("the table kept, the data taken for a descriptor", all_levels, B, &[Kind::StaleUse]),
        ("last level invalidated only: the page may not be kept", leaf_only, A, &[Kind::StaleUse]),
        ("last level invalidated only: the table may be kept", leaf_only, B, &[]),
    ];
    for (name, command, to, want) in rows {
        let mut b = Bench::watching(Config::default());
        b.play(&[Do::Map(IOVA, A), Do::Use(0, HOST, IOVA, A)]);
        let at = b.descriptors(IOVA);
        b.write(at[2], 0);
        b.write(at[3], 0);
        b.command(CMDQ0, command, None);
        b.step(Do::Sync(CMDQ0));
        b.write(at[3], data);
        b.step(Do::Use(0, HOST, IOVA, to));
        let found = b.finish();
        let kinds: Vec<_> = found.iter().map(|f| f.kind).collect();
        assert_eq!(kinds, want, "{name}: {found:#?}");
    }
}

/// One write of PROD hands over everything, and all is consumed before anybody looks again.
#[test]
fn a_batch_in_one_doorbell() {
    for (name, unmap_first, want) in
        [("unmapped before", true, &[Kind::StaleUse][..]), ("unmapped after", false, &[])]
    {
        let mut b = Bench::watching(Config::default());
        b.play(&[Do::Map(IOVA, A), Do::Use(0, HOST, IOVA, A)]);
        let first = b.index[&CMDQ0];
        if unmap_first {
            b.step(Do::Unmap(IOVA));
        }
        b.see(Fact::Produced { queue: CMDQ0, prod: first + 2, log2size: 8 });
        if !unmap_first {
            b.step(Do::Unmap(IOVA));
        }
        for (index, command) in (first..).zip([PAGE, Command::sync()]) {
            b.see(Fact::Consumed { queue: CMDQ0, index, command: command.0, written: None, on: None });
        }
        b.step(Do::Use(0, HOST, IOVA, A));
        let kinds: Vec<_> = b.finish().iter().map(|f| f.kind).collect();
        assert_eq!(kinds, want, "{name}");
    }
}

#[test]
fn the_story_says_when_it_was_noticed() {
    let mut b = Bench::watching(Config::default());
    b.play(&[Do::Map(IOVA, A), Do::Use(0, HOST, IOVA, A), Do::Wait(5), Do::Sync(CMDQ0)]);
    b.play(&[Do::Wait(5), Do::Unmap(IOVA), Do::Wait(5)]);
    b.play(&[Do::Inv(CMDQ0, PAGE), Do::Sync(CMDQ0), Do::Use(0, HOST, IOVA, A), Do::Use(0, HOST, IOVA, B)]);
    b.play(&[Do::Use(0, HOST, 0x5000, B)]);
    let text = b.finish().iter().map(|f| format!("{f}\n")).collect::<String>();
    expect_test::expect![[r#"
        stale-use at 26.030 us: disk was sent to 0x900001000 by a translation of iova 0x1000 that smmu0 should have dropped
               25.990 us  software has changed the stage-1 level-3 descriptor of 0x1000 at pa 0x404008 since 15.960 us; it held 0x900001f43
               26.000 us  smmu0's command queue consumes TLBI_NH_VA asid=0x7 vmid=0 va=0x1000 leaf
               26.020 us  smmu0's command queue sees the CMD_SYNC after it consumed
               26.030 us  disk of host (smmu0 StreamID 0x10) writes 64 bytes at iova 0x1000 and goes to pa 0x900001000
          the tables now say: F_TRANSLATION
          smmu0 did consume TLBI_NH_VA asid=0x7 vmid=0 va=0x1000 leaf; it kept the entry nevertheless
        isolation-breach at 26.050 us: disk was sent to 0x900002000, where iova 0x1000 never led
               26.050 us  disk of host (smmu0 StreamID 0x10) writes 64 bytes at iova 0x1000 and goes to pa 0x900002000
          the tables of this stream now say: F_TRANSLATION
          no state of its tables that was seen, and is remembered, leads there
        isolation-breach at 26.070 us: disk was sent to 0x900002000, where iova 0x5000 never led
               26.070 us  disk of host (smmu0 StreamID 0x10) writes 64 bytes at iova 0x5000 and goes to pa 0x900002000
          the tables of this stream now say: F_TRANSLATION
          no state of its tables that was seen, and is remembered, leads there
    "#]].assert_eq(&text);
}

#[test]
fn the_machine_starts_again() {
    let mut b = Bench::watching(Config::default());
    b.play(&[Do::Map(IOVA, A), Do::Use(0, HOST, IOVA, A), Do::Begin(0, HOST, IOVA, A), Do::Unmap(IOVA)]);
    b.play(&[Do::Inv(CMDQ0, PAGE), Do::Sync(CMDQ0)]);
    b.oracle.reset(b.time);
    let kinds = |b: &Bench| b.oracle.findings().iter().map(|f| f.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&b), [Kind::EarlySync], "what was on its way then");
    // The SMMU is disabled, and nothing of the past counts.
    b.play(&[Do::Use(0, HOST, IOVA, IOVA), Do::Use(0, HOST, 0x2000, 0x2000)]);
    assert_eq!(kinds(&b).len(), 1);
    b.step(Do::Use(0, HOST, IOVA, A));
    assert_eq!(kinds(&b), [Kind::EarlySync, Kind::IsolationBreach]);
    b.build();
    b.index.clear();
    b.play(&[Do::Map(IOVA, B), Do::Use(0, HOST, IOVA, B), Do::Unmap(IOVA), Do::Use(0, HOST, IOVA, B)]);
    assert_eq!(kinds(&b).len(), 2);
    b.play(&[Do::Inv(CMDQ0, PAGE), Do::Sync(CMDQ0), Do::Use(0, HOST, IOVA, B)]);
    assert_eq!(kinds(&b)[2..], [Kind::StaleUse]);
    assert_eq!(b.finish().len(), 3);
}

#[test]
fn where_nothing_answers() {
    let mut b = Bench::watching(Config::default());
    b.ste(HOST, Ste::default().with_v(true).with_config(config::S1).with_s1contextptr(END));
    let event = EventNumber::F_CD_FETCH;
    b.play(&[Do::Abort(HOST, IOVA, Some(event)), Do::Record(event, HOST, IOVA), Do::Interrupt]);
    assert_eq!(b.finish(), []);
}

/// The tables of many pages, of which few are known at a time.
#[test]
fn what_is_forgotten_accuses_nobody() {
    let busy = |b: &mut Bench, from: u64| {
        for i in from..from + 200 {
            // Each in a table of its own.
            let iova = i << 21;
            b.play(&[Do::Map(iova, A), Do::Use(0, HOST, iova, A)]);
        }
    };
    let changing = |b: &mut Bench, _| {
        for i in 0..2000 {
            b.play(&[Do::Map(0x8000, if i % 2 == 0 { A } else { B }), Do::Sync(CMDQ0)]);
        }
    };
    let pages = Config { pages: 64, ..Config::default() };
    let log = Config { memory_changes: 64, ..Config::default() };
    type Forget<'a> = &'a dyn Fn(&mut Bench, u64);
    let forgetting = [("pages", &pages, &busy as Forget<'_>), ("changes", &log, &changing)];
    for (name, config, forget) in forgetting {
        let begin = || {
            let mut b = Bench::watching(config.clone());
            b.play(&[Do::Map(IOVA, A), Do::Map(0x8000, A), Do::Use(0, HOST, 0x8000, A)]);
            b.play(&[Do::Use(0, HOST, IOVA, A), Do::Unmap(IOVA), Do::Sync(CMDQ0)]);
            b
        };
        let mut b = begin();
        forget(&mut b, 1);
        b.step(Do::Use(0, HOST, IOVA, A));
        assert_eq!((b.oracle.findings(), b.oracle.counters().undecided), (&[][..], 1), "{name}");
        b.play(&[Do::Inv(CMDQ0, PAGE), Do::Sync(CMDQ0), Do::Use(0, HOST, IOVA, A)]);
        let kinds: Vec<_> = b.finish().iter().map(|f| f.kind).collect();
        assert_eq!(kinds, [Kind::IsolationBreach], "{name}: invalidated, whatever it was");

        let mut b = begin();
        b.step(Do::Inv(CMDQ0, PAGE));
        b.step(Do::Sync(CMDQ0));
        b.step(Do::Use(0, HOST, IOVA, A));
        let kinds: Vec<_> = b.finish().iter().map(|f| f.kind).collect();
        assert_eq!(kinds, [Kind::StaleUse], "{name}: not forgotten");
    }
}
