//! What software and devices do, at random.

use proptest::prelude::*;
use proptest::sample::select;
use spec::smmu::descriptor::Leaf1;
use spec::smmu::{Opcode, PageRequest, command};

use super::super::*;
use super::optional::{Operation, QUEUES, ring};
use crate::cmdqv::{CmdqvConfig, Knobs, SwappedSlots, Vintfs};
use crate::dma::Incoming;
use crate::psmmu::{PsmmuFaults, Which, WhichCommands};
use crate::smmu::arbiter::Policy;
use crate::smmu::assoc::Shape;
use crate::smmu::pmcg::{self, Each, PmcgConfig};
use crate::smmu::{Attributes, CacheShape};

/// What happens next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A register of the SMMU is written.
    Register { offset: u64, wide: bool, value: u64 },
    /// A register of the CMDQV is written.
    CmdqvRegister { offset: u64, wide: bool, value: u64 },
    /// A register of the performance monitors is written.
    PmcgRegister { offset: u64, wide: bool, value: u64 },
    /// A counter is set up and started.
    Count { tcu: bool, counter: u8, event: u16, filter: Option<u32>, value: u32 },
    /// Everything is set up as a driver does, as far as registers let it.
    Boot { msi: bool },
    /// A VCMDQ is allocated to LVCMDQ 0 or 1 of a VINTF, set up and enabled.
    Open { vintf: u8, logical: u8, host: bool },
    /// Commands go to a queue: the main one, or a VCMDQ.
    Push { queue: Option<u8>, commands: Vec<Command> },
    /// A transaction of a device.
    Dma { sid: u32, ssid: Option<u32>, incoming: Incoming, addr: u64, access: Access },
    /// A page request of a device.
    PageRequest(PageRequest),
    /// Software goes on after errors, and drains the Event queue and the PRI queue.
    Acknowledge { queues: bool },
    /// A word of the tables changes.
    Poke { nth: usize, how: Poke },
    /// Memory aborts in one more line, or nowhere.
    Break { line: Option<usize> },
    /// Endpoints answer invalidations, or not.
    Answers(bool),
    /// CMD_RESUME or CMD_STALL_TERM for a stream that stalls.
    Resume { sid: u32, stag: u16, action: (bool, bool), all: bool },
    /// Commands go to an enhanced command queue; `open`: it is set up and enabled before.
    Enhanced { queue: u8, open: bool, commands: Vec<Command> },
    /// A register of an enhanced command queue is written.
    EnhancedRegister { queue: u8, offset: u64, wide: bool, value: u64 },
    /// Software asks where an address goes.
    Operation(Operation),
    /// Other faults.
    Faults(Box<PsmmuFaults>),
}

/// What a device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Reads within a line.
    Read(u8),
    /// Reads, across lines and pages.
    ReadLong(u16),
    /// Writes within a line.
    Write(u8),
    /// The address came from ATS; within a line.
    Translated { write: bool },
    /// None that the SMMU supports; within a line.
    Unsupported { write: bool, translated: bool },
    /// Asks for a translation.
    Request { write: bool },
}

/// How a word changes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Poke {
    Clear,
    Restore,
    Flip(u8),
}

/// Streams of the tables, and two that are not there.
pub(super) const SIDS: [u32; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 99];

fn sid() -> impl Strategy<Value = u32> {
    prop_oneof![6 => select(&[1_u32, 2, 3, 8, 9][..]), 1 => select(&SIDS[..])]
}

/// A page that is mapped or nearly so.
fn page() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0_u64..3, 3 => 0_u64..8, 1 => 0x200_u64..0x204, 1 => Just(0x4_0000)]
        .prop_map(|page| page << 12)
}

fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        16 => (page(), prop_oneof![2 => Just(0_u64), 1 => 0_u64..4096]).prop_map(|(page, offset)| page + offset),
        2 => (0_u64..0x8000).prop_map(|offset| PAGES + offset),
        1 => any::<u64>(),
    ]
}

