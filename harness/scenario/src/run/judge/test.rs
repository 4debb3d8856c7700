//! Records and notes of small runs, written by hand, and what is found in them.

use models::smmu::Attributes;
use std::sync::{Arc, Mutex};

use models::bus::Data;
use oracle::Kind;
use spec::cmdqv::Place;
use spec::cmdqv::config::CMDQ_ALLOC;
use spec::regs::Block;
use spec::smmu::descriptor::{Leaf1, Table};
use spec::smmu::page0::{
    CMDQ_BASE, CR0, CR2, EVENTQ_BASE, EVENTQ_IRQ_CFG0, GBPA, IRQ_CTRL, PRIQ_IRQ_CFG0, PRIQ_IRQ_CFG2,
    STRTAB_BASE, STRTAB_BASE_CFG,
};
use spec::smmu::page1::{self, EVENTQ_CONS};
use spec::smmu::ste::config;
use spec::smmu::{Cd, EventNumber, Page0, Page1, PageRequest, Ste};

use super::*;

const STRTAB: u64 = 0x10_0000;
const CD: u64 = 0x20_0000;
/// Stage-1 tables of levels 1 to 3.
const TABLES: [u64; 3] = [0x30_0000, 0x30_1000, 0x30_2000];
const IOVA: u64 = 0x12_3000;
const LINE: u32 = 40;
/// Bypass, stage 1.
const PLAIN: u32 = 5;
const MAPPED: u32 = 6;
/// What the guest calls PLAIN.
const VSID: u32 = 9;

/// What one step of a run does to the judge.
type Step = Box<dyn Fn(&mut Judge, Time)>;

/// Steps, one each 10 us.
type Steps = Vec<Step>;

/// What is found: kind, SMMU, StreamID.
type Found = Vec<(Kind, u16, Option<u32>)>;

fn rec(record: Record) -> Step {
    Box::new(move |judge, now| judge.record(now, &record))
}
fn note(note: Note) -> Step {
    Box::new(move |judge, now| judge.note(now, &note))
}
fn call(f: impl Fn(&mut Judge, Time) + 'static) -> Step {
    Box::new(f)
}
fn reg(reg: Page0, value: u64) -> Step {
    rec(Record::SmmuRegister { smmu: 0, offset: reg.offset(), value })
}
fn ack(reg: Page0, value: u64) -> Step {
    rec(Record::SmmuUpdated { smmu: 0, offset: reg.offset(), value })
}
fn events_cons(value: u64) -> Step {
    let offset = page1::BASE as u32 + Page1::EVENTQ_CONS.offset();
    rec(Record::SmmuRegister { smmu: 0, offset, value })
}
fn dma(sid: u32, iova: u64, pa: u64) -> Step {
    Box::new(move |judge, begun| {
        let (smmu, ssid, translated) = (0, None, false);
        let (len, write, tlb_hit) = (64, true, false);
        let record = Record::DmaTranslated {
            id: 1,
            smmu,
            sid,
            ssid,
            iova,
            pa,
            len,
            write,
            incoming: Incoming::DEFAULT,
            attributes: Attributes::COHERENT,
            translated,
            tlb_hit,
            begun,
        };
        judge.record(begun, &record);
        judge.record(begun, &Record::DmaDone { id: 1, smmu });
    })
}
fn aborted(sid: u32, event: Option<EventNumber>) -> Step {
    Box::new(move |judge, begun| {
        let (smmu, ssid, translated) = (0, None, false);
        let (iova, write, incoming, event) = (0, true, Incoming::DEFAULT, event.map(|e| e.0));
        judge.record(
            begun,
            &Record::DmaAborted { id: 1, smmu, sid, ssid, iova, write, incoming, translated, event, begun },
        );
    })
}
fn event(number: EventNumber, sid: u32) -> Step {
    rec(Record::EventWritten { smmu: 0, record: EventRecord::new(number, sid) })
}
fn dropped(number: EventNumber, sid: u32) -> Step {
    rec(Record::EventDropped { smmu: 0, record: EventRecord::new(number, sid) })
}
fn raised(intid: u32) -> Step {
    rec(Record::InterruptRaised { intid, smmu: Some(0) })
}
fn failed(error: GlobalError) -> Step {
    rec(Record::GlobalError { smmu: 0, bit: error.0 })
}
fn store(by: Requester, addr: u64, words: &[u64]) -> Step {
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    rec(Record::MemoryWrite { by, addr, data: Data::new(&bytes) })
}
fn ste(sid: u32, ste: Ste) -> Step {
    store(Requester::Cpu(0), STRTAB + 64 * u64::from(sid), &ste.0)
}
fn consumed(queue: CommandQueue, index: u32, raw: Command) -> Step {
    rec(Record::CommandConsumed { smmu: 0, queue, index, raw, executed: raw })
}
fn main_queue(commands: &[Command]) -> Steps {
    commands.iter().zip(0..).map(|(c, i)| consumed(CommandQueue::Main, i, *c)).collect()
}

