//! Broken hardware on a board, and what the oracle makes of it: a guest unmaps a page through its own queue, or its host changes
//! a CD, and the device tries again.

use models::smmu::granule::Granule;
use models::smmu::tables::{Builder, PAGE1, PAGE2, Space};
use oracle::Kind;
use spec::cmdqv::Place;
use spec::smmu::{Cd, Command};

use super::*;

/// The tester's function: one carrier comes first.
const DEVICE: usize = 1;
const SID: u32 = 0x10;
/// What the guest calls [`SID`]: a number that another device has.
const VIRTUAL: u32 = 0x11;
const VMID: u32 = 7;
const ASID: u16 = 1;
const IOVA: u64 = 0x1000;

const CMDQV: u64 = 0x10_0000;
const MAIN_RING: u64 = RAM + 0x1_0000;
const GUEST_RING: u64 = RAM + 0x2_0000;
const EVENTS: u64 = RAM + 0x3_0000;
const TABLES: u64 = RAM + SIZE;
const TABLES_SIZE: u64 = 0x2_0000;
/// Where the page lies, and where another table has it.
const PAGES: [u64; 2] = [RAM + 0x4_0000, RAM + 0x5_0000];

/// What happens on the board.
#[derive(Clone, Copy, Debug)]
enum Do {
    /// The device uses ATS from now on.
    Ats,
    /// The guest takes the page out of its table.
    Unmap,
    /// The CD gets another table, which has the page elsewhere.
    Move,
    /// Commands in the queue of a guest, followed by a CMD_SYNC each.
    Guest(&'static [Command]),
    /// The same in the SMMU's own queue.
    Host(&'static [Command]),
    /// The guest acknowledges the error of its queue, which must be this one.
    Acknowledge(u32),
    /// The device writes to the page. Which page is written, if any.
    Write(Option<usize>),
}
use Do::{Acknowledge, Ats, Guest, Host, Move, Unmap, Write};

const TLBI: &[Command] = &[Command::tlbi_nh_va(ASID, 0, IOVA, true)];
const ATC_INV: &[Command] = &[Command::atc_inv(VIRTUAL, None, IOVA, 0)];
const CD_GONE: &[Command] = &[Command::cfgi_cd(SID, 0, true), Command::tlbi_nh_asid(ASID, VMID as u16)];
const NEXT: &[Command] = &[Command::tlbi_nh_asid(0x99, 0)];

struct Rig {
    board: Board,
    tables: Builder,
    space: Space,
    cd: (u64, Cd),
    other: Cd,
    /// PROD of the SMMU's own queue and of the guest's.
    prods: [u32; 2],
}

impl Rig {
    /// A device behind both stages, its guest with a queue of its own.
    fn new(faults: &str, timed: bool) -> Self {
        Self::with("", faults, timed)
    }

    /// The same with options of the CMDQV.
    fn with(knobs: &str, faults: &str, timed: bool) -> Self {
        let text = format!(
            r#"
                title = "x"
                [psmmu.smmu0]
                cmdqv = {{ vintfs = 4, vcmdqs = 8, sid_slots = 16, knobs = {{ {knobs} }} }}
                [endpoint.tester]
                ats = true
                stream = {SID}
                [endpoint.other]
                ats = true
                stream = {VIRTUAL}
                {faults}
            "#
        );
        let (path, disks) = ("x.toml".into(), vec![0, 0]);
        let header = Header { path, text, presets: Vec::new(), timed, disks };
        let machine = Machine::recorded(&header).unwrap_or_else(|why| panic!("{why}"));
        let memory = Memory::played();
        memory.map_played(RAM, SIZE + TABLES_SIZE);
        let board = machine.board(memory, machine.memory_disks(&header.disks), timed).unwrap();

        let mut tables = Builder::new(TABLES);
        let host = tables.stage2(Granule::K4, 39, 1);
        tables.map2(&host, RAM, RAM, 1, PAGE2.with_page(false));
        let [space, elsewhere] = PAGES.map(|page| {
            let space = tables.stage1(Granule::K4, 39, 0);
            tables.map1(&space, IOVA, page, 3, PAGE1.with_ng(true));
            space
        });
        tables.linear_streams(6);
        let (cd, other) = (space.cd(ASID), elsewhere.cd(ASID));
        let context = tables.context(&cd, 0);
        tables.set_ste(SID, host.nested(context).with_s2vmid(VMID.into()).with_eats(1));
        let mut rig = Self { board, tables, space, cd: (context, cd), other, prods: [0; 2] };
        rig.publish();
        rig.boot();
        rig
    }

    /// What software has written so far is in memory.
    fn publish(&mut self) {
        let words =
            (TABLES..TABLES + TABLES_SIZE).step_by(8).flat_map(|at| self.tables.word(at).to_le_bytes());
        self.store(TABLES, words.collect());
    }
    fn store(&self, addr: u64, bytes: Vec<u8>) {
        self.board.memory().will_see(vec![Saw { since: 0, addr, bytes }]);
    }

    fn write(&mut self, offset: u64, value: u32) {
        write32(&mut self.board, 0, Region::Bar(0), offset, value);
        self.board.settle();
    }
    fn write_wide(&mut self, offset: u64, value: u64) {
        assert!(self.board.write(0, Region::Bar(0), offset, &value.to_le_bytes()));
        self.board.settle();
    }
    fn cmdqv(&mut self, name: &str, value: u32) {
        self.write(at(name), value);
    }

    fn boot(&mut self) {
        let streams = self.tables.ste_addr(0);
        self.write(0x28, 0xd75);
        self.write(0x2c, 2);
        self.write_wide(0x80, streams);
        self.write(0x88, 6);
        self.write_wide(0x90, MAIN_RING | 5);
        self.write_wide(0xa0, EVENTS | 5);
        self.write(0x20, 0xd);
        self.push(0, &[Command::cfgi_all(), Command::tlbi_nsnh_all()]);
        self.cmdqv("CONFIG", 0x2_0083);
        self.cmdqv("CMDQ_ALLOC2", 1 << 15 | 1);
        for (slot, virt, phys) in [(0, VIRTUAL, SID), (1, 0x30, VIRTUAL)] {
            self.cmdqv(&format!("VINTF1.SID_MATCH{slot}"), virt << 1 | 1);
            self.cmdqv(&format!("VINTF1.SID_REPLACE{slot}"), phys);
        }
        self.cmdqv("VINTF1.CONFIG", VMID << 1 | 1);
        self.write_wide(at("VINTF1.LVCMDQ0.BASE"), GUEST_RING | 5);
        self.cmdqv("VINTF1.LVCMDQ0.CONFIG", 1);
        // Bus mastering.
        write32(&mut self.board, DEVICE, Region::Config, 4, 6);
    }

    /// Puts commands into the SMMU's own queue (0) or the guest's (1), each with a CMD_SYNC.
    fn push(&mut self, queue: usize, commands: &[Command]) {
        let ring = [MAIN_RING, GUEST_RING][queue];
        for command in commands.iter().flat_map(|c| [*c, Command::sync()]) {
            self.store(ring + 16 * u64::from(self.prods[queue] % 32), command.to_bytes().to_vec());
            self.prods[queue] += 1;
        }
        match queue {
            0 => self.write(0x98, self.prods[0]),
            _ => self.cmdqv("VINTF1.LVCMDQ0.PROD", self.prods[1]),
        }
    }

    fn step(&mut self, step: Do) {
        match step {
            Ats => {
                assert!(self.board.write(DEVICE, Region::Config, 0x106, &0x8000_u16.to_le_bytes()));
            }
            Unmap => {
                let space = self.space;
                self.tables.unmap(&space, IOVA, 3);
                self.publish();
            }
            Move => {
                let (at, cd) = self.cd;
                self.tables.set_words(at, &cd.with_ttb0(self.other.ttb0()).0);
                self.publish();
            }
            Guest(commands) => self.push(1, commands),
            Host(commands) => self.push(0, commands),
            Acknowledge(error) => {
                let cons = read32(&mut self.board, 0, Region::Bar(0), at("VINTF1.LVCMDQ0.CONS"));
                assert_eq!(cons >> 24, error);
                let gerror = read32(&mut self.board, 0, Region::Bar(0), at("VINTF1.LVCMDQ0.GERROR"));
                self.cmdqv("VINTF1.LVCMDQ0.GERRORN", gerror);
            }
            Write(want) => {
                PAGES.iter().for_each(|&page| self.store(page, vec![0; 4]));
                let refused = device_write(&mut self.board, DEVICE, IOVA) != 0;
                let written = PAGES.iter().position(|&page| {
                    let mut bytes = [0; 4];
                    self.board.memory().read(page, &mut bytes).unwrap();
                    bytes != [0; 4]
                });
                assert_eq!((written, refused), (want, want.is_none()));
            }
        }
    }
}

fn at(name: &str) -> u64 {
    CMDQV + name.parse::<Place>().unwrap().offset().unwrap()
}

/// Whether the models have time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Either,
    Without,
}

/// Name, faults, on which boards, what happens, what is found.
type Row = (&'static str, &'static str, When, &'static [Do], &'static [Kind]);

fn fault(keys: &str) -> String {
    let at = if keys.contains("ats-timeout") { "tester" } else { "smmu0" };
    format!("[fault.x]\nat = \"{at}\"\n{keys}\n")
}

fn check(rows: &[Row]) {
    for &(name, keys, when, steps, want) in rows {
        for timed in [false, true] {
            if timed && when == When::Without {
                continue;
            }
            let faults = if keys.is_empty() { String::new() } else { fault(keys) };
            let mut rig = Rig::new(&faults, timed);
            for (n, step) in steps.iter().enumerate() {
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rig.step(*step)));
                assert!(done.is_ok(), "{name}, timed {timed}: step {n}, {step:?}");
            }
            let found: Vec<_> = rig.board.findings().iter().map(|f| f.kind).collect();
            assert_eq!(found, want, "{name}, timed {timed}: {:#?}", rig.board.findings());
        }
    }
}

