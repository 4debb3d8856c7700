//! Raw 16-byte commands, queues, register blocks and the other things that raw steps name.

use std::collections::BTreeMap;

use models::smmu::pmcg::Unit;

use crate::declare::{Cx, Field, Table, Ty, choice, record};
use crate::diagnostic::Diagnostic;
use crate::names::{EndpointId, Kind, ObjectId, ObjectKind, PairId, PsmmuId, VmId, VsmmuId};
use crate::suggest;
use crate::tree::{Node, Raw};
use crate::units::{self, Address};

choice! {
    /// SMMU commands by name (IHI 0070, 4).
    Op {
        /// prefetch configuration
        PrefetchConfig = "PREFETCH_CONFIG",
        /// prefetch a translation
        PrefetchAddr = "PREFETCH_ADDR",
        /// invalidate one STE
        CfgiSte = "CFGI_STE",
        /// invalidate a range of STEs
        CfgiSteRange = "CFGI_STE_RANGE",
        /// invalidate all configuration
        CfgiAll = "CFGI_ALL",
        /// invalidate one CD
        CfgiCd = "CFGI_CD",
        /// invalidate all CDs of a stream
        CfgiCdAll = "CFGI_CD_ALL",
        /// invalidate a VMID
        TlbiNhAll = "TLBI_NH_ALL",
        /// invalidate an ASID of a VMID
        TlbiNhAsid = "TLBI_NH_ASID",
        /// invalidate an address of an ASID
        TlbiNhVa = "TLBI_NH_VA",
        /// invalidate an address of all ASIDs
        TlbiNhVaa = "TLBI_NH_VAA",
        /// invalidate all of EL2
        TlbiEl2All = "TLBI_EL2_ALL",
        /// invalidate an ASID of EL2
        TlbiEl2Asid = "TLBI_EL2_ASID",
        /// invalidate an address of EL2
        TlbiEl2Va = "TLBI_EL2_VA",
        /// invalidate an address of all ASIDs of EL2
        TlbiEl2Vaa = "TLBI_EL2_VAA",
        /// invalidate both stages of a VMID
        TlbiS12Vmall = "TLBI_S12_VMALL",
        /// invalidate an IPA of a VMID
        TlbiS2Ipa = "TLBI_S2_IPA",
        /// invalidate everything that is not EL2
        TlbiNsnhAll = "TLBI_NSNH_ALL",
        /// invalidate a translation cache of an endpoint
        AtcInv = "ATC_INV",
        /// answer a page request
        PriResp = "PRI_RESP",
        /// resume or end a stalled transaction
        Resume = "RESUME",
        /// end all stalled transactions of a stream
        StallTerm = "STALL_TERM",
        /// wait for everything before it
        Sync = "SYNC",
    }
    /// How CMD_SYNC signals its completion.
    SyncSignal {
        /// not at all; CONS is polled
        None = "none",
        /// MSI or interrupt
        Irq = "irq",
        /// event of the CPUs
        Sev = "sev",
    }
}

impl Op {
    /// The opcode, bits 7 to 0 of word 0.
    pub const fn code(self) -> u8 {
        match self {
            Self::PrefetchConfig => 0x01,
            Self::PrefetchAddr => 0x02,
            Self::CfgiSte => 0x03,
            Self::CfgiSteRange | Self::CfgiAll => 0x04,
            Self::CfgiCd => 0x05,
            Self::CfgiCdAll => 0x06,
            Self::TlbiNhAll => 0x10,
            Self::TlbiNhAsid => 0x11,
            Self::TlbiNhVa => 0x12,
            Self::TlbiNhVaa => 0x13,
            Self::TlbiEl2All => 0x20,
            Self::TlbiEl2Asid => 0x21,
            Self::TlbiEl2Va => 0x22,
            Self::TlbiEl2Vaa => 0x23,
            Self::TlbiS12Vmall => 0x28,
            Self::TlbiS2Ipa => 0x2a,
            Self::TlbiNsnhAll => 0x30,
            Self::AtcInv => 0x40,
            Self::PriResp => 0x41,
            Self::Resume => 0x44,
            Self::StallTerm => 0x45,
            Self::Sync => 0x46,
        }
    }

