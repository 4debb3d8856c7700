//! What software does that real hardware may punish and this model lets through: one table, and functions that find it.
//!
//! Where the architecture leaves several behaviours open it says CONSTRAINED UNPREDICTABLE; values that it reserves mean something in
//! this version of it that software must not rely on. Either way observers are told ([`crate::record::Record::Lint`]), with
//! what this model makes of it. What the architecture defines as an error is none of this: it ends in an event or a CERROR.
//! `docs/lints.md` is generated from the table.

use std::fmt;

use spec::layout::Layout;
use spec::regs::{FieldDesc, mask};
use spec::smmu::page0::{CMDQ_BASE, CR0, CR1, EVENTQ_BASE, GBPA, PRIQ_BASE};
use spec::smmu::ste::config;
use spec::smmu::{Cd, Command, EventRecord, L1Std, Opcode, PageRequest, Ste, command};

use super::config::{Tables, context_bits, context_split, walks_disabled};
use super::config_cache::ConfigCache;
use super::control::Control;
use super::features::Features;
use super::granule::{Granule, low_mask};
use super::registers::COMMAND_LOG2;
use super::scope::World;

/// What the architecture says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of several behaviours, none of which software can rely on.
    Unpredictable,
    /// A value or bit that is reserved, and has a meaning for now.
    Reserved,
    /// Has no effect since SMMUv3.2, and one of several before.
    Ignored,
}

impl Kind {
    /// How a message begins.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unpredictable => "CONSTRAINED UNPREDICTABLE",
            Self::Reserved => "RESERVED",
            Self::Ignored => "IGNORED SINCE SMMUv3.2",
        }
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name for ever.
    pub id: &'static str,
    /// Where IHI 0070 says so.
    pub section: &'static str,
    /// What it says.
    pub kind: Kind,
    /// What software did.
    pub what: &'static str,
    /// What this model does then.
    pub does: &'static str,
}

macro_rules! lints {
    ($($name:ident $id:literal $section:literal $kind:ident $what:literal => $does:literal;)+) => {
        /// Something that software did.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Lint {
            $(#[doc = $what] $name,)+
        }

        /// All rows, in the order of [`Lint`].
        pub const ROWS: &[Row] = &[
            $(Row { id: $id, section: $section, kind: Kind::$kind, what: $what, does: $does },)+
        ];

        const ALL: &[Lint] = &[$(Lint::$name,)+];
    };
}

