//! What each command asks for, and when a CMD_SYNC may complete.
//!
//! Commands of one queue are issued in order; those of different queues have no order. The engine counts, per queue,
//! what a CMD_SYNC has to wait for:
//!
//! | Wait for | Counted by |
//! |---|---|
//! | transactions in flight when the CMD_SYNC was issued | their ids: all below a mark have left |
//! | the records of events they caused | commits of the Event queue, sampled when the last of them has left |
//! | ATC invalidations of the same queue | outstanding and timed-out counts |
//! | the message of the queue's earlier CMD_SYNC | outstanding count |

use spec::smmu::{Command, CommandError, Opcode, command};

use super::control::Control;
use super::features::StallModel;
use super::scope::Scope;
use crate::bus::PhysAddr;
use crate::dma::{AtcInvalidate, PageAnswer, PageResponse};
use crate::record::CommandQueue;

/// How a CMD_SYNC tells that it has completed, beside CONS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Not at all.
    None,
    /// By interrupt: a pulse on the wire, and a message.
    Interrupt {
        /// Where the message goes; `None` for no message.
        addr: Option<PhysAddr>,
        /// Its payload.
        data: u32,
    },
    /// By a wake-up event.
    Event,
}

/// What RESUME does with a stalled transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// As if it had just arrived.
    Retry,
    /// End it with a bus error.
    Abort,
    /// End it: reads return zero, writes are dropped.
    ZeroIgnore,
}

/// What a legal command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing: a hint that is not taken, a parameter out of range, or a command without effect while SMMUEN=0.
    Nothing,
    /// Remove entries from the configuration caches.
    InvalidateConfig(Scope),
    /// Remove entries from TLBs and walk caches.
    InvalidateTlb(Scope),
    /// Have an endpoint remove entries. The tag is still to be chosen.
    InvalidateAtc(AtcInvalidate),
    /// Answer an endpoint's group of page requests.
    RespondToPage(PageResponse),
    /// Let a stalled transaction go.
    Resume {
        /// Its stream.
        sid: u32,
        /// Its tag.
        stag: u16,
        /// How.
        action: Resume,
    },
    /// Abort every stalled transaction of a stream.
    StallTerm {
        /// The stream.
        sid: u32,
    },
    /// Complete what came before.
    Sync(Signal),
}

/// Decides what a command of a Non-secure queue means (IHI 0070, 4.1).
///
/// # Errors
/// CERROR_ILL for what is reserved, Secure, or belongs to a feature that is absent.
pub fn decode(command: &Command, control: &Control) -> Result<Work, CommandError> {
    let f = &control.features;
    let op = command.op();
    let legal = match op {
        Opcode::PREFETCH_CONFIG | Opcode::PREFETCH_ADDR | Opcode::CFGI_STE | Opcode::CFGI_STE_RANGE => {
            !command.ssec()
        }
        Opcode::CFGI_CD | Opcode::CFGI_CD_ALL => f.s1p && !command.ssec(),
        Opcode::TLBI_NH_ALL | Opcode::TLBI_NH_ASID => f.s1p,
        Opcode::TLBI_NH_VA | Opcode::TLBI_NH_VAA => f.s1p && is_range_legal(command, f.ril),
        Opcode::TLBI_EL2_ALL | Opcode::TLBI_EL2_ASID => f.hyp,
        Opcode::TLBI_EL2_VA | Opcode::TLBI_EL2_VAA => f.hyp && is_range_legal(command, f.ril),
        Opcode::TLBI_S12_VMALL => f.s2p,
        Opcode::TLBI_S2_IPA => f.s2p && is_range_legal(command, f.ril),
        Opcode::TLBI_NSNH_ALL => true,
        Opcode::ATC_INV => f.ats && command.size() <= command::ATC_INV_ALL,
        Opcode::PRI_RESP => f.pri && command.resp() <= command::resp::SUCCESS,
        Opcode::RESUME | Opcode::STALL_TERM => f.stall_model != StallModel::Terminate && !command.ssec(),
        Opcode::SYNC => command.cs() <= command::cs::SIG_SEV,
        // CFGI_VMS_PIDM and DPTI need MPAM and DPT, which `Features` does not admit; EL3 and Secure are never legal here.
        _ => false,
    };
    if !legal {
        return Err(CommandError::CERROR_ILL);
    }
    let scope = Scope::of(command, control);
    Ok(match op {
        Opcode::CFGI_STE | Opcode::CFGI_STE_RANGE | Opcode::CFGI_CD | Opcode::CFGI_CD_ALL => {
            scope.map_or(Work::Nothing, Work::InvalidateConfig)
        }
        Opcode::ATC_INV if control.enabled() => Work::InvalidateAtc(atc_invalidate(command)),
        Opcode::PRI_RESP if control.enabled() => Work::RespondToPage(page_response(command, control)),
        Opcode::RESUME => Work::Resume {
            sid: command.sid() as u32,
            stag: command.stag() as u16,
            action: match (command.ac(), command.ab() || f.abort_only) {
                (true, _) => Resume::Retry,
                (false, true) => Resume::Abort,
                (false, false) => Resume::ZeroIgnore,
            },
        },
        Opcode::STALL_TERM => Work::StallTerm { sid: command.sid() as u32 },
        Opcode::SYNC => Work::Sync(signal(command, control)),
        _ => scope.map_or(Work::Nothing, Work::InvalidateTlb),
    })
}