    /// The keys that mean something to this command.
    pub const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::PrefetchConfig => &["sid", "ssid"],
            Self::PrefetchAddr => &["sid", "ssid", "addr", "size"],
            Self::CfgiSte => &["sid", "leaf"],
            Self::CfgiSteRange => &["sid", "range"],
            Self::CfgiAll | Self::TlbiEl2All | Self::TlbiNsnhAll => &[],
            Self::CfgiCd => &["sid", "ssid", "leaf"],
            Self::CfgiCdAll | Self::StallTerm => &["sid"],
            Self::TlbiNhAll | Self::TlbiS12Vmall => &["vmid"],
            Self::TlbiNhAsid => &["vmid", "asid"],
            Self::TlbiNhVa => &["vmid", "asid", "addr", "leaf", "num", "scale", "ttl", "tg"],
            Self::TlbiNhVaa | Self::TlbiS2Ipa => &["vmid", "addr", "leaf", "num", "scale", "ttl", "tg"],
            Self::TlbiEl2Asid => &["asid"],
            Self::TlbiEl2Va => &["asid", "addr", "leaf", "num", "scale", "ttl", "tg"],
            Self::TlbiEl2Vaa => &["addr", "leaf", "num", "scale", "ttl", "tg"],
            Self::AtcInv => &["sid", "ssid", "global", "addr", "size"],
            Self::PriResp => &["sid", "ssid", "prg_index", "resp"],
            Self::Resume => &["sid", "retry", "abort", "stag"],
            Self::Sync => &["signal"],
        }
    }
}

record! {
    /// One command: an operation with fields, or two raw words.
    CommandSpec {
        /// The operation.
        op: Option<Op>;
        /// The two 64-bit words of the command, in place of operation and fields.
        words: Vec<u64>;
        /// StreamID: a number, or an endpoint, whose virtual StreamID is used in guest queues and `hwpt-invalidate`, and
        /// whose physical one elsewhere.
        sid: Option<Sid>;
        /// SubstreamID; sets SSV.
        ssid: Option<u64> [0..=0xf_ffff];
        /// VMID.
        vmid: u64 [0..=0xffff] = "0";
        /// ASID.
        asid: u64 [0..=0xffff] = "0";
        /// Virtual address, IPA or ATC_INV address.
        addr: Option<Address>;
        /// Only the last level.
        leaf: bool = "false";
        /// Range invalidation: NUM.
        num: u64 [0..=31] = "0";
        /// Range invalidation: SCALE.
        scale: u64 [0..=63] = "0";
        /// Range invalidation: TTL.
        ttl: u64 [0..=3] = "0";
        /// Range invalidation: TG.
        tg: u64 [0..=3] = "0";
        /// ATC_INV: log2 of the pages; 52 is everything. PREFETCH_ADDR: Size.
        size: u64 [0..=63] = "0";
        /// ATC_INV: all substreams.
        global: bool = "false";
        /// CFGI_STE_RANGE: Range.
        range: u64 [0..=31] = "0";
        /// SYNC: how it signals.
        signal: SyncSignal = "none";
        /// RESUME: retry.
        retry: bool = "false";
        /// RESUME: end with abort.
        abort: bool = "false";
        /// RESUME: tag of the stalled transaction.
        stag: u64 [0..=0xffff] = "0";
        /// PRI_RESP: group index.
        prg_index: u64 [0..=0x1ff] = "0";
        /// PRI_RESP: response code.
        resp: u64 [0..=3] = "2";
    }
}

/// A StreamID in a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sid {
    /// A number.
    Raw(u64),
    /// The StreamID of an endpoint.
    Of(EndpointId),
}

impl Field for Sid {
    fn ty() -> Ty {
        Ty::Any(vec![EndpointId::ty(), Ty::Int])
    }
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        match &node.value {
            Raw::Str(text) if units::parse_integer(text).is_none() => {
                EndpointId::read(node, cx).map(Self::Of)
            }
            _ => u64::read(node, cx).map(Self::Raw),
        }
    }
    fn magnitude(&self) -> Option<u64> {
        match self {
            Self::Raw(n) => Some(*n),
            Self::Of(_) => None,
        }
    }
}

/// A command to put into a queue or into `hwpt-invalidate`.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Two raw words.
    Words([u64; 2]),
    /// An operation with its fields. Fields that do not belong to the operation have been refused.
    Op(Op, Box<CommandSpec>),
}