lints! {
    AccessSize "R01" "6.2" Unpredictable
        "a register access of a size other than 4 or 8 bytes, or not aligned to its size" => "reads zero and ignores writes";
    TwoRegisters "R02" "6.2" Unpredictable
        "a 64-bit access to two 32-bit registers" => "makes two accesses, the lower register first";
    Page1Hole "R03" "6.2" Unpredictable "an access to page 1 where it has no register" => "takes it for RES0";
    Page0Alias "R04" "6.2" Unpredictable
        "an access to EVENTQ_PROD, EVENTQ_CONS, PRIQ_PROD or PRIQ_CONS in page 0" => "reaches the register in page 1";
    ReadOnly "R05" "6.3" Reserved "a write that would change a read-only register" => "ignores it";
    ReservedBits "R06" "6.2" Reserved "a write of ones to bits of a register that are RES0" => "ignores them";
    Cr0Again "R07" "6.3.9" Unpredictable
        "a field of CR0 changed again while its Update is under way" => "keeps the first value and completes with it";
    IrqCtrlAgain "R08" "6.3.17" Unpredictable
        "a field of IRQ_CTRL changed again while its Update is under way" => "keeps the first value and completes with it";
    ReservedVmw "R09" "6.3.9" Reserved "CR0.VMW above 4" => "takes it for 0";
    TablesEnabled "R10" "6.3.24" Ignored
        "CR1.TABLE_*, CR2, STRTAB_BASE or STRTAB_BASE_CFG changed while SMMUEN is 1 or in transition" => "ignores it";
    QueuesEnabled "R11" "6.3.11" Ignored "CR1.QUEUE_* changed while a queue is enabled or in transition" => "ignores it";
    CommandsEnabled "R12" "6.3.26" Ignored
        "CMDQ_BASE or CMDQ_CONS changed while CMDQEN is 1 or in transition" => "ignores it";
    OutputEnabled "R13" "6.3.29" Ignored
        "the base or PROD of an output queue changed while the queue is enabled or in transition" => "ignores it";
    InterruptEnabled "R14" "6.3.21" Ignored
        "the configuration of an interrupt changed while the interrupt is enabled or in transition" => "ignores it";
    GbpaAgain "R15" "6.3.14" Ignored "GBPA or AGBPA written while an Update of GBPA is under way" => "ignores it";
    GbpaWithoutUpdate "R16" "6.3.14" Ignored "GBPA written without Update" => "ignores it";
    ReservedOverride "R29" "6.3.14" Reserved
        "GBPA updated with INSTCFG or PRIVCFG reserved" => "takes it for 0";
    ErrorToggled "R17" "6.3.20" Unpredictable
        "GERRORN toggled where no error is active" => "shows an active error, which stops the queue if it is CMDQ_ERR";
    ReservedAttributes "R18" "6.3.11" Reserved
        "SMMUEN set or a queue enabled with reserved values in CR1" => "sends its own accesses without attributes";
    StreamTableAlign "R19" "6.3.24" Reserved
        "SMMUEN set with STRTAB_BASE not aligned to the table" => "aligns it downwards";
    StreamTableReach "R20" "6.3.24" Reserved
        "SMMUEN set with STRTAB_BASE beyond the output address size" => "records F_STE_FETCH";
    StreamTableSize "R21" "6.3.25" Reserved
        "SMMUEN set with STRTAB_BASE_CFG.LOG2SIZE above IDR1.SIDSIZE" => "takes it for SIDSIZE, but aligns the table as written";
    StreamTableFormat "R22" "6.3.25" Reserved
        "SMMUEN set with STRTAB_BASE_CFG.FMT reserved or not implemented" => "takes the table for a linear one";
    StreamTableSplit "R23" "6.3.25" Reserved
        "SMMUEN set with STRTAB_BASE_CFG.SPLIT other than 6, 8 or 10 in a 2-level table" => "takes it for 6";
    QueueAlign "R24" "6.3.26" Reserved "a queue enabled with a base not aligned to its size" => "aligns it downwards";
    QueueReach "R25" "6.3.26" Reserved
        "a queue enabled with a base beyond the output address size" => "accesses the address without the bits beyond";
    QueueSize "R26" "6.3.26" Reserved
        "a queue enabled with LOG2SIZE above IDR1.CMDQS, EVENTQS or PRIQS" => "caps it there";
    CommandIndices "R27" "3.5.1" Unpredictable
        "CMDQ_PROD and CMDQ_CONS in an inconsistent state in an enabled queue" => "consumes nothing until they are consistent";
    OutputIndices "R28" "3.5.1" Unpredictable
        "PROD and CONS of an enabled output queue in an inconsistent state" => "takes the queue for full";
    EnhancedEnabled "R30" "6.3.107" Ignored
        "ECMDQ_BASE or ECMDQ_CONS changed while the queue is enabled, or any register of a queue in transition" => "ignores it";
    EnhancedIndices "R31" "3.5.1" Unpredictable
        "ECMDQ_PROD and ECMDQ_CONS in an inconsistent state in an enabled queue" => "consumes nothing until they are consistent";
    EnhancedErrack "R32" "3.5.6.3" Unpredictable
        "ECMDQ_PROD.ERRACK made different from ECMDQ_CONS.ERR where no error is active" => "stops the queue";
    OperationRuns "R33" "6.3.37" Ignored
        "a register of an ATOS group changed while RUN is 1, or RUN written while SMMUEN is not 1" => "ignores it";
    CommandsBack "R34" "3.21.2" Unpredictable
        "CMDQ_PROD or ECMDQ_PROD of an enabled queue moved backwards" => "forgets the commands in between, unless it has read them";
    OutputBack "R35" "3.21.2" Unpredictable
        "CONS of an enabled output queue moved backwards" => "keeps room for the entries in between";
    OperationCut "R36" "6.3.37" Unpredictable
        "SMMUEN cleared while an ATOS operation runs" => "completes the operation first";
    NotInvalidated "R37" "3.11" Unpredictable
        "SMMUEN set after a reset without CFGI_ALL and TLBI_NSNH_ALL" => "has empty caches after a reset";
    AtschkChanged "R38" "5.2" Unpredictable
        "CR0.ATSCHK changed while an STE with EATS=2 is in use" => "judges the stream by the new value at once";

    CommandReserved "C01" "4.1.5" Unpredictable
        "a command with ones in reserved fields" => "ignores these fields";
    CommandStream "C02" "4.1.7" Unpredictable
        "a command for a StreamID beyond IDR1.SIDSIZE" => "finds nothing of such a stream";
    CommandSubstream "C03" "4.1.7" Unpredictable
        "a command for a SubstreamID beyond IDR1.SSIDSIZE" => "finds nothing of such a substream";
    CommandAsid "C04" "4.4" Unpredictable
        "a TLBI for an ASID above 255 where ASIDs have 8 bits" => "finds no entry with such an ASID";
    CommandVmid "C05" "4.4" Unpredictable
        "a TLBI for a VMID above 255 where VMIDs have 8 bits" => "finds no entry with such a VMID";
    RangeAlign "C06" "4.4.1" Unpredictable
        "a range TLBI whose address is not aligned to its granule, or to a block of the level that TTL says" => "invalidates the range as it is written";
    RangeLevel "C07" "4.4.1" Reserved "a range TLBI of 16KB granules with TTL 1" => "takes TTL for 0";
    UnknownE2h "C08" "6.3.12.3" Unpredictable
        "a TLBI_EL2_VA, TLBI_EL2_VAA or TLBI_EL2_ASID after a change of CR2.E2H, before SMMUEN was set" => "goes by the new value";
    StallTermActive "C09" "4.7.2" Unpredictable
        "a STALL_TERM for a stream whose STE does not abort" => "aborts what is stalled at that time";
    PrefetchSubstream "C10" "4.2" Unpredictable
        "a prefetch with a SubstreamID for a stream without substreams" => "ignores prefetches";

    StreamArrayAlign "S01" "5.1" Reserved
        "an L1STD whose L2Ptr is not aligned to the array that Span says" => "aligns it downwards";
    StreamArraySpan "S02" "5.1" Reserved
        "an L1STD with Span reserved or beyond SPLIT" => "has no STEs there";
    StreamArrayReach "S17" "3.4.3" Unpredictable
        "an L1STD whose L2Ptr lies beyond the output address size" => "records F_STE_FETCH";
    SteReservedConfig "S03" "5.2" Reserved
        "an STE with V=1 and Config=0b0xx other than 0" => "takes Config for 0 and aborts";
    SteReservedFormat "S04" "5.2" Reserved "an STE with S1Fmt=3 and several CDs" => "takes it for a linear table";
    SteReservedDss "S05" "5.2" Reserved "an STE with S1DSS=3 and several CDs" => "takes it for 0";
    SteReservedEats "S06" "5.2" Reserved "an STE with EATS=3" => "takes it for 0";
    StePointerAlign "S07" "5.2" Unpredictable
        "an STE whose S1ContextPtr has ones below the size of its table" => "takes them for zero";
    SteReservedSize "S08" "5.2" Reserved "an STE with S2PS=7" => "takes it for 6";
    SteReservedDirty "S09" "5.2" Reserved "an STE with S2HD=1 and S2HA=0" => "takes both for 0";
    SteReservedShare "S10" "5.2" Reserved "an STE with INSTCFG, PRIVCFG, S1CSH or S2SH0 reserved" => "takes it for 0";
    SteTableAlign "S11" "5.2" Reserved "an STE whose S2TTB is not aligned to its table" => "aligns it downwards";
    SharedVmid "S16" "3.17.6" Unpredictable
        "an STE with the VMID of another stream and other stage-2 tables or attributes" => "uses TLB entries of either for both";
    MixedVmid "S18" "3.17" Unpredictable
        "an STE of stage 1 only with the VMID of a nested stream, or the other way round" => "uses TLB entries of either for both";
    SpanDiffers "S19" "5.2" Unpredictable
        "an STE that differs from another in its CONT span, or in the span of the other" => "uses each STE as it is in memory";
    SpanReach "S20" "5.2" Unpredictable
        "an STE whose CONT spans more streams than the array has that its L1STD points to" => "uses each STE as it is in memory";
    SteAllocation "S21" "5.2" Unpredictable
        "an STE that overrides allocation hints and not the memory type" => "overrides them all the same";
    SteReservedBits "S22" "5" Reserved "an STE with ones in bits that are RES0" => "ignores them";
    CdReservedSize "S12" "5.4" Reserved "a CD with IPS=7" => "takes it for 6";
    CdReservedDirty "S13" "5.4" Reserved "a CD with HD=1 and HA=0" => "takes both for 0";
    CdReservedShare "S14" "5.4" Reserved "a CD with SH0 or SH1 reserved" => "takes it for 0";
    CdTableAlign "S15" "5.4" Reserved "a CD whose TTB0 or TTB1 is not aligned to its table" => "aligns it downwards";
    SharedAsid "S23" "5.4.1" Unpredictable
        "a CD of the same address space (regime, VMID and ASID) as another, with other tables or attributes" => "uses TLB entries of either for both";
    CdReservedBits "S24" "5" Reserved "a CD with ones in bits that are RES0" => "ignores them";
}