fn facts() -> Facts {
    let smmu = |name: &str| SmmuFact {
        name: name.to_owned(),
        idr0: 0x084f_769b,
        idr1: 0x0def_5510,
        idr3: 0x7514,
        idr5: 0x0010_0075,
        event_line: Some(LINE),
        page_line: Some(LINE + 2),
        cmdqv: Some(0x4671),
        version2: name == "pair",
        repeats: false,
    };
    let stream = |sid, name: &str| StreamFact { smmu: 0, sid, name: name.to_owned() };
    Facts {
        smmus: vec![smmu("smmu0"), smmu("smmu1"), smmu("pair")],
        streams: vec![stream(PLAIN, "nic"), stream(MAPPED, "disk")],
        vsmmus: vec!["vm0's vSMMU".to_owned()],
        vms: vec![VmFact { name: "vm0".to_owned(), memory: std::iter::once(0x1000..0x2000).collect() }],
        cpus: 1,
        memory: Vec::new(),
    }
}

fn run(steps: impl IntoIterator<Item = Step>) -> Vec<Finding> {
    let config = Config { update_bound: 0, ..Config::default() };
    let mut judge = Judge::with_config(facts(), config);
    let mut now = Time::ZERO;
    for step in steps {
        now += Time::us(10);
        step(&mut judge, now);
    }
    judge.finish(now + Time::ms(1))
}

fn check(rows: Vec<(&str, Steps, Found)>) {
    for (name, steps, want) in rows {
        let found = run(steps);
        let got: Found = found.iter().map(|f| (f.kind, f.smmu, f.sid)).collect();
        assert_eq!(got, want, "{name}: {found:#?}");
    }
}

fn all(parts: impl IntoIterator<Item = Steps>) -> Steps {
    parts.into_iter().flatten().collect()
}

const ENABLED: CR0 = CR0(0).with_smmuen(true).with_eventqen(true).with_cmdqen(true);

/// An enabled SMMU with a stream table, and queues of four entries.
fn enabled() -> Steps {
    vec![
        reg(Page0::STRTAB_BASE, STRTAB_BASE(0).with_addr(STRTAB).0),
        reg(Page0::STRTAB_BASE_CFG, STRTAB_BASE_CFG(0).with_log2size(4).0),
        reg(Page0::CMDQ_BASE, CMDQ_BASE(0).with_log2size(2).0),
        reg(Page0::EVENTQ_BASE, EVENTQ_BASE(0).with_log2size(2).0),
        reg(Page0::CR2, CR2(0).with_recinvsid(true).0),
        reg(Page0::CR0, ENABLED.0),
        ack(Page0::CR0ACK, ENABLED.0),
        ste(PLAIN, Ste::default().with_v(true).with_config(config::BYPASS)),
    ]
}

#[test]
fn registers_hold_when_acknowledged() {
    let on = || reg(Page0::CR0, 1);
    let breach = || vec![(Kind::IsolationBreach, 0, Some(PLAIN))];
    let pass = || dma(PLAIN, IOVA, IOVA);
    let abort = |update: bool| reg(Page0::GBPA, GBPA(0).with_abort(true).with_update(update).0);
    check(vec![
        ("bypass", vec![pass()], vec![]),
        ("to elsewhere", vec![dma(PLAIN, IOVA, 0x1000)], breach()),
        ("written, not acknowledged", vec![on(), pass()], vec![]),
        ("acknowledged", vec![on(), ack(Page0::CR0ACK, 1), pass()], breach()),
        ("GBPA written", vec![abort(true), pass()], vec![]),
        (
            "GBPA updated",
            vec![abort(true), ack(Page0::GBPA, GBPA(0).with_abort(true).0), aborted(5, None)],
            vec![],
        ),
        ("service failure", vec![failed(GlobalError::SFM_ERR), aborted(5, None)], vec![]),
        ("nothing passes then", vec![failed(GlobalError::SFM_ERR), pass()], breach()),
    ]);
}