fn one_command() -> impl Strategy<Value = Command> {
    let sid = sid();
    let op = select(
        &[
            Opcode::CFGI_STE,
            Opcode::CFGI_STE_RANGE,
            Opcode::CFGI_CD,
            Opcode::CFGI_CD_ALL,
            Opcode::TLBI_NH_ALL,
            Opcode::TLBI_NH_ASID,
            Opcode::TLBI_NH_VA,
            Opcode::TLBI_NH_VAA,
            Opcode::TLBI_S12_VMALL,
            Opcode::TLBI_S2_IPA,
            Opcode::TLBI_NSNH_ALL,
            Opcode::PREFETCH_CONFIG,
            Opcode::ATC_INV,
            Opcode::PRI_RESP,
        ][..],
    );
    let plain =
        (op, sid, 0_u64..4, 0_u64..8, page(), any::<bool>()).prop_map(|(op, sid, ssid, vmid, addr, leaf)| {
            let c = Command::new(op);
            match op {
                Opcode::CFGI_STE | Opcode::CFGI_CD_ALL | Opcode::PREFETCH_CONFIG => {
                    c.with_sid(sid.into()).with_leaf(leaf)
                }
                Opcode::CFGI_STE_RANGE => c.with_sid(sid.into()).with_range(if leaf { 31 } else { ssid }),
                Opcode::CFGI_CD => c.with_sid(sid.into()).with_ssid(ssid).with_leaf(leaf),
                Opcode::ATC_INV => Command::atc_inv(sid, None, addr, if leaf { 52 } else { ssid }),
                Opcode::PRI_RESP => Command::pri_resp(sid, leaf.then_some(ssid as u32), addr >> 12, vmid % 3),
                Opcode::TLBI_NH_VA | Opcode::TLBI_NH_VAA => {
                    c.with_vmid(vmid).with_asid(ssid).with_va(addr).with_leaf(leaf)
                }
                Opcode::TLBI_S2_IPA => c.with_vmid(vmid).with_ipa(addr).with_leaf(leaf),
                _ => c.with_vmid(vmid).with_asid(ssid),
            }
        });
    let sync = (0_u64..4, 0_u64..4, any::<u32>()).prop_map(|(cs, at, data)| {
        let cs = if cs == 3 { command::cs::SIG_NONE } else { cs };
        let c = Command::sync().with_cs(cs);
        if cs == command::cs::SIG_IRQ {
            Command::sync_msi(if at == 0 { 0 } else { DOORBELL + 8 * at }, data)
        } else {
            c
        }
    });
    let anything =
        (any::<u8>(), any::<[u64; 2]>()).prop_filter_map("stalls are resumed elsewhere", |(op, words)| {
            let command = Command([words[0] & !0xff | u64::from(op), words[1]]);
            // A message of CMD_SYNC could hit a ring that is being read.
            let excluded = [Opcode::RESUME, Opcode::STALL_TERM, Opcode::SYNC].contains(&command.op());
            (!excluded).then_some(command)
        });
    prop_oneof![24 => plain, 12 => sync, 1 => anything, 1 => Just(Command([0xff, 0]))]
}

/// One that a guest may send, mostly.
fn guest_command() -> impl Strategy<Value = Command> {
    let legal = (0_u8..8, page(), any::<u64>()).prop_map(|(n, addr, word)| match n {
        0 => Command::tlbi_nh_asid(1, word as u16),
        1 => Command::tlbi_nh_va(2, 3, addr, word & 1 == 0),
        2 => Command::tlbi_s12_vmall(4),
        3 => Command::tlbi_s2_ipa(word as u16, addr, true),
        // Slot 0 makes 3 of a guest the stream 2.
        4 | 5 => Command::atc_inv(3, None, addr, word & 3),
        _ => Command::sync(),
    });
    prop_oneof![30 => legal, 1 => one_command()]
}

/// Offsets that mean something in a block of 4 VINTFs and 8 VCMDQs.
fn cmdqv_offset() -> impl Strategy<Value = u64> {
    prop_oneof![
        2 => (0_u64..13).prop_map(|i| 4 * i),
        2 => (0_u64..9).prop_map(|q| 0x200 + 4 * q),
        3 => (0_u64..5, select(&[0_u64, 4, 0x40, 0x44, 0x80, 0x84, 0xc0, 0xc8][..])).prop_map(|(v, r)| 0x1000 + 0x100 * v + r),
        6 => (0_u64..9, 0_u64..7).prop_map(|(q, r)| 0x1_0000 + 0x80 * q + 4 * r),
        1 => (0_u64..9, 0_u64..2).prop_map(|(q, r)| 0x2_0000 + 0x80 * q + 4 * r),
        6 => (0_u64..4, 0_u64..3, 0_u64..7).prop_map(|(v, l, r)| 0x3_0000 + 0x2_0000 * v + 0x80 * l + 4 * r),
        1 => 0_u64..0x14_0000,
    ]
}