impl Lint {
    /// Its row.
    pub const fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { id, kind, what, does, .. } = self.row();
        write!(f, "{}: {what}; this model {does} ({id})", kind.name())
    }
}

/// A set of lints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lints(u128);

impl Lints {
    /// None.
    pub const NONE: Self = Self(0);

    /// This one, if something holds.
    pub const fn when(condition: bool, lint: Lint) -> Self {
        Self(if condition { 1 << lint as u8 } else { 0 })
    }
    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// Adds these.
    pub const fn add(&mut self, others: Self) {
        self.0 |= others.0;
    }
    /// All of both.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }
    /// In the order of the table.
    pub fn iter(self) -> impl Iterator<Item = Lint> {
        ALL.iter().copied().filter(move |&lint| self.0 >> lint as u8 & 1 != 0)
    }
}

impl FromIterator<(bool, Lint)> for Lints {
    fn from_iter<T: IntoIterator<Item = (bool, Lint)>>(rows: T) -> Self {
        rows.into_iter().fold(Self::NONE, |all, (condition, lint)| all.and(Self::when(condition, lint)))
    }
}

const fn aligned(addr: u64, bits: u8) -> bool {
    addr & low_mask(bits) == 0
}

/// SMMUEN is being set.
pub(super) fn enabling_tables(control: &Control, cr1: CR1) -> Lints {
    let (cfg, features) = (control.strtab_base_cfg, &control.features);
    let reserved = cr1.table_ic() == 3 || cr1.table_oc() == 3 || cr1.table_sh() == 1;
    let two_levels = control.split().is_some();
    Lints::from_iter([
        (reserved, Lint::ReservedAttributes),
        (control.stream_table() != control.strtab_base.addr(), Lint::StreamTableAlign),
        (!features.reaches(control.strtab_base.addr()), Lint::StreamTableReach),
        (cfg.log2size() > features.sidsize.into(), Lint::StreamTableSize),
        (cfg.fmt() > u64::from(features.two_level_streams), Lint::StreamTableFormat),
        (two_levels && !matches!(cfg.split(), 6 | 8 | 10), Lint::StreamTableSplit),
    ])
}