#[test]
fn event_interrupts() {
    let enable = || IRQ_CTRL(0).with_eventq_irqen(true).0;
    let with = |steps: Steps| {
        all([enabled(), vec![reg(Page0::IRQ_CTRL, enable()), ack(Page0::IRQ_CTRLACK, enable())], steps])
    };
    let uut = || event(EventNumber::F_UUT, PLAIN);
    let message = |addr| {
        vec![
            reg(Page0::EVENTQ_IRQ_CFG0, EVENTQ_IRQ_CFG0(0).with_addr(addr).0),
            reg(Page0::EVENTQ_IRQ_CFG1, 77),
        ]
    };
    let lost = || vec![(Kind::LostInterrupt, 0, None)];
    check(vec![
        ("wire", with(vec![uut(), raised(LINE)]), vec![]),
        ("none", with(vec![uut()]), lost()),
        ("another wire", with(vec![uut(), raised(LINE + 1)]), lost()),
        ("message", all([message(0x8000), with(vec![uut(), raised(77)])]), vec![]),
        ("wire instead of message", all([message(0x8000), with(vec![uut(), raised(LINE)])]), lost()),
        (
            "message to memory",
            all([message(0x8000), with(vec![uut(), store(Requester::Psmmu(0), 0x8000, &[77])])]),
            vec![],
        ),
        (
            "message of another SMMU",
            all([message(0x8000), with(vec![uut(), store(Requester::Psmmu(1), 0x8000, &[77])])]),
            lost(),
        ),
        (
            "aborted message",
            all([message(0x8000), with(vec![uut(), failed(GlobalError::MSI_EVENTQ_ABT_ERR)])]),
            vec![],
        ),
        ("not enabled", all([enabled(), vec![reg(Page0::IRQ_CTRL, enable()), uut()]]), vec![]),
        ("second record", with(vec![uut(), raised(LINE), uut()]), vec![]),
        ("not caught up", with(vec![uut(), uut(), raised(LINE), events_cons(1), uut()]), vec![]),
        ("caught up", with(vec![uut(), uut(), raised(LINE), events_cons(2), uut()]), lost()),
        (
            "caught up, wrapped",
            with(vec![uut(), uut(), uut(), uut(), raised(LINE), events_cons(4), uut()]),
            lost(),
        ),
    ]);
}