fn cmdqv_value() -> impl Strategy<Value = u64> {
    prop_oneof![
        0_u64..8,
        (0_u64..4, 0_u64..3).prop_map(|(v, l)| v << 15 | l << 1 | 1),
        (0_u64..4).prop_map(|n| 0x1_0000 * n + 3),
        select(&[0x12_0083_u64, 0x2_0082, 0x2_0083, 0x2_0003][..]),
    ]
}

/// Addresses are such that messages and records hit nothing that is read meanwhile.
fn register() -> impl Strategy<Value = Step> {
    let queue_base =
        |base: u64| (0_u64..3, 0_u64..5).prop_map(move |(page, log2)| (base + (page << 12)) | log2);
    let doorbell = (0_u64..4).prop_map(|n| if n == 0 { 0 } else { DOORBELL + 0x100 + 8 * n });
    let narrow = |offset: u64| move |value: u64| Step::Register { offset, wide: false, value };
    let wide = |offset: u64| move |value: u64| Step::Register { offset, wide: true, value };
    prop_oneof![
        4 => select(&[0xf_u64, 0xd, 0x1f, 0xe, 5, 9, 0, 0x1c3]).prop_map(narrow(CR0)),
        2 => (0_u64..8).prop_map(narrow(0x50)),
        1 => select(&[0x8010_0000_u64, 0x8000_0000, 0x10_0000]).prop_map(narrow(0x44)),
        1 => (0_u64..8).prop_map(narrow(0x2c)),
        2 => (0_u64..64).prop_map(narrow(CMDQ_PROD)),
        1 => (0_u64..64).prop_map(narrow(CMDQ_CONS)),
        1 => (0_u64..64).prop_map(narrow(EVENTQ_CONS)),
        1 => (0_u64..64).prop_map(narrow(EVENTQ_PROD)),
        1 => (0_u64..8, any::<bool>()).prop_map(|(rd, flag)| rd | u64::from(flag) << 31).prop_map(narrow(PRIQ_CONS)),
        1 => (0_u64..8).prop_map(narrow(PRIQ_PROD)),
        1 => any::<bool>().prop_map(|last_only| u64::from(last_only) << 31).prop_map(narrow(PRIQ_IRQ_CFG2)),
        2 => (0_u64..1024).prop_map(narrow(GERRORN)),
        1 => queue_base(COMMANDS).prop_map(wide(0x90)),
        1 => queue_base(EVENTS).prop_map(wide(0xa0)),
        1 => queue_base(PAGE_REQUESTS).prop_map(wide(PRIQ_BASE)),
        1 => (doorbell.clone(), select(&[0x68_u64, 0xb0, PRIQ_IRQ_CFG0])).prop_map(|(addr, offset)| Step::Register { offset, wide: true, value: addr }),
        1 => (0_u64..8).prop_map(narrow(0x88)),
        1 => (select(&[1_u64, 2, 4, 8]), 0_u64..0x1000, any::<u32>()).prop_map(|(align, offset, value)| {
            // Bases and doorbells are above.
            let offset = offset / align * align;
            let free = [0x28_u64, 0x2c, 0x44, 0x48, 0x50, 0x60, 0x64, 0x78, 0xb8, 0xbc, 0xd8, 0x110];
            let offset = if free.contains(&(offset & !7)) || offset > 0x200 { offset } else { 0x200 };
            Step::Register { offset, wide: align == 8, value: value.into() }
        }),
    ]
}

fn access() -> impl Strategy<Value = Access> {
    prop_oneof![
        6 => (1_u8..=64).prop_map(Access::Read),
        1 => (1_u16..0x3000).prop_map(Access::ReadLong),
        4 => (1_u8..=64).prop_map(Access::Write),
        1 => any::<bool>().prop_map(|write| Access::Translated { write }),
        1 => any::<(bool, bool)>().prop_map(|(write, translated)| Access::Unsupported { write, translated }),
        2 => any::<bool>().prop_map(|write| Access::Request { write }),
    ]
}