/// The queues whose enables are in `fields` are being enabled.
pub(super) fn enabling_queues(
    fields: CR0,
    cr1: CR1,
    bases: (CMDQ_BASE, EVENTQ_BASE, PRIQ_BASE),
    features: &Features,
) -> Lints {
    let reserved = cr1.queue_ic() == 3 || cr1.queue_oc() == 3 || cr1.queue_sh() == 1;
    let (commands, events, requests) = bases;
    let queues = [
        (fields.cmdqen(), commands.addr(), commands.log2size(), features.cmdqs, COMMAND_LOG2),
        (
            fields.eventqen(),
            events.addr(),
            events.log2size(),
            features.eventqs,
            EventRecord::BYTES.ilog2() as u8,
        ),
        (
            fields.priqen(),
            requests.addr(),
            requests.log2size(),
            features.priqs,
            PageRequest::BYTES.ilog2() as u8,
        ),
    ];
    queues.into_iter().filter(|queue| queue.0).fold(Lints::NONE, |all, (_, addr, log2size, max, entry)| {
        let bits = (log2size as u8).min(max) + entry;
        all.and(Lints::from_iter([
            (reserved, Lint::ReservedAttributes),
            (!aligned(addr, bits.max(5)), Lint::QueueAlign),
            (!features.reaches(addr), Lint::QueueReach),
            (log2size > max.into(), Lint::QueueSize),
        ]))
    })
}