/// A range of one granule without a level hint is reserved.
fn is_range_legal(command: &Command, ril: bool) -> bool {
    !ril || command.tg() == command::tg::NONE || command.num() | command.scale() | command.ttl() != 0
}

fn atc_invalidate(command: &Command) -> AtcInvalidate {
    let everything = command.size() == command::ATC_INV_ALL;
    let size_log2 = if everything { 64 } else { command.size() as u8 + 12 };
    AtcInvalidate {
        tag: 0,
        sid: command.sid() as u32,
        ssid: command.ssv().then(|| command.ssid() as u32),
        global: command.ssv() && command.global(),
        addr: if everything { 0 } else { command.addr() >> size_log2 << size_log2 },
        size_log2,
    }
}

fn page_response(command: &Command, control: &Control) -> PageResponse {
    PageResponse {
        sid: command.sid() as u32,
        // Without substreams SSV=1 is as good as 0.
        ssid: (command.ssv() && control.features.ssidsize > 0).then_some(command.ssid() as u32),
        group: command.prgindex() as u16,
        answer: match command.resp() {
            command::resp::SUCCESS => PageAnswer::Success,
            command::resp::INVALID => PageAnswer::Invalid,
            _ => PageAnswer::Failure,
        },
    }
}

fn signal(command: &Command, control: &Control) -> Signal {
    match command.cs() {
        command::cs::SIG_IRQ => {
            // Zero is what was written, not what the output address size leaves of it.
            let message = control.features.msi && command.msiaddress() != 0;
            let addr = message.then(|| control.features.truncated(command.msiaddress()));
            Signal::Interrupt { addr, data: command.msidata() as u32 }
        }
        command::cs::SIG_SEV if control.features.sev => Signal::Event,
        _ => Signal::None,
    }
}

/// A command in the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Number of the queue in the arbiter: 0 the SMMU's own, 1 and up the VCMDQs.
    pub port: usize,
    /// The queue.
    pub queue: CommandQueue,
    /// Index in the ring, without wrap bit.
    pub index: u32,
    /// As read from the ring.
    pub raw: Command,
    /// As executed.
    pub executed: Command,
}

/// A CMD_SYNC that has been issued and not completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sync {
    /// The command; `None` for one that the hardware inserted.
    pub command: Option<Issued>,
    /// What to do on completion.
    pub signal: Signal,
    /// Every transaction with an id below this one must have left.
    pub mark: u64,
    /// Every record committed before this count must be settled; known once the transactions have left.
    events: Option<u64>,
}

impl Sync {
    /// Waits for the transactions with ids below `mark`.
    pub fn new(command: Option<Issued>, signal: Signal, mark: u64) -> Self {
        Self { command, signal, mark, events: None }
    }
}

/// The rest of the SMMU, as far as completion depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Id of the oldest transaction in flight, or of the next one to come.
    pub oldest: u64,
    /// Records committed to the Event queue so far.
    pub commits: u64,
    /// Of these, the records that are visible or lost.
    pub settled: u64,
}

/// What is outstanding for one queue.
#[derive(Clone, Copy, Debug, Default)]
struct Port {
    sync: Option<Sync>,
    atc: u32,
    timed_out: bool,
    messages: u32,
}

/// What is outstanding for every queue.
#[derive(Clone, Debug)]
pub struct Engine {
    ports: Vec<Port>,
    /// Ports with a CMD_SYNC: asked for at every message.
    syncs: usize,
    /// Ports with an invalidation that timed out.
    timeouts: usize,
}