impl Field for Command {
    fn ty() -> Ty {
        CommandSpec::ty()
    }
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        let spec = CommandSpec::read(node, cx)?;
        let entries = node.entries();
        if !spec.words.is_empty() || node.get("words").is_some() {
            let Ok(words) = <[u64; 2]>::try_from(spec.words.as_slice()) else {
                return cx.reject(
                    Diagnostic::at(node.span.clone(), "a command has two words")
                        .label(format!("{} given", spec.words.len()))
                        .help("words = [0x11, 0x0]"),
                );
            };
            if entries.len() > 1 {
                return cx.reject(
                    Diagnostic::at(node.span.clone(), "raw words leave no room for fields")
                        .label("both `words` and other keys")
                        .help("give either `words`, or `op` with its fields"),
                );
            }
            return Some(Self::Words(words));
        }
        let Some(op) = spec.op else {
            return cx.reject(
                Diagnostic::at(node.span.clone(), "this command lacks the key `op`")
                    .label("neither `op` nor `words`")
                    .help("{ op = \"TLBI_NH_ASID\", asid = 1 }, or { words = [0x11, 0x0] }"),
            );
        };
        let mut good = true;
        for entry in entries.iter().filter(|e| e.name != "op" && !op.fields().contains(&e.name.as_str())) {
            good = false;
            let fields = suggest::list(op.fields().iter().copied(), 12);
            cx.diagnostics.push(
                Diagnostic::at(entry.key.clone(), format!("{op} has no field `{}`", entry.name))
                    .label("not a field of this command")
                    .help(if fields.is_empty() {
                        format!("{op} has no fields")
                    } else {
                        format!("fields of {op}: {fields}")
                    }),
            );
        }
        good.then(|| Self::Op(op, Box::new(spec)))
    }
}

record! {
    /// A guest's STE, words 0 and 1, by field or raw.
    VsteSpec {
        /// STE.V.
        v: bool = "true";
        /// STE.Config.
        config: Code = "s1";
        /// Stage-1 tables made by `table`: sets S1ContextPtr, S1Fmt and S1CDMax.
        table: Option<crate::names::TableRef>;
        /// STE.S1Fmt.
        s1fmt: u64 [0..=3] = "0";
        /// STE.S1ContextPtr.
        s1contextptr: Option<Address>;
        /// STE.S1CDMax.
        s1cdmax: u64 [0..=31] = "0";
        /// STE.S1DSS.
        s1dss: u64 [0..=3] = "0";
        /// STE.S1CIR.
        s1cir: u64 [0..=3] = "1";
        /// STE.S1COR.
        s1cor: u64 [0..=3] = "1";
        /// STE.S1CSH.
        s1csh: u64 [0..=3] = "3";
        /// STE.S1STALLD.
        s1stalld: bool = "false";
        /// STE.EATS.
        eats: u64 [0..=3] = "0";
        /// Bits to set in addition, one value per word.
        or: Vec<u64>;
        /// The two words, in place of all fields.
        words: Vec<u64>;
    }
}

choice! {
    /// STE.Config.
    SteConfig {
        /// 0: abort
        Abort = "abort",
        /// 4: bypass
        Bypass = "bypass",
        /// 5: stage 1
        S1 = "s1",
        /// 6: stage 2
        S2 = "s2",
        /// 7: both stages
        Nested = "nested",
    }
}

/// STE.Config by word or number.
pub type Code = crate::declare::Code<SteConfig>;

/// A block of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// The SMMU registers of a psmmu: `"smmu0"`.
    Smmu(PsmmuId),
    /// The configuration page of a CMDQV: `"smmu0.cmdqv"`.
    Cmdqv(PsmmuId),
    /// A VINTF bank: `"smmu0.vintf1"`.
    Vintf(PsmmuId, u64),
    /// A hardware queue through the direct pages: `"smmu0.vcmdq3"`.
    Vcmdq(PsmmuId, u64),
    /// Logical queue `l` of VINTF `v` through its pages: `"smmu0.vintf1.lvcmdq0"`.
    Lvcmdq(PsmmuId, u64, u64),
    /// A group of performance monitors: `"smmu0.pmcg.tcu"`, `"smmu0.pmcg.tbu"`.
    Pmcg(PsmmuId, Unit),
    /// The register page of SMMU instances: `"pair"`.
    Pair(PairId),
    /// One instance behind a register page: `"pair.1"`.
    Instance(PairId, u64),
    /// The SMMU registers that a guest sees: `"vs0"`.
    Vsmmu(VsmmuId),
    /// The CMDQV registers that a guest sees: `"vs0.cmdqv"`.
    GuestCmdqv(VsmmuId),
    /// Logical queue `l` that a guest sees, through its VINTF page: `"vs0.lvcmdq0"`.
    GuestLvcmdq(VsmmuId, u64),
    /// A hardware page mapped by an `mmap` step: `"W0"`, offsets from its start; `"W0.lvcmdq0"` for one queue.
    Window(ObjectId, Option<u64>),
    /// Guest-physical memory of a VM as its CPUs see it: `"vm0"`, offsets are addresses.
    Guest(VmId),
}