/// GBPA is written with Update. Reserved overrides are the only thing to find.
pub(super) const fn has_reserved_override(gbpa: GBPA) -> bool {
    gbpa.instcfg() == 1 || gbpa.privcfg() == 1
}

/// Bits that mean something in a command of this opcode.
fn meaningful(op: Opcode) -> [u64; 2] {
    let mut words = [0xff, 0];
    for field in op.fields().filter_map(Command::field) {
        words[field.word()] |= field.mask();
    }
    words
}

/// A legal command is executed; `config`: what is cached then.
pub fn of_command(command: &Command, control: &Control, config: &ConfigCache) -> Lints {
    let (op, features) = (command.op(), &control.features);
    let known = meaningful(op);
    let has = |name: &str| op.fields().any(|field| field == name);
    let reserved = command.words().iter().zip(known).any(|(word, known)| word & !known != 0);
    let substream = has("ssid") && (!has("ssv") || command.ssv());
    let range = has("tg") && features.ril && command.tg() != command::tg::NONE;
    let short = range && command.tg() == command::tg::K16 && command.ttl() == 1;
    Lints::from_iter([
        (reserved, Lint::CommandReserved),
        (has("sid") && command.sid() >> features.sidsize != 0, Lint::CommandStream),
        (substream && beyond_substreams(command, features), Lint::CommandSubstream),
        (has("asid") && !features.asid16 && command.asid() > 0xff, Lint::CommandAsid),
        (has("vmid") && features.s2p && !features.vmid16 && command.vmid() > 0xff, Lint::CommandVmid),
        (range && !short && !is_range_aligned(command), Lint::RangeAlign),
        (short, Lint::RangeLevel),
    ])
    .and(of_stream(command, control, config))
}

/// What depends on the STE that the command names, if it is cached, or on a register on its way.
fn of_stream(command: &Command, control: &Control, cached: &ConfigCache) -> Lints {
    let ste = || cached.stream(command.sid() as u32).filter(|stream| stream.legal).map(|stream| stream.ste);
    match command.op() {
        Opcode::TLBI_EL2_VA | Opcode::TLBI_EL2_VAA | Opcode::TLBI_EL2_ASID => {
            Lints::when(control.e2h_unknown, Lint::UnknownE2h)
        }
        Opcode::STALL_TERM => {
            Lints::when(ste().is_some_and(|ste| ste.config() >= config::BYPASS), Lint::StallTermActive)
        }
        Opcode::PREFETCH_CONFIG | Opcode::PREFETCH_ADDR if command.ssv() && control.features.ssidsize > 0 => {
            let alone = |ste: Ste| ste.config() & 1 != 0 && ste.s1cdmax() == 0;
            Lints::when(ste().is_some_and(alone), Lint::PrefetchSubstream)
        }
        _ => Lints::NONE,
    }
}