/// Silicon with the erratum of Tegra264: whether a guest issued its TLBI again is known when it does, or at the end.
#[test]
fn an_invalidation_that_must_be_issued_twice() {
    const ONCE: &[Do] = &[Write(Some(0)), Unmap, Guest(TLBI), Write(Some(0))];
    for (name, then, want) in [
        ("once", &[][..], &[Kind::StaleUse][..]),
        ("twice", &[Guest(TLBI), Write(None)], &[]),
        ("twice, and others meanwhile", &[Guest(NEXT), Guest(NEXT), Guest(TLBI), Write(None)], &[]),
        ("the host does not speak for it", &[Host(TLBI), Write(Some(0))], &[Kind::StaleUse]),
    ] {
        for timed in [false, true] {
            let mut rig = Rig::with("repeat-invalidations = 'on'", "", timed);
            ONCE.iter().chain(then).for_each(|step| rig.step(*step));
            assert_eq!(rig.board.findings(), [], "{name}, timed {timed}: not yet");
            rig.board.stop();
            let found: Vec<_> = rig.board.findings().iter().map(|f| f.kind).collect();
            assert_eq!(found, want, "{name}, timed {timed}: {:#?}", rig.board.findings());
        }
    }
}

#[test]
fn a_stale_translation_is_found() {
    use When::{Either, Without};
    const HERE: Option<usize> = Some(0);
    const GONE: &[Do] = &[Write(HERE), Unmap, Guest(TLBI), Write(None)];
    const KEPT: &[Do] = &[Write(HERE), Unmap, Guest(TLBI), Write(HERE)];
    check(&[
        ("no fault", "", Either, GONE, &[]),
        ("a race", "", Either, &[Write(HERE), Unmap, Write(HERE)], &[]),
        ("dropped", "kind = 'drop-tlbi'\nnth = 2", Either, KEPT, &[Kind::StaleUse]),
        ("dropped, of the guest", "kind = 'drop-tlbi'\nvintf = 1", Either, KEPT, &[Kind::StaleUse]),
        ("dropped, of another guest", "kind = 'drop-tlbi'\nvintf = 2", Either, GONE, &[]),
        ("the guest's VMID", "kind = 'keep-guest-vmid'", Either, KEPT, &[Kind::StaleUse]),
        ("the guest's VMID, of one", "kind = 'keep-guest-vmid'\nvintf = 1", Either, KEPT, &[Kind::StaleUse]),
        ("the VMID of another guest", "kind = 'keep-guest-vmid'\nvintf = 2", Either, GONE, &[]),
        ("early", "kind = 'early-sync'\nnth = 3", Without, KEPT, &[Kind::StaleUse]),
        (
            "early, and made good by the next command",
            "kind = 'early-sync'\nnth = 3",
            Without,
            &[Write(HERE), Unmap, Guest(TLBI), Host(NEXT), Write(None)],
            &[],
        ),
        (
            "damaged: the guest knows",
            "kind = 'corrupt-command'\nvintf = 1",
            Either,
            &[Write(HERE), Unmap, Guest(TLBI), Write(HERE), Acknowledge(1), Write(None)],
            &[],
        ),
    ]);
}