/// Of coherent memory, mostly; instructions are seldom permitted.
fn incoming() -> impl Strategy<Value = Incoming> {
    let memory = (any::<u8>(), 0_u64..4)
        .prop_map(|(mair, sh)| Attributes::stage1(Leaf1::default().with_sh(sh), mair.into()));
    let memory = prop_oneof![3 => Just(Attributes::COHERENT), 1 => memory];
    (prop::bool::weighted(0.3), prop::bool::weighted(0.1), memory)
        .prop_map(|(privileged, instruction, memory)| Incoming { privileged, instruction, memory })
}

fn page_request() -> impl Strategy<Value = PageRequest> {
    let flags = (prop::bool::weighted(0.7), any::<(bool, bool, bool, bool)>());
    (sid(), prop::option::weighted(0.5, 0_u64..5), flags, 0_u64..8, page()).prop_map(
        |(sid, ssid, (last, (r, w, x, privileged)), group, addr)| {
            let request = PageRequest::default().with_sid(sid.into()).with_ssv(ssid.is_some());
            let request = request.with_ssid(ssid.unwrap_or(0)).with_prgindex(group).with_addr(addr);
            request.with_last(last).with_r(r).with_w(w).with_x(x).with_priv_(privileged)
        },
    )
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![
        3 => Just(Which::Never),
        1 => (1_u64..6).prop_map(Which::Nth),
        1 => (1_u64..6, 1_u64..4).prop_map(|(n, times)| Which::Range(n, times)),
    ]
}

fn which_commands() -> impl Strategy<Value = WhichCommands> {
    let opcodes = [Opcode::CFGI_STE, Opcode::CFGI_CD, Opcode::TLBI_NH_VA, Opcode::SYNC];
    let opcode = prop::option::weighted(0.2, select(opcodes.to_vec()));
    (which(), prop::option::weighted(0.3, 0_u8..4), opcode).prop_map(|(which, vintf, opcode)| WhichCommands {
        which,
        vintf,
        opcode,
    })
}

fn vintfs() -> impl Strategy<Value = Vintfs> {
    prop_oneof![8 => Just(Vintfs::None), 1 => Just(Vintfs::All), 1 => (0_u8..4).prop_map(Vintfs::One)]
}

/// Faults of a CMDQV, except a VINTF that is stuck: with time it asks again and again.
fn cmdqv_faults() -> impl Strategy<Value = PsmmuFaults> {
    let swapped = (0_u8..4).prop_map(|vintf| SwappedSlots { vintf, slots: (0, 1) });
    (vintfs(), vintfs(), prop::option::weighted(0.1, swapped)).prop_map(
        |(keep_guest_vmid, keep_guest_sid, swapped_sid_slots)| PsmmuFaults {
            swapped_sid_slots,
            keep_guest_vmid,
            keep_guest_sid,
            ..PsmmuFaults::default()
        },
    )
}

/// Faults whose occurrences do not depend on when things happen.
fn faults() -> impl Strategy<Value = PsmmuFaults> {
    let commands = (which_commands(), which_commands(), damage(), failure());
    let others = (which(), which(), which(), which(), prop::bool::weighted(0.05));
    (commands, others, cmdqv_faults()).prop_map(|(commands, others, of_cmdqv)| {
        let (drop_tlbi, drop_cfgi, corrupt_command, fail) = commands;
        let (lose_event, lose_interrupt, lose_atc_invalidation, abort_read, stalled) = others;
        PsmmuFaults {
            drop_tlbi,
            drop_cfgi,
            lose_event,
            lose_interrupt,
            lose_atc_invalidation,
            abort_read,
            corrupt_command,
            fail,
            stalled,
            ..of_cmdqv
        }
    })
}

/// A command that arrives damaged stops its queue, so there are few.
fn damage() -> impl Strategy<Value = WhichCommands> {
    prop_oneof![9 => Just(WhichCommands::default()), 1 => which_commands()]
}

/// Nothing happens any more after it.
fn failure() -> impl Strategy<Value = Which> {
    prop_oneof![49 => Just(Which::Never), 1 => (1..100_u64).prop_map(Which::Nth)]
}