#[test]
fn page_interrupts() {
    let enable = || IRQ_CTRL(0).with_priq_irqen(true).0;
    let on = || vec![reg(Page0::IRQ_CTRL, enable()), ack(Page0::IRQ_CTRLACK, enable())];
    let with = |steps: Steps| all([enabled(), vec![reg(Page0::PRIQ_BASE, 2)], on(), steps]);
    let last_only = || reg(Page0::PRIQ_IRQ_CFG2, PRIQ_IRQ_CFG2(0).with_lo(true).0);
    let asked = |last| {
        let request = PageRequest::default().with_sid(PLAIN.into()).with_r(true).with_last(last);
        rec(Record::PageRequestWritten { smmu: 0, request })
    };
    let dropped = |last| {
        let request = PageRequest::default().with_sid(PLAIN.into()).with_r(true).with_last(last);
        rec(Record::PageRequestDropped { smmu: 0, request })
    };
    let paging = || {
        let cr0 = ENABLED.with_priqen(true).0;
        vec![reg(Page0::CR0, cr0), ack(Page0::CR0ACK, cr0)]
    };
    let overflowing = |steps: Steps| all([with(vec![last_only()]), paging(), steps]);
    let message = |addr| {
        vec![reg(Page0::PRIQ_IRQ_CFG0, PRIQ_IRQ_CFG0(0).with_addr(addr).0), reg(Page0::PRIQ_IRQ_CFG1, 78)]
    };
    let line = || raised(LINE + 2);
    let drained = |rd| rec(Record::SmmuRegister { smmu: 0, offset: 0x1_00cc, value: rd });
    let lost = || vec![(Kind::LostInterrupt, 0, None)];
    check(vec![
        ("wire", with(vec![asked(true), line()]), vec![]),
        ("none", with(vec![asked(true)]), lost()),
        ("that of the Event queue", with(vec![asked(true), raised(LINE)]), lost()),
        ("not enabled", all([enabled(), vec![asked(true)]]), vec![]),
        ("disabled meanwhile", with(vec![asked(true), reg(Page0::IRQ_CTRL, 0)]), vec![]),
        ("second request", with(vec![asked(true), line(), asked(true)]), vec![]),
        ("caught up", with(vec![asked(true), line(), drained(1), asked(true)]), lost()),
        ("not the last of its group", with(vec![last_only(), asked(false)]), vec![]),
        ("the last of its group", with(vec![last_only(), asked(false), asked(true)]), lost()),
        ("the last of a group is dropped", overflowing(vec![dropped(false), dropped(true)]), lost()),
        ("dropped and said so", overflowing(vec![dropped(true), line()]), vec![]),
        ("not the last of a group is dropped", overflowing(vec![dropped(false)]), vec![]),
        ("dropped without LO", all([with(vec![]), paging(), vec![dropped(true)]]), vec![]),
        ("dropped by a queue that is off", with(vec![last_only(), dropped(true)]), vec![]),
        (
            "dropped by a queue that has failed",
            overflowing(vec![failed(GlobalError::PRIQ_ABT_ERR), dropped(true)]),
            vec![],
        ),
        (
            "dropped in Service Failure Mode",
            overflowing(vec![failed(GlobalError::SFM_ERR), dropped(true)]),
            vec![],
        ),
        (
            "a write that fails before the overflow shows",
            overflowing(vec![dropped(true), failed(GlobalError::PRIQ_ABT_ERR)]),
            vec![],
        ),
        ("message", all([message(0x8000), with(vec![asked(true), raised(78)])]), vec![]),
        ("wire instead of message", all([message(0x8000), with(vec![asked(true), line()])]), lost()),
        (
            "message to memory",
            all([message(0x8000), with(vec![asked(true), store(Requester::Psmmu(0), 0x8000, &[78])])]),
            vec![],
        ),
        (
            "message beyond the output addresses",
            all([
                message(1 << 54 | 0x8000),
                with(vec![asked(true), store(Requester::Psmmu(0), 0x8000, &[78])]),
            ]),
            vec![],
        ),
        (
            "aborted message",
            all([message(0x8000), with(vec![asked(true), failed(GlobalError::MSI_PRIQ_ABT_ERR)])]),
            vec![],
        ),
    ]);
}

#[test]
fn events_that_are_due() {
    const NOBODY: u32 = 100;
    let (bad, uut) = (EventNumber::C_BAD_STREAMID, EventNumber::F_UUT);
    let abort = || aborted(NOBODY, Some(bad));
    let lost = || vec![(Kind::LostEvent, 0, Some(NOBODY))];
    let with = |steps| all([enabled(), steps]);
    let seen = EVENTQ_CONS(0).with_ovackflg(true).0;
    check(vec![
        ("written", with(vec![abort(), event(bad, NOBODY)]), vec![]),
        ("never written", with(vec![abort()]), lost()),
        ("dropped", with(vec![abort(), dropped(bad, NOBODY)]), vec![]),
        ("overflowing", with(vec![dropped(uut, PLAIN), abort()]), vec![]),
        ("overflow seen", with(vec![dropped(uut, PLAIN), events_cons(seen), abort()]), lost()),
        ("overflow not seen", with(vec![dropped(uut, PLAIN), events_cons(0), abort()]), vec![]),
        (
            "no overflow but a failed queue",
            with(vec![failed(GlobalError::EVENTQ_ABT_ERR), dropped(uut, PLAIN), abort()]),
            lost(),
        ),
        ("on its way off", with(vec![reg(Page0::CR0, ENABLED.with_eventqen(false).0), abort()]), vec![]),
    ]);
}