impl Engine {
    /// For `ports` queues; number 0 is the SMMU's own.
    pub fn new(ports: usize) -> Self {
        Self { ports: vec![Port::default(); ports], syncs: 0, timeouts: 0 }
    }

    /// Whether this queue must wait for its CMD_SYNC.
    pub fn is_blocked(&self, port: usize) -> bool {
        self.ports[port].sync.is_some()
    }
    /// How many CMD_SYNCs have not completed.
    pub fn syncs(&self) -> usize {
        self.syncs
    }

    /// An ATC invalidation of this queue has left.
    pub fn atc_issued(&mut self, port: usize) {
        self.ports[port].atc += 1;
    }
    /// An endpoint has answered, or the limit has passed.
    pub fn atc_done(&mut self, port: usize, timed_out: bool) {
        let port = &mut self.ports[port];
        port.atc -= 1;
        self.timeouts += usize::from(timed_out && !port.timed_out);
        port.timed_out |= timed_out;
    }
    /// The message of a CMD_SYNC of this queue has left.
    pub fn message_sent(&mut self, port: usize) {
        self.ports[port].messages += 1;
    }
    /// It is visible, or was aborted.
    pub fn message_done(&mut self, port: usize) {
        self.ports[port].messages -= 1;
    }

    /// A CMD_SYNC was issued; its queue waits from now on.
    pub fn start(&mut self, port: usize, sync: Sync) {
        assert!(!self.is_blocked(port), "a queue has one CMD_SYNC at a time");
        self.ports[port].sync = Some(sync);
        self.syncs += 1;
    }

    /// Takes a CMD_SYNC that may complete. `Err` is a timeout of an ATC invalidation, which stops the queue there.
    ///
    /// `is_off` tells which queues are disabled: what they left behind (invalidations unanswered or timed out) belongs to
    /// the next CMD_SYNC of the SMMU's own queue. A CMD_SYNC that the hardware inserted leaves timeouts to the
    /// next one of software.
    pub fn complete(
        &mut self,
        progress: Progress,
        is_off: impl Fn(usize) -> bool,
    ) -> Option<(usize, Sync, Result<(), CommandError>)> {
        (0..self.ports.len()).find_map(|port| {
            self.ports[port].sync?;
            let left_behind = |p: usize| p == port || (port == 0 && is_off(p));
            let waiting = self.ports.iter().enumerate().any(|(p, q)| q.atc > 0 && left_behind(p));
            let own = &mut self.ports[port];
            let sync = own.sync.as_mut()?;
            if progress.oldest < sync.mark || waiting || own.messages > 0 {
                return None;
            }
            if progress.settled < *sync.events.get_or_insert(progress.commits) {
                return None;
            }
            let sync = own.sync.take()?;
            self.syncs -= 1;
            let software = sync.command.is_some();
            let result = if software { self.take_timeouts(port, &is_off) } else { Ok(()) };
            Some((port, sync, result))
        })
    }

    /// Ends a CMD_SYNC of software on this queue that has nothing left to wait for.
    ///
    /// # Errors
    /// CERROR_ATC_INV_SYNC if an ATC invalidation has timed out; `is_off` as in [`Engine::complete`]. The next CMD_SYNC does
    /// not hear of it again.
    pub fn take_timeouts(&mut self, port: usize, is_off: impl Fn(usize) -> bool) -> Result<(), CommandError> {
        let mut result = Ok(());
        if self.timeouts > 0 {
            for (p, q) in self.ports.iter_mut().enumerate() {
                if q.timed_out && (p == port || (port == 0 && is_off(p))) {
                    q.timed_out = false;
                    self.timeouts -= 1;
                    result = Err(CommandError::CERROR_ATC_INV_SYNC);
                }
            }
        }
        result
    }
}

#[cfg(test)]
mod test {
    use super::super::features::{Features, IdrProfile};
    use super::*;

    fn control(edit: impl FnOnce(&mut Features)) -> Control {
        let mut features = Features::new(IdrProfile::STALLING).unwrap();
        edit(&mut features);
        let mut control = Control::new(features);
        control.cr0 = control.cr0.with_smmuen(true);
        control
    }
    fn is_illegal(command: Command, edit: impl FnOnce(&mut Features)) -> bool {
        decode(&command, &control(edit)) == Err(CommandError::CERROR_ILL)
    }