/// Not an event of time, and no counter's type or value: those are [`Step::Count`]'s.
fn pmcg_register() -> impl Strategy<Value = Step> {
    let places =
        [0xa00_u64, 0xc00, 0xc20, 0xc40, 0xc60, 0xe04, 0xe50, 0x1_0600, 0x1_0c80, 0x1_0cc0, 0x1_0d88];
    (any::<bool>(), select(places.to_vec()), any::<bool>(), 0_u64..0x100).prop_map(
        |(tcu, at, wide, value)| {
            let offset = if tcu { at } else { 2 * pmcg::STRIDE + at };
            // Two registers at once would be EVTYPER's neighbours only.
            Step::PmcgRegister { offset, wide: wide && at & 7 == 0 && at != 0xe50, value }
        },
    )
}

fn count() -> impl Strategy<Value = Step> {
    let events =
        [1_u16, 1, 2, 3, 4, 4, 5, 6, 7, 8, 0x80, 0x81, 0x83, 0x84, 0x88, 0x8c, 0x8d, 0x92, 0x94, 0xffff];
    let filter = prop::option::weighted(0.4, sid());
    let value = prop_oneof![1 => Just(0_u32), 2 => (0_u32..8).prop_map(|n| u32::MAX - n)];
    (any::<bool>(), 0_u8..8, select(events.to_vec()), filter, value)
        .prop_map(|(tcu, counter, event, filter, value)| Step::Count { tcu, counter, event, filter, value })
}

fn enhanced() -> impl Strategy<Value = Step> {
    let bits = (any::<bool>(), any::<bool>(), 0_u64..40)
        .prop_map(|(en, err, index)| u64::from(en) << 31 | u64::from(err) << 23 | index);
    let queue = prop_oneof![8 => select(&[0_u8, 6]), 1 => 0..QUEUES];
    prop_oneof![
        10 => (queue.clone(), prop::bool::weighted(0.4), prop::collection::vec(one_command(), 1..18))
            .prop_map(|(queue, open, commands)| Step::Enhanced { queue, open, commands }),
        1 => (queue.clone(), select(&[8_u64, 0xc]), any::<bool>(), bits)
            .prop_map(|(queue, offset, wide, value)| Step::EnhancedRegister { queue, offset, wide, value }),
        1 => (queue, 0_u64..6).prop_map(|(queue, log2)| {
            Step::EnhancedRegister { queue, offset: 0, wide: true, value: ring(queue) | log2 }
        }),
    ]
}

fn operation() -> impl Strategy<Value = Step> {
    // HTTUI, InD, RnW, PnU; instructions are seldom permitted.
    let flags = (any::<[bool; 3]>(), prop::bool::weighted(0.1)).prop_map(|([httui, rnw, pnu], ind)| {
        u64::from(httui) << 6 | u64::from(ind) << 7 | u64::from(rnw) << 8 | u64::from(pnu) << 9
    });
    let kind = prop_oneof![3 => Just(None), 1 => (0_u64..4).prop_map(Some)];
    (prop::bool::weighted(0.2), sid(), prop::option::weighted(0.1, 0_u32..5), page(), flags, kind, 4_u32..9)
        .prop_map(|(virt, sid, ssid, addr, flags, kind, vmid)| {
            // What the stream has; of a nested one whatever an unrelated number says.
            let kind = kind.unwrap_or(match sid {
                2 | 9 => 2,
                3 | 10 if vmid & 1 == 0 => 3,
                3 | 10 if vmid == 5 => 2,
                _ => 1,
            });
            let nested = matches!(sid, 3 | 10);
            let addr = if kind == 2 && nested { addr + 0x1000_0000 } else { addr };
            Step::Operation(Operation { virt, sid, ssid, addr: addr | kind << 10 | flags, vmid })
        })
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let queue = prop_oneof![2 => Just(None), 5 => (0_u8..8).prop_map(Some)];
    prop_oneof![
        3 => register(),
        2 => (cmdqv_offset(), any::<bool>(), cmdqv_value())
            .prop_map(|(offset, wide, value)| Step::CmdqvRegister { offset, wide, value }),
        1 => any::<bool>().prop_map(|msi| Step::Boot { msi }),
        8 => (0_u8..4, 0_u8..2, prop::bool::weighted(0.3))
            .prop_map(|(vintf, logical, host)| Step::Open { vintf, logical, host }),
        6 => (queue.clone(), prop::collection::vec(one_command(), 1..10))
            .prop_map(|(queue, commands)| Step::Push { queue, commands }),
        6 => (queue, prop::collection::vec(guest_command(), 1..10))
            .prop_map(|(queue, commands)| Step::Push { queue, commands }),
        52 => (sid(), prop::option::weighted(0.15, 0_u32..5), incoming(), address(), access())
            .prop_map(|(sid, ssid, incoming, addr, access)| Step::Dma { sid, ssid, incoming, addr, access }),
        8 => page_request().prop_map(Step::PageRequest),
        4 => any::<bool>().prop_map(|queues| Step::Acknowledge { queues }),
        5 => (any::<usize>(), prop_oneof![
            1 => Just(Poke::Clear),
            3 => Just(Poke::Restore),
            1 => (0_u8..64).prop_map(Poke::Flip),
        ]).prop_map(|(nth, how)| Step::Poke { nth, how }),
        2 => prop::option::weighted(0.4, any::<usize>()).prop_map(|line| Step::Break { line }),
        1 => any::<bool>().prop_map(Step::Answers),
        3 => (select(&[8_u32, 9]), 0_u16..3, any::<(bool, bool)>(), prop::bool::weighted(0.2))
            .prop_map(|(sid, stag, action, all)| Step::Resume { sid, stag, action, all }),
        5 => enhanced(),
        4 => operation(),
        1 => faults().prop_map(|faults| Step::Faults(Box::new(faults))),
        1 => pmcg_register(),
        5 => count(),
    ]
}