#[test]
fn commands_count_for_whoever_queued_them() {
    let cfgi = Command::cfgi_ste;
    let close = || ste(PLAIN, Ste::default().with_v(true));
    let pass = || dma(PLAIN, IOVA, IOVA);
    let stale = || vec![(Kind::StaleUse, 0, Some(PLAIN))];
    let vcmdq = |vintf| CommandQueue::Vcmdq { queue: 3, vintf, logical: 0 };
    // On smmu1: what it executes is no business of smmu0, unless a guest queued it.
    let elsewhere = |vintf, command: Command| {
        let executed = command.with_sid(0x33);
        rec(Record::CommandConsumed { smmu: 1, queue: vcmdq(vintf), index: 0, raw: command, executed })
    };
    let behind = || call(|judge, now| judge.device_behind(now, 0, 0, PLAIN, VSID, 1));
    let owned = || call(|judge, _| judge.vintf_owner(1, 2, Some(0)));
    let trapped = |commands: [Command; 2]| -> Steps {
        let taken = |(index, raw)| note(Note::GuestCommandConsumed { vsmmu: 0, index, raw });
        (0..).zip(commands).map(taken).collect()
    };
    let (mine, guests) = ([cfgi(PLAIN, true), Command::sync()], [cfgi(VSID, true), Command::sync()]);
    let with = |steps: Steps| all([enabled(), steps, vec![pass()]]);
    let produced = |prod| reg(Page0::CMDQ_PROD, prod);
    check(vec![
        ("own queue", with(all([vec![close()], main_queue(&mine)])), stale()),
        ("without CMD_SYNC", with(all([vec![close()], main_queue(&mine[..1])])), vec![]),
        ("before the change", with(all([main_queue(&mine), vec![close()]])), vec![]),
        ("handed over before the change", with(all([vec![produced(2), close()], main_queue(&mine)])), vec![]),
        ("handed over after it", with(all([vec![close(), produced(2)], main_queue(&mine)])), stale()),
        (
            "handed over before it, and forgotten",
            with(all([
                vec![produced(2), reg(Page0::CR0, ENABLED.with_cmdqen(false).0), reg(Page0::CMDQ_PROD, 0)],
                vec![reg(Page0::CR0, ENABLED.0), close(), produced(2)],
                main_queue(&mine),
            ])),
            stale(),
        ),
        (
            "the host's VCMDQ",
            with(vec![close(), consumed(vcmdq(0), 0, mine[0]), consumed(vcmdq(0), 1, mine[1])]),
            stale(),
        ),
        (
            "two queues",
            with(vec![close(), consumed(vcmdq(0), 0, mine[0]), consumed(CommandQueue::Main, 0, mine[1])]),
            vec![],
        ),
        ("another SMMU", with(vec![close(), elsewhere(0, mine[0]), elsewhere(0, mine[1])]), vec![]),
        (
            "a guest's VCMDQ of another SMMU",
            with(vec![behind(), owned(), close(), elsewhere(2, guests[0]), elsewhere(2, guests[1])]),
            stale(),
        ),
        (
            "a VINTF that nobody owns",
            with(vec![behind(), close(), elsewhere(2, guests[0]), elsewhere(2, guests[1])]),
            vec![],
        ),
        (
            "a VINTF given back",
            with(vec![
                behind(),
                owned(),
                call(|judge, _| judge.vintf_owner(1, 2, None)),
                close(),
                elsewhere(2, guests[0]),
                elsewhere(2, guests[1]),
            ]),
            vec![],
        ),
        ("a trapped queue", with(all([vec![behind(), close()], trapped(guests)])), stale()),
        (
            "a device that has left",
            with(all([
                vec![behind(), call(|judge, now| judge.device_gone(now, 0, 0, PLAIN)), close()],
                trapped(guests),
            ])),
            vec![],
        ),
    ]);
}