impl Field for Block {
    fn ty() -> Ty {
        Ty::Form(
            "a register block: \"smmu0\", \"smmu0.cmdqv\", \"smmu0.vintf1\", \"smmu0.vcmdq3\", \"smmu0.vintf1.lvcmdq0\", \
             \"smmu0.pmcg.tcu\", \"smmu0.pmcg.tbu\", a register_broadcast \"pair\" or \"pair.1\", \"vs0\", \"vs0.cmdqv\", \"vs0.lvcmdq0\", a window \"W0\" or \
             \"W0.lvcmdq0\", or \"vm0\" for guest addresses",
        )
    }
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        let (head, parts) = dotted(node, &Self::ty(), cx)?;
        let parts: Vec<(&str, Option<u64>)> = parts.iter().map(|p| numbered(p)).collect();
        let block = match (head, parts.as_slice()) {
            (Head::Psmmu(id), []) => Self::Smmu(id),
            (Head::Psmmu(id), [("cmdqv", None)]) => Self::Cmdqv(id),
            (Head::Psmmu(id), [("vintf", Some(v))]) => Self::Vintf(id, *v),
            (Head::Psmmu(id), [("vcmdq", Some(q))]) => Self::Vcmdq(id, *q),
            (Head::Psmmu(id), [("vintf", Some(v)), ("lvcmdq", Some(l))]) => Self::Lvcmdq(id, *v, *l),
            (Head::Psmmu(id), [("pmcg", None), ("tcu", None)]) => Self::Pmcg(id, Unit::Tcu),
            (Head::Psmmu(id), [("pmcg", None), ("tbu", None)]) => Self::Pmcg(id, Unit::Tbu),
            (Head::Pair(id), []) => Self::Pair(id),
            (Head::Pair(id), [("", Some(n))]) => Self::Instance(id, *n),
            (Head::Vsmmu(id), []) => Self::Vsmmu(id),
            (Head::Vsmmu(id), [("cmdqv", None)]) => Self::GuestCmdqv(id),
            (Head::Vsmmu(id), [("lvcmdq", Some(l))]) => Self::GuestLvcmdq(id, *l),
            (Head::Window(id), []) => Self::Window(id, None),
            (Head::Window(id), [("lvcmdq", Some(l))]) => Self::Window(id, Some(*l)),
            (Head::Vm(id), []) => Self::Guest(id),
            _ => return bad_form(node, "there is no such register block", &Self::ty(), cx),
        };
        Some(block)
    }
}

/// A command queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// The SMMU's own queue, used by the host: `"smmu0.cmdq"`.
    Smmu(PsmmuId),
    /// A hardware queue of the host's VINTF, by global index: `"smmu0.vcmdq1"`.
    Vcmdq(PsmmuId, u64),
    /// The guest's emulated queue: `"vs0.cmdq"`.
    Vsmmu(VsmmuId),
    /// A hardware queue of the guest: `"vs0.lvcmdq0"`.
    GuestLvcmdq(VsmmuId, u64),
    /// A hardware queue through a mapped window: `"W0.lvcmdq0"`.
    Window(ObjectId, u64),
}

impl Field for Queue {
    fn ty() -> Ty {
        Ty::Form("a queue: \"smmu0.cmdq\", \"smmu0.vcmdq1\", \"vs0.cmdq\", \"vs0.lvcmdq0\" or \"W0.lvcmdq0\"")
    }
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        let (head, parts) = dotted(node, &Self::ty(), cx)?;
        let parts: Vec<(&str, Option<u64>)> = parts.iter().map(|p| numbered(p)).collect();
        let queue = match (head, parts.as_slice()) {
            (Head::Psmmu(id), [("cmdq", None)]) => Self::Smmu(id),
            (Head::Psmmu(id), [("vcmdq", Some(q))]) => Self::Vcmdq(id, *q),
            (Head::Vsmmu(id), [("cmdq", None)]) => Self::Vsmmu(id),
            (Head::Vsmmu(id), [("lvcmdq", Some(l))]) => Self::GuestLvcmdq(id, *l),
            (Head::Window(id), [("lvcmdq", Some(l))]) => Self::Window(id, *l),
            _ => return bad_form(node, "there is no such queue", &Self::ty(), cx),
        };
        Some(queue)
    }
}