fn cmdqv() -> impl Strategy<Value = CmdqvConfig> {
    // Each option is changed or not.
    let options = prop::collection::vec((prop::bool::weighted(0.4), any::<usize>()), Knobs::TABLE.len());
    let arbitration = select(&[Policy::RoundRobin, Policy::MainFirst, Policy::OldestFirst]);
    (options, arbitration, 1_u8..5, 0_u16..5).prop_map(|(options, arbitration, burst, extra)| {
        let mut knobs = Knobs::default();
        for (knob, (_, nth)) in Knobs::TABLE.iter().zip(options).filter(|(_, (changed, _))| *changed) {
            let value = knob.values[nth % knob.values.len()];
            knobs.set(knob.name, value.name).expect("it is from the table");
        }
        let prefetch = u16::from(burst) + extra;
        CmdqvConfig {
            vintfs_log2: 2,
            vcmdqs_log2: 3,
            sids_log2: 1,
            burst,
            prefetch,
            arbitration,
            knobs,
            ..CmdqvConfig::default()
        }
    })
}

/// What all configurations have in common; without CMDQV or faults.
pub(super) fn machine() -> PsmmuConfig {
    let mut config = PsmmuConfig::new(0, BASE);
    config.lines = lines();
    config.idr = IdrProfile::STALLING;
    config.cmdqv_line = Some(90);
    config.timing.atc_timeout = Time::us(20);
    config
}

/// Performance monitors with interrupts.
pub(super) fn monitors() -> PmcgConfig {
    PmcgConfig { lines: Each { tcu: Some(91), tbu: Some(92) }, ..PmcgConfig::mmu_700(PMCG) }
}

pub(super) fn config() -> impl Strategy<Value = PsmmuConfig> {
    let small = CacheShape {
        micro: 3,
        main: Shape::new(8, 2),
        ipa: Shape::new(4, 2),
        streams: Shape::new(2, 1),
        contexts: Shape::new(2, 1),
        walk: [[Shape::new(2, 1); 3]; 2],
    };
    let caches = select(vec![CacheShape::default(), small, CacheShape::NONE]);
    let updating = IdrProfile { idr0: IdrProfile::STALLING.idr0 | 2 << 6, ..IdrProfile::STALLING };
    let idr = select(vec![IdrProfile::STALLING, updating, IdrProfile::OPTIONAL]);
    let parts = (caches, prop::option::weighted(0.8, cmdqv()), faults(), idr, prop::bool::weighted(0.35));
    parts.prop_map(|(caches, cmdqv, faults, idr, monitored)| {
        let cmdqv = cmdqv.map(|cmdqv| (CMDQV, cmdqv));
        PsmmuConfig { caches, faults, idr, cmdqv, pmcg: monitored.then(monitors), ..machine() }
    })
}