#[test]
fn a_vcmdq_hands_over_with_prod() {
    let write = |name: &str, value| {
        let offset = name.parse::<Place>().unwrap().offset().unwrap() as u32;
        rec(Record::CmdqvRegister { smmu: 0, offset, value })
    };
    let given = CMDQ_ALLOC(0).with_vintf(2).with_lvcmdq(0).with_allocated(true).0;
    let setup = || {
        vec![
            call(|judge, now| judge.device_behind(now, 0, 0, PLAIN, VSID, 1)),
            call(|judge, _| judge.vintf_owner(0, 2, Some(0))),
            write("CMDQ_ALLOC3", given),
            write("VCMDQ3.BASE", 4),
            write("VCMDQ3.CONFIG", 1),
        ]
    };
    let queue = CommandQueue::Vcmdq { queue: 3, vintf: 2, logical: 0 };
    let taken = || {
        vec![
            consumed(queue, 0, Command::cfgi_ste(VSID, true)),
            consumed(queue, 1, Command::sync()),
            dma(PLAIN, IOVA, IOVA),
        ]
    };
    let close = || ste(PLAIN, Ste::default().with_v(true));
    let prod = || write("VINTF2.LVCMDQ0.PROD", 2);
    check(vec![
        ("before the change", all([enabled(), setup(), vec![prod(), close()], taken()]), vec![]),
        (
            "after the change",
            all([enabled(), setup(), vec![close(), prod()], taken()]),
            vec![(Kind::StaleUse, 0, Some(PLAIN))],
        ),
    ]);
}

#[test]
fn the_script_retires() {
    let page = |pa| {
        let leaf =
            Leaf1([0]).with_valid(true).with_page(true).with_ap(1).with_sh(3).with_af(true).with_ng(true);
        store(Requester::Cpu(0), TABLES[2] + (IOVA >> 12 & 511) * 8, &leaf.with_oa(pa).0)
    };
    let table = |level: usize, shift: u64| {
        let entry = Table([3]).with_next4k(TABLES[level + 1]).0;
        store(Requester::Cpu(0), TABLES[level] + (IOVA >> shift & 511) * 8, &entry)
    };
    let cd =
        Cd::default().with_v(true).with_aa64(true).with_t0sz(25).with_ips(5).with_epd1(true).with_asid(7);
    let cd = cd.with_a(true).with_r(true).with_ttb0(TABLES[0]);
    let setup = || {
        let ste_ = Ste::default().with_v(true).with_config(config::S1).with_s1contextptr(CD);
        let built = vec![
            store(Requester::Cpu(0), CD, &cd.0),
            ste(MAPPED, ste_),
            table(0, 30),
            table(1, 21),
            page(0x8_0000),
            call(|judge, now| judge.device_behind(now, judge.script(), 0, MAPPED, MAPPED, 0)),
            dma(MAPPED, IOVA, 0x8_0000),
            page(0x9_0000),
        ];
        all([enabled(), built])
    };
    let retired = |asid, iova, len| {
        let claim = call(move |judge, now| judge.retire(now, asid, iova, len));
        all([setup(), vec![claim, dma(MAPPED, IOVA, 0x8_0000)]])
    };
    let stale = || vec![(Kind::StaleUse, 0, Some(MAPPED))];
    check(vec![
        ("nothing", all([setup(), vec![dma(MAPPED, IOVA, 0x8_0000)]]), vec![]),
        ("the page", retired(7, IOVA, 0x1000), stale()),
        ("a byte of it", retired(7, IOVA + 5, 1), stale()),
        ("another ASID", retired(8, IOVA, 0x1000), vec![]),
        ("the page before", retired(7, IOVA - 0x1000, 0x1000), vec![]),
        ("the page behind", retired(7, IOVA + 0x1000, 0x1000), vec![]),
        ("many pages", retired(7, 0, 0x8000_3000), stale()),
        ("many pages before", retired(7, IOVA - 123 * 0x1000, 123 * 0x1000), vec![]),
        ("the last of many", retired(7, IOVA - 122 * 0x1000, 123 * 0x1000), stale()),
    ]);
}

/// Memory that a kernel writes without a record.
#[derive(Debug, Default)]
struct Ram(Mutex<BTreeMap<u64, u64>>);

impl Ram {
    fn ste(&self, sid: u32, ste: Ste) {
        let words = (0..).zip(ste.0).map(|(i, word)| (STRTAB + 64 * u64::from(sid) + 8 * i, word));
        self.0.lock().unwrap().extend(words);
    }
}