#[test]
fn a_stale_cd_is_found() {
    use When::{Either, Without};
    let found = &[Kind::StaleUse];
    let moved = &[Write(Some(0)), Move, Host(CD_GONE), Write(Some(1))];
    let kept = &[Write(Some(0)), Move, Host(CD_GONE), Write(Some(0))];
    check(&[
        ("no fault", "", Either, moved, &[]),
        ("dropped", "kind = 'drop-cfgi'\nnth = 2", Either, kept, found),
        ("the CFGI_CD dropped", "kind = 'drop-cfgi'\ncommand = 'CFGI_CD'", Either, kept, found),
        ("that of STEs dropped", "kind = 'drop-cfgi'\ncommand = 'CFGI_STE'\ntimes = 9", Either, moved, &[]),
        ("of a VINTF: not the host's own queue", "kind = 'drop-cfgi'\nvintf = 1", Either, moved, &[]),
        ("the TLBI dropped", "kind = 'drop-tlbi'\nnth = 2", Either, kept, found),
        ("early: the TLBI is the last", "kind = 'early-sync'\nnth = 4", Without, kept, found),
    ]);
}

#[test]
fn a_stale_entry_of_an_endpoint_is_found() {
    use When::{Either, Without};
    const HERE: Option<usize> = Some(0);
    const GONE: &[Do] = &[Ats, Write(HERE), Unmap, Guest(TLBI), Guest(ATC_INV), Write(None)];
    const KEPT: &[Do] = &[Ats, Write(HERE), Unmap, Guest(TLBI), Guest(ATC_INV), Write(HERE)];
    let found = &[Kind::StaleUse];
    // CERROR_ATC_INV_SYNC. The CMD_SYNC completes when it is tried again.
    const AGAIN: Do = Acknowledge(3);
    check(&[
        ("no fault", "", Either, GONE, &[]),
        ("the endpoint was not told", "", Either, &[Ats, Write(HERE), Unmap, Guest(TLBI), Write(HERE)], &[]),
        ("the guest's StreamID", "kind = 'keep-guest-sid'", Either, KEPT, found),
        ("the StreamID of another guest", "kind = 'keep-guest-sid'\nvintf = 2", Either, GONE, &[]),
        ("swapped", "kind = 'swap-sid-slots'", Either, KEPT, found),
        ("swapped, of another guest", "kind = 'swap-sid-slots'\nvintf = 2", Either, GONE, &[]),
        ("early", "kind = 'early-sync'\nnth = 4", Without, KEPT, found),
        (
            "no answer: what the endpoint holds is still good",
            "kind = 'ats-timeout'",
            Either,
            &[Ats, Write(HERE), Unmap, Guest(ATC_INV), AGAIN, Write(HERE)],
            &[],
        ),
        (
            "no answer, until it was told again",
            "kind = 'ats-timeout'",
            Either,
            &[Ats, Write(HERE), Unmap, Guest(TLBI), Guest(ATC_INV), AGAIN, Guest(ATC_INV), Write(None)],
            &[],
        ),
        (
            "no answer twice",
            "kind = 'ats-timeout'\ntimes = 2",
            Either,
            &[
                Ats,
                Write(HERE),
                Unmap,
                Guest(TLBI),
                Guest(ATC_INV),
                AGAIN,
                Guest(ATC_INV),
                AGAIN,
                Write(HERE),
                Guest(ATC_INV),
                Write(None),
            ],
            &[],
        ),
        (
            "no answer the second time",
            "kind = 'ats-timeout'\nnth = 2",
            Either,
            &[Ats, Write(HERE), Unmap, Guest(TLBI), Guest(ATC_INV), Write(None), Guest(ATC_INV), AGAIN],
            &[],
        ),
    ]);
}