/// CFGI_CD names CD 0 where there are no substreams.
fn beyond_substreams(command: &Command, features: &Features) -> bool {
    command.ssid() >> features.ssidsize != 0 || command.ssv() && features.ssidsize == 0
}

fn is_range_aligned(command: &Command) -> bool {
    let Some(granule) = Granule::from_command(command.tg()) else { return true };
    let addr = if command.op() == Opcode::TLBI_S2_IPA { command.ipa() } else { command.va() };
    match command.ttl() as u8 {
        0 => aligned(addr, granule.bits()),
        ttl => aligned(addr, granule.shift(ttl)),
    }
}

/// A level-1 Stream table descriptor was read.
pub(super) fn of_l1std(l1: L1Std, split: u8, features: &Features) -> Lints {
    let span = l1.span() as u8;
    let usable = span != 0 && span <= split + 1;
    Lints::from_iter([
        (span > split + 1, Lint::StreamArraySpan),
        (usable && !aligned(l1.l2ptr(), span + 5), Lint::StreamArrayAlign),
        (usable && !features.reaches(l1.l2ptr()), Lint::StreamArrayReach),
    ])
}

/// A legal STE was read.
pub(super) fn of_ste(ste: Ste, features: &Features) -> Lints {
    let mode = ste.config();
    if mode < config::BYPASS {
        return Lints::when(mode != 0, Lint::SteReservedConfig);
    }
    let (stage1, stage2) = (mode & 1 != 0, mode & 2 != 0);
    let bits = context_bits(ste, features);
    let table = match context_split(ste, features) {
        None => bits + 6,
        Some(split) => (bits.saturating_sub(split) + 3).max(6),
    };
    let share = stage1 && ste.s1csh() == 1
        || stage2 && ste.s2sh0() == 1
        || features.attr_perms_ovr && (ste.instcfg() == 1 || ste.privcfg() == 1);
    let aligned2 = !stage2 || is_used(Tables::stage2(ste, features), ste.s2ttb());
    Lints::from_iter([
        (stage1 && bits > 0 && ste.s1fmt() == 3, Lint::SteReservedFormat),
        (stage1 && bits > 0 && ste.s1dss() == 3, Lint::SteReservedDss),
        (features.ats && mode != config::BYPASS && ste.eats() == 3, Lint::SteReservedEats),
        (stage1 && !aligned(ste.s1contextptr(), table), Lint::StePointerAlign),
        (stage2 && ste.s2ps() == 7, Lint::SteReservedSize),
        (stage2 && ste.s2hd() && !ste.s2ha(), Lint::SteReservedDirty),
        (share, Lint::SteReservedShare),
        (!aligned2, Lint::SteTableAlign),
        (features.attr_types_ovr && ste.alloccfg() & 8 != 0 && !ste.mtcfg(), Lint::SteAllocation),
        (has_others(&ste.words(), &STE_BITS), Lint::SteReservedBits),
    ])
}

/// A legal CD was read.
pub(super) fn of_cd(cd: Cd, world: World, features: &Features) -> Lints {
    let walked = |upper: bool| (!upper || world != World::El2) && !walks_disabled(cd, upper, world);
    let used = |upper: bool, ttb: u64| !walked(upper) || is_used(Tables::stage1(cd, upper, features), ttb);
    Lints::from_iter([
        (cd.ips() == 7, Lint::CdReservedSize),
        (cd.hd() && !cd.ha(), Lint::CdReservedDirty),
        (walked(false) && cd.sh0() == 1 || walked(true) && cd.sh1() == 1, Lint::CdReservedShare),
        (!used(false, cd.ttb0()) || !used(true, cd.ttb1()), Lint::CdTableAlign),
        (has_others(&cd.words(), &CD_BITS), Lint::CdReservedBits),
    ])
}

/// Bits of an STE that mean something in some SMMU, or are for implementations.
const STE_BITS: [u64; 8] = defined(Ste::FIELDS, &[(127, 116), (159, 144), (271, 256)]);
/// The same of a CD.
const CD_BITS: [u64; 8] = defined(Cd::FIELDS, &[(351, 320)]);