impl Source for Ram {
    fn read(&self, addr: u64, words: &mut [u64]) -> bool {
        let held = self.0.lock().unwrap();
        for (i, word) in (0..).zip(words) {
            *word = held.get(&(addr + 8 * i)).copied().unwrap_or(0);
        }
        true
    }
}

#[test]
fn a_kernel_writes_in_silence() {
    let ram = Arc::new(Ram::default());
    let mut judge = Judge::watching(facts(), Config::of_host_time(), Arc::clone(&ram));
    let mut now = Time::ZERO;
    let mut play = |judge: &mut Judge, steps: Steps| {
        for step in steps {
            // Time of a host: coarse, and sometimes late.
            now += Time::ms(3);
            step(judge, now);
        }
    };
    let pass = || dma(PLAIN, IOVA, IOVA);
    let bypass = Ste::default().with_v(true).with_config(config::BYPASS);
    let close = Ste::default().with_v(true);
    let ring = |prod: u32, commands: [Command; 2]| -> Steps {
        let taken = commands.into_iter().zip(prod - 2..);
        let taken = taken.map(|(c, i)| consumed(CommandQueue::Main, i & 3, c));
        std::iter::once(reg(Page0::CMDQ_PROD, u64::from(prod))).chain(taken).collect()
    };
    let cfgi = [Command::cfgi_ste(PLAIN, true), Command::sync()];
    let enabled = || enabled().into_iter().take(7).collect::<Steps>();
    let nobody = || vec![aborted(100, Some(EventNumber::C_BAD_STREAMID))];

    ram.ste(PLAIN, bypass);
    play(&mut judge, all([enabled(), vec![pass()]]));
    ram.ste(PLAIN, close);
    play(&mut judge, vec![pass()]);
    assert_eq!(judge.findings_since(0), [], "a race");
    play(&mut judge, all([ring(2, cfgi), vec![aborted(PLAIN, None)]]));
    assert_eq!(judge.findings_since(0), [], "as the tables say");
    play(&mut judge, vec![pass()]);
    let [stale] = judge.findings_since(0) else { panic!("{:?}", judge.findings_since(0)) };
    assert_eq!((stale.kind, stale.sid), (Kind::StaleUse, Some(PLAIN)));
    assert!(stale.story[0].contains("software has changed the STE"), "{stale}");
    play(&mut judge, all([nobody(), vec![event(EventNumber::C_BAD_STREAMID, 100)]]));
    assert_eq!(judge.findings_since(1), []);

    let at = |ms: u64| Time::ms(1_000 + ms);
    play(&mut judge, vec![call(Judge::reset)]);
    ram.ste(PLAIN, bypass);
    play(&mut judge, all([vec![pass()], enabled(), vec![pass()]]));
    assert_eq!(judge.findings_since(1), [], "a new kernel, and nothing is cached");
    ram.ste(PLAIN, close);
    play(&mut judge, all([ring(2, cfgi), vec![pass()]]));
    let kinds = |judge: &Judge| judge.findings_since(1).iter().map(|f| f.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&judge), [Kind::StaleUse], "told again");
    // An event that does not come is missed at a doorbell, when the bound is over.
    play(&mut judge, nobody());
    assert_eq!(kinds(&judge).len(), 1);
    judge.record(at(2_000), &Record::SmmuRegister { smmu: 0, offset: Page0::CMDQ_PROD.offset(), value: 2 });
    assert_eq!(kinds(&judge), [Kind::StaleUse, Kind::LostEvent]);
    assert_eq!((judge.counters().undecided, judge.events().len()), (0, 1));

    // What hardware read in between, nobody else has seen.
    ram.ste(PLAIN, bypass);
    judge.table_read(at(2_001), STRTAB + 64 * u64::from(PLAIN), &bypass.0);
    ram.ste(PLAIN, close);
    dma(PLAIN, IOVA + 0x1000, IOVA + 0x1000)(&mut judge, at(2_002));
    assert_eq!(judge.finish(at(2_003)).len(), 3);
}