/// A register: by name, with an index in brackets if there are several, or by offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Register {
    /// A name as in the architecture and an index: `"CMDQ_ALLOC[3]"`.
    Name(String, Option<u64>),
    /// Bytes from the start of the block.
    Offset(u64),
}

impl Field for Register {
    fn ty() -> Ty {
        Ty::Form("a register by name, like \"CMDQ_PROD\" or \"CMDQ_ALLOC[3]\", or an offset in the block")
    }
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        let Raw::Str(text) = &node.value else { return u64::read(node, cx).map(Self::Offset) };
        if let Some(offset) = units::parse_integer(text) {
            return Some(Self::Offset(offset));
        }
        let (name, index) = match text.split_once('[') {
            Some((name, rest)) => match rest.strip_suffix(']').and_then(units::parse_integer) {
                Some(index) => (name, Some(index)),
                None => return bad_form(node, "not a register", &Self::ty(), cx),
            },
            None => (text.as_str(), None),
        };
        let good = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if good {
            Some(Self::Name(name.to_owned(), index))
        } else {
            bad_form(node, "not a register", &Self::ty(), cx)
        }
    }
}

/// Expected values by field name.
pub type Values = BTreeMap<String, u64>;

enum Head {
    Psmmu(PsmmuId),
    Pair(PairId),
    Vsmmu(VsmmuId),
    Vm(VmId),
    Window(ObjectId),
}

/// Splits `"smmu0.vintf1"` and resolves its first part.
fn dotted<'a>(node: &'a Node, ty: &Ty, cx: &mut Cx) -> Option<(Head, Vec<&'a str>)> {
    let Raw::Str(text) = &node.value else { return cx.wrong_type(node, ty) };
    let mut parts = text.split('.');
    let name = parts.next().unwrap_or_default();
    let parts: Vec<&str> = parts.collect();
    if let Some(id) = cx.names.object(name) {
        if cx.names.objects[id.0].kind == ObjectKind::Window {
            return Some((Head::Window(id), parts));
        }
        return bad_form(node, &format!("`{name}` is a {}", cx.names.objects[id.0].kind.word()), ty, cx);
    }
    let head = match cx.names.find(name) {
        Some(t) if t.kind == Kind::Psmmu => Head::Psmmu(PsmmuId(t.index)),
        Some(t) if t.kind == Kind::Pair => Head::Pair(PairId(t.index)),
        Some(t) if t.kind == Kind::Vsmmu => Head::Vsmmu(VsmmuId(t.index)),
        Some(t) if t.kind == Kind::Vm => Head::Vm(VmId(t.index)),
        Some(t) => return bad_form(node, &format!("`{name}` is a {}", t.kind), ty, cx),
        None if cx.partial => return None,
        None => {
            let known: Vec<String> = [Kind::Psmmu, Kind::Pair, Kind::Vsmmu, Kind::Vm]
                .iter()
                .flat_map(|k| cx.names.of(*k).iter().map(|d| d.name.clone()))
                .chain(
                    cx.names.objects.iter().filter(|o| o.kind == ObjectKind::Window).map(|o| o.name.clone()),
                )
                .collect();
            let label = suggest::nearest(name, known.iter().map(String::as_str))
                .map_or_else(|| "nothing has this name".to_owned(), |near| format!("did you mean `{near}`?"));
            return cx.reject(
                Diagnostic::at(node.span.clone(), format!("nothing with registers is called `{name}`"))
                    .label(label)
                    .help(format!("expected {}", ty.describe())),
            );
        }
    };
    Some((head, parts))
}

fn bad_form<T>(node: &Node, title: &str, ty: &Ty, cx: &mut Cx) -> Option<T> {
    cx.reject(
        Diagnostic::at(node.span.clone(), title.to_owned())
            .label("not valid here")
            .help(format!("expected {}", ty.describe())),
    )
}

/// `vintf12` as (`vintf`, 12).
fn numbered(part: &str) -> (&str, Option<u64>) {
    let stem = part.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem, part[stem.len()..].parse().ok())
}

/// The declarations of this file, for the reference.
pub fn tables() -> Vec<Table> {
    use crate::declare::Record;
    vec![CommandSpec::table(), VsteSpec::table()]
}