const fn defined(fields: &[FieldDesc], by_implementations: &[(u32, u32)]) -> [u64; 8] {
    let (mut words, mut i) = ([0; 8], 0);
    while i < fields.len() {
        words[fields[i].word()] |= fields[i].mask();
        i += 1;
    }
    i = 0;
    while i < by_implementations.len() {
        let (hi, lo) = by_implementations[i];
        words[(lo / 64) as usize] |= mask(hi % 64, lo % 64);
        i += 1;
    }
    words
}

fn has_others(words: &[u64; 8], defined: &[u64; 8]) -> bool {
    words.iter().zip(defined).any(|(word, defined)| word & !defined != 0)
}

/// Whether the first table is where the pointer says, with nothing rounded away.
fn is_used(tables: Option<Tables>, pointer: u64) -> bool {
    tables.is_none_or(|tables| tables.table == pointer)
}

/// The table as a page of documentation.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Lints\n\n\
         What software does that real hardware may punish and this model lets through. Reports of scenarios, of booted machines and\n\
         traces say it as a lint, with what this model makes of it. The architecture says one of three things of it:\n\n\
         * **CONSTRAINED UNPREDICTABLE**: one of several behaviours, none of which software can rely on.\n\
         * **RESERVED**: a value or bit that is reserved and has a meaning for now.\n\
         * **IGNORED SINCE SMMUv3.2**: no effect since that version, and one of several before.\n\n\
         What the architecture defines as an error is no lint: it ends in an event or a CERROR. Sections are those of IHI 0070. The CMDQV\n\
         has lints of its own. This page is generated from `models/src/smmu/lint.rs`.\n",
    );
    out += LEGAL;
    for (title, letter) in [("Registers and queues", 'R'), ("Commands", 'C'), ("Structures", 'S')] {
        out += &format!(
            "\n## {title}\n\n| | IHI 0070 | The architecture says | What software did | This model |\n|---|---|---|---|---|\n"
        );
        for Row { id, section, kind, what, does } in ROWS.iter().filter(|row| row.id.starts_with(letter)) {
            out += &format!("| {id} | {section} | {} | {what} | {does} |\n", kind.name());
        }
    }
    out += UNSEEN;
    out
}

const LEGAL: &str = "\n\
    S16, S18, S19 and S23 are about two structures. They are compared when one of them is fetched and the other is in the configuration\n\
    cache: what software has invalidated is forgotten, so a VMID or ASID may be used again after CFGI and TLBI.\n";

const UNSEEN: &str = "
## Without a lint

What software must do as well, and nothing here says when it does not:

| IHI 0070 | Software must | Why there is no lint |
|---|---|---|
| 3.9.1 | invalidate TLBs before ATCs | the oracle finds what is stale |
| 3.9.2 | change EATS between 1 and 2 by way of 0 | the STE before is no longer cached |
| 3.9.1 | give all endpoints the smallest translation unit of the SMMU, and ATC_INV no smaller size | endpoints here have 4KB |
| 3.11, 3.21.3 | invalidate what it changes | the oracle finds what is stale |
| 3.12 | not let streams of PCIe stall | an SMMU does not know which they are |
| 3.13, 3.21.1 | change descriptors in steps, and shared ones atomically | a walk sees one value at a time; the oracle judges all that there were |
| 3.21.2 | leave commands alone until they are consumed | memory does not tell the SMMU of writes |
| 4.1 | leave registers alone on which commands under way depend, CR0.VMW among them | a command is executed at once, by what the registers are then |
| 4.7.1 | RESUME only what an event has told of | a RESUME of nothing has no effect |
| 5.4.1 | reach a CD only from STEs of one regime | CDs are cached by stream, not by address |
| 5.2, 5.4 | not use reserved encodings of MemAttr and MAIR | what they mean is defined |
| 10 | change registers of performance monitors only when these are disabled | their registers have no lints |
";