#[test]
fn memory_has_owners() {
    let assign = |vm| call(move |judge, now| judge.assign(now, 0, PLAIN, vm));
    let grant = || call(|judge, now| judge.grant(now, 0, IOVA..IOVA + 0x1000));
    let revoke = || call(|judge, now| judge.revoke(now, 0, IOVA..IOVA + 0x1000));
    let pass = || dma(PLAIN, IOVA, IOVA);
    let breach = || vec![(Kind::IsolationBreach, 0, Some(PLAIN))];
    check(vec![
        ("the host's", vec![pass()], vec![]),
        ("foreign", vec![assign(Some(0)), pass()], breach()),
        ("its own", vec![assign(Some(0)), dma(PLAIN, 0x1000, 0x1000)], vec![]),
        ("granted", vec![assign(Some(0)), grant(), pass()], vec![]),
        ("revoked", vec![assign(Some(0)), grant(), revoke(), pass()], breach()),
        ("the host's again", vec![assign(Some(0)), assign(None), pass()], vec![]),
    ]);
}

#[test]
fn instances_of_smmuv2_are_not_judged() {
    let (id, smmu, sid, ssid, iova, pa) = (1, 2, 1, None, 0x1000, 0x2000);
    let (len, write, translated, tlb_hit, begun) = (64, true, false, false, Time::ZERO);
    let (incoming, attributes) = (Incoming::DEFAULT, Attributes::COHERENT);
    let translated = Record::DmaTranslated {
        id,
        smmu,
        sid,
        ssid,
        iova,
        pa,
        len,
        write,
        incoming,
        attributes,
        translated,
        tlb_hit,
        begun,
    };
    assert_eq!(run([rec(translated)]), []);
}

#[test]
fn stories_name_people_and_places() {
    let domain = DomainId(4);
    let (by, iova, pa, len) = (Actor::Host, IOVA, IOVA, 0x1000);
    let what = Attachment::Domain(domain);
    let raw = Command::tlbi_nh_all(0);
    let steps = vec![
        call(|judge, now| judge.device_behind(now, 0, 0, PLAIN, VSID, 1)),
        call(|judge, _| judge.viommu(0, 20, 0)),
        call(|judge, _| judge.viommu(0, 21, 1)),
        note(Note::StreamAttached { by, smmu: 0, sid: PLAIN, what }),
        note(Note::Mapped { by, domain, iova, pa, len }),
        note(Note::Mapped { by: Actor::Vm(0), domain: DomainId(5), iova, pa, len }),
        note(Note::Unmapping { by, domain, iova, len }),
        note(Note::Routed { vsmmu: 0, raw, to: vec![21], not_to: vec![20] }),
        note(Note::Routed { vsmmu: 0, raw: Command::cfgi_ste(1, true), to: vec![21], not_to: vec![20] }),
        ste(PLAIN, Ste::default().with_v(true)),
    ];
    let commands = [Command::cfgi_ste(PLAIN, true), Command::sync()];
    let found = run(all([enabled(), steps, main_queue(&commands), vec![dma(PLAIN, IOVA, IOVA)]]));
    let story = found[0].story.join("\n");
    for (text, times) in [
        ("host maps nic's space iova 0x123000", 1),
        ("vm0 maps domain 5 iova 0x123000", 1),
        ("host unmaps nic's space iova 0x123000", 1),
        ("host sends an invalidation of vm0's vSMMU to smmu1", 2),
        ("host leaves out smmu0 for an invalidation of vm0's vSMMU", 1),
        ("cpu0 changes", 1),
    ] {
        assert_eq!(story.matches(text).count(), times, "{text}:\n{story}");
    }
}

#[test]
fn events_are_kept() {
    let record = EventRecord::new(EventNumber::F_TRANSLATION, 9);
    let mut judge = Judge::new(Facts { smmus: vec![SmmuFact::default()], ..Facts::default() });
    judge.record(Time::us(1), &Record::EventWritten { smmu: 0, record });
    let by = Actor::Vm(3);
    judge.note(Time::us(2), &Note::EventReported { by, smmu: 1, record });
    let seen = |time, by, smmu| SeenEvent { time, by, smmu, sid: 9, number: 0x10, record };
    assert_eq!(
        judge.events(),
        [seen(Time::us(1), Seer::Hardware, 0), seen(Time::us(2), Seer::Software(by), 1)]
    );
}