    /// Every opcode that exists, with all features and with the one it needs taken away.
    #[test]
    fn legality() {
        type Edit = fn(&mut Features);
        let rows: &[(u8, bool, Option<Edit>)] = &[
            (0x01, true, None),
            (0x02, true, None),
            (0x03, true, None),
            (0x04, true, None),
            (0x05, true, Some(|f| f.s1p = false)),
            (0x06, true, Some(|f| f.s1p = false)),
            (0x07, false, None),
            (0x10, true, Some(|f| f.s1p = false)),
            (0x11, true, Some(|f| f.s1p = false)),
            (0x12, true, Some(|f| f.s1p = false)),
            (0x13, true, Some(|f| f.s1p = false)),
            (0x18, false, None),
            (0x1a, false, None),
            (0x20, true, Some(|f| f.hyp = false)),
            (0x21, true, Some(|f| f.hyp = false)),
            (0x22, true, Some(|f| f.hyp = false)),
            (0x23, true, Some(|f| f.hyp = false)),
            (0x28, true, Some(|f| f.s2p = false)),
            (0x2a, true, Some(|f| f.s2p = false)),
            (0x30, true, None),
            (0x40, true, Some(|f| f.ats = false)),
            (0x41, true, Some(|f| f.pri = false)),
            (0x44, true, Some(|f| f.stall_model = StallModel::Terminate)),
            (0x45, true, Some(|f| f.stall_model = StallModel::Terminate)),
            (0x46, true, None),
            (0x50, false, None),
            (0x58, false, None),
            (0x60, false, None),
            (0x70, false, None),
            (0x73, false, None),
            (0x80, false, None),
            (0x00, false, None),
            (0xff, false, None),
        ];
        for &(op, legal, without) in rows {
            let command = Command::new(Opcode(op));
            assert_eq!(!is_illegal(command, |_| ()), legal, "{op:#x}");
            if let Some(edit) = without {
                assert!(is_illegal(command, edit), "{op:#x} without its feature");
            }
        }
    }

    #[test]
    fn illegal_parameters() {
        let range = Command::tlbi_nh_va(1, 0, 0x1000, true).with_tg(command::tg::K4);
        for (c, illegal) in [
            (Command::cfgi_ste(1, true).with_ssec(true), true),
            (Command::sync().with_cs(3), true),
            (Command::pri_resp(1, None, 0, 3), true),
            (Command::atc_inv(1, None, 0, 53), true),
            (range, true),
            (range.with_num(1), false),
            (range.with_ttl(3), false),
        ] {
            assert_eq!(is_illegal(c, |_| ()), illegal, "{c}");
        }
        assert!(!is_illegal(range, |f| f.ril = false), "without RIL the fields are ignored");
    }

    #[test]
    fn meanings() {
        let c = control(|_| ());
        let atc = |command| match decode(&command, &c) {
            Ok(Work::InvalidateAtc(inv)) => (inv.ssid, inv.global, inv.addr, inv.size_log2),
            other => panic!("{other:?}"),
        };
        assert_eq!(atc(Command::atc_inv(9, None, 0x1234_5000, 4)), (None, false, 0x1234_0000, 16));
        assert_eq!(atc(Command::atc_inv(9, Some(3), 0x1000, 52)), (Some(3), false, 0, 64));
        assert_eq!(atc(Command::atc_inv(9, Some(3), 0, 0).with_global(true)), (Some(3), true, 0, 12));
        assert_eq!(atc(Command::atc_inv(9, None, 0, 0).with_global(true)), (None, false, 0, 12), "IGNORED");
        let interrupt = |addr| Signal::Interrupt { addr, data: 5 };
        let as_it_is: fn(&mut Features) = |_| ();
        for (command, edit, want) in [
            (Command::sync(), as_it_is, Signal::None),
            (Command::sync_sev(), as_it_is, Signal::Event),
            (Command::sync_sev(), |f| f.sev = false, Signal::None),
            (Command::sync_msi(0x9000, 5), as_it_is, interrupt(Some(0x9000))),
            (Command::sync_msi(1 << 50 | 0x9000, 5), as_it_is, interrupt(Some(0x9000))),
            (Command::sync_msi(1 << 50, 5), as_it_is, interrupt(Some(0))),
            (Command::sync_msi(0, 5), as_it_is, interrupt(None)),
            (Command::sync_msi(0x9000, 5), |f| f.msi = false, interrupt(None)),
        ] {
            assert_eq!(decode(&command, &control(edit)), Ok(Work::Sync(want)), "{command}");
        }
        for (ac, ab, action) in
            [(true, true, Resume::Retry), (false, true, Resume::Abort), (false, false, Resume::ZeroIgnore)]
        {
            let want = Work::Resume { sid: 1, stag: 2, action };
            assert_eq!(decode(&Command::resume(1, 2, ac, ab), &c), Ok(want));
        }
        use command::resp;
        for (command, ssid, answer) in [
            (Command::pri_resp(9, None, 5, resp::FAILURE), None, PageAnswer::Failure),
            (Command::pri_resp(9, Some(3), 5, resp::INVALID), Some(3), PageAnswer::Invalid),
            (Command::pri_resp(9, Some(0), 5, resp::SUCCESS), Some(0), PageAnswer::Success),
        ] {
            let want = PageResponse { sid: 9, ssid, group: 5, answer };
            assert_eq!(decode(&command, &c), Ok(Work::RespondToPage(want)), "{command}");
        }
        let mut off = c.clone();
        off.cr0 = off.cr0.with_smmuen(false);
        for command in [Command::atc_inv(9, None, 0, 0), Command::pri_resp(9, None, 5, resp::SUCCESS)] {
            assert_eq!(decode(&command, &off), Ok(Work::Nothing), "{command} is ignored while SMMUEN=0");
        }
    }

    const IDLE: Progress = Progress { oldest: 10, commits: 4, settled: 4 };
    const MAIN: Issued = Issued {
        port: 0,
        queue: CommandQueue::Main,
        index: 0,
        raw: Command::sync(),
        executed: Command::sync(),
    };

    #[test]
    fn sync_waits_for_transactions_then_for_their_events() {
        let mut e = Engine::new(1);
        e.start(0, Sync::new(Some(MAIN), Signal::None, 10));
        let mut poll = |progress| e.complete(progress, |_| false).is_some();
        assert!(!poll(Progress { oldest: 9, ..IDLE }), "transaction 9 is in flight");
        assert!(!poll(Progress { commits: 5, ..IDLE }), "its event is not visible");
        assert!(!poll(Progress { commits: 7, ..IDLE }));
        assert!(poll(Progress { commits: 7, settled: 5, ..IDLE }), "later events do not matter");
    }

    #[test]
    fn sync_waits_for_its_own_queue_only() {
        let mut e = Engine::new(2);
        e.atc_issued(1);
        e.start(0, Sync::new(Some(MAIN), Signal::None, 0));
        assert!(e.complete(IDLE, |_| false).is_some_and(|(port, _, r)| (port, r) == (0, Ok(()))));
        e.start(1, Sync::new(Some(MAIN), Signal::None, 0));
        assert!(e.complete(IDLE, |_| false).is_none());
        e.atc_done(1, true);
        let timeout = Err(CommandError::CERROR_ATC_INV_SYNC);
        assert!(e.complete(IDLE, |_| false).is_some_and(|(port, _, r)| (port, r) == (1, timeout)));
        e.start(1, Sync::new(Some(MAIN), Signal::None, 0));
        assert!(e.complete(IDLE, |_| false).is_some_and(|(_, _, r)| r.is_ok()), "reported once");
        e.message_sent(0);
        e.start(0, Sync::new(Some(MAIN), Signal::None, 0));
        assert!(e.complete(IDLE, |_| false).is_none(), "the earlier CMD_SYNC's message is on its way");
        e.message_done(0);
        assert!(e.complete(IDLE, |_| false).is_some());
    }

    #[test]
    fn what_a_disabled_queue_leaves_behind_goes_to_the_main_queue() {
        let timeout = Err(CommandError::CERROR_ATC_INV_SYNC);
        for (off, inserted, want) in [(true, false, timeout), (false, false, Ok(())), (true, true, Ok(()))] {
            let mut e = Engine::new(2);
            e.atc_issued(1);
            e.atc_done(1, true);
            e.start(0, Sync::new((!inserted).then_some(MAIN), Signal::None, 0));
            let (_, _, result) = e.complete(IDLE, |_| off).unwrap();
            assert_eq!(result, want, "off {off} inserted {inserted}");
            // Whoever was told, told once.
            e.start(1, Sync::new(Some(MAIN), Signal::None, 0));
            let (_, _, result) = e.complete(IDLE, |_| false).unwrap();
            assert_eq!(result.is_err(), want.is_ok());
        }
    }
}
