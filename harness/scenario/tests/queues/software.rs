//! Software of a host and of two guests, on whichever machine.

use std::future::Future;
use std::sync::Arc;

use models::smmu::granule::Granule;
use models::smmu::tables::{Builder, PAGE1, PAGE2, Space};
use parking_lot::Mutex;
use spec::cmdqv::Place;
use spec::smmu::Command;

pub(crate) const SMMU: u64 = 0x0500_0000;
pub(crate) const CMDQV: u64 = 0x0520_0000;
pub(crate) const RAM: u64 = 0x8000_0000;
/// Pages of the three streams.
const PAGES: u64 = RAM + 0x80_0000;
const RINGS: u64 = RAM + 0x200_0000;
const EVENTS: u64 = RAM + 0x220_0000;
const RING_LOG2: u32 = 4;
/// Commands of a ring.
pub(crate) const ENTRIES: u32 = 1 << RING_LOG2;
const MASK: u32 = 2 * ENTRIES - 1;
/// The number of the SMMU's own queue, behind the VCMDQs.
const MAIN: usize = 8;
/// What both guests call their device.
pub(crate) const VSID: u32 = 0x10;
/// How often software looks before it gives up.
const LOOKS: u32 = 4_000;

/// Who acts: VINTFs 0, 1 and 2 are theirs, with VCMDQs 0 and 1, 2 to 4, and 5 to 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Host,
    Guest,
    Hostile,
}

impl Who {
    pub(crate) fn stream(self) -> u32 {
        1 + self as u32
    }
    fn asid(self) -> u16 {
        if self == Self::Host { 1 } else { 5 }
    }
    fn queue(self, nth: usize) -> usize {
        match self {
            Self::Host => nth % 2,
            Self::Guest => 2 + nth % 3,
            Self::Hostile => 5 + nth % 3,
        }
    }
}

pub(crate) fn owner(queue: usize) -> Who {
    match queue {
        0 | 1 | MAIN => Who::Host,
        2..=4 => Who::Guest,
        _ => Who::Hostile,
    }
}

pub(crate) fn vmid(who: Who) -> u16 {
    [0, 0x12, 0x13][who as usize]
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A page goes: its leaf is cleared, then TLBI and CMD_SYNC are queued.
    Unmap { who: Who, page: u64, nth: usize },
    /// It comes back.
    Map { who: Who, page: u64 },
    /// A device reads or writes; software waits for its end or not.
    Dma { who: Who, page: u64, write: bool, wait: bool },
    /// Invalidations without CMD_SYNC.
    Flood { who: Who, nth: usize, n: u16 },
    /// ATC_INV for the device, and CMD_SYNC.
    InvalidateAtc { who: Who, nth: usize },
    /// Until a queue is empty.
    Wait { who: Who, nth: usize },
    /// Something for the SMMU's own queue.
    Main,
    /// What the hostile guest does.
    Hostile(Hostile),
    /// The host takes everything from the hostile guest, and gives it to the next one.
    Evict,
}

#[derive(Clone, Debug)]
pub(crate) enum Hostile {
    /// Writes somewhere in its VINTF's register page.
    Write { offset: u64, value: u32 },
    /// Queues commands, and rings the doorbell.
    Push { l: usize, commands: Vec<Command> },
    /// Begins anew with a queue.
    Revive { l: usize },
}

/// What software reaches hardware by.
pub(crate) trait Bus: Clone + Send + Sync + 'static {
    fn write(&self, addr: u64, len: u8, value: u64) -> impl Future<Output = ()> + Send;
    fn read(&self, addr: u64) -> impl Future<Output = u32> + Send;
    fn store(&self, addr: u64, bytes: Vec<u8>) -> impl Future<Output = ()> + Send;
    /// Whether it went through; without `wait`, nothing is known of it.
    fn dma(
        &self,
        stream: u32,
        iova: u64,
        write: bool,
        wait: bool,
    ) -> impl Future<Output = Option<bool>> + Send;
    /// Time passes, if there is any.
    fn rest(&self) -> impl Future<Output = ()> + Send;
}

/// What software did and saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    /// By queue.
    pub(crate) commands: Vec<Vec<Command>>,
    /// Transfers that were refused.
    pub(crate) refused: usize,
    /// What went wrong for the host and the guest that is not hostile.
    pub(crate) complaints: Vec<String>,
}

struct Software<B> {
    bus: B,
    prods: [u32; 9],
    /// Leaf descriptors of each one's pages: address and value.
    leaves: Vec<Vec<(u64, u64)>>,
    sent: Sent,
}

fn register(name: &str) -> u64 {
    CMDQV + name.parse::<Place>().expect("a register").offset().expect("a place")
}
fn queue_register(queue: usize, name: &str) -> u64 {
    match (queue, name) {
        (MAIN, "PROD") => SMMU + 0x98,
        (MAIN, _) => SMMU + 0x9c,
        _ => register(&format!("VCMDQ{queue}.{name}")),
    }
}
fn ring(queue: usize) -> u64 {
    RINGS + 0x1000 * queue as u64
}

/// Sets everything up, does the steps, and waits until all who behave have what they want.
pub(crate) async fn play<B: Bus>(bus: B, steps: Vec<Step>, out: Arc<Mutex<Option<Sent>>>) {
    let mut software = Software { bus, prods: [0; 9], leaves: Vec::new(), sent: Sent::default() };
    software.sent.commands = vec![Vec::new(); 9];
    software.boot().await;
    let before = software.others().await;
    for step in steps {
        software.step(step).await;
    }
    for queue in (0..9).filter(|q| owner(*q) != Who::Hostile) {
        software.wait(queue).await;
    }
    let after = software.others().await;
    for (old, new) in before.iter().zip(&after).filter(|(old, new)| old != new) {
        software.sent.complaints.push(format!("{} was {:#x} and is {:#x}", old.0, old.1, new.1));
    }
    *out.lock() = Some(software.sent);
}

impl<B: Bus> Software<B> {
    async fn boot(&mut self) {
        let mut b = Builder::new(RAM);
        let under = b.stage2(Granule::K4, 40, 1);
        for block in 0..16 {
            let at = RAM + (block << 21);
            b.map2(&under, at, at, 2, PAGE2);
        }
        b.linear_streams(3);
        let streams = b.ste_addr(0);
        for who in [Who::Host, Who::Guest, Who::Hostile] {
            let space: Space = b.stage1(Granule::K4, 39, 0);
            let mut leaves = Vec::new();
            for page in 0..4 {
                let at = page << 12;
                b.map1(&space, at, PAGES + (who as u64) * 0x10_0000 + at, 3, PAGE1.with_ng(true));
                let leaf = b.descriptor(&space, at, 3);
                leaves.push((leaf, b.word(leaf)));
            }
            let context = b.context(&space.cd(who.asid()), 0);
            let ste = if who == Who::Host { space.ste(context) } else { under.nested(context) };
            b.set_ste(who.stream(), ste.with_s2vmid(vmid(who).into()).with_eats(1));
            self.leaves.push(leaves);
        }
        let end = b.allocate(12);
        for at in (RAM..end).step_by(8) {
            if b.word(at) != 0 {
                self.bus.store(at, b.word(at).to_le_bytes().to_vec()).await;
            }
        }
        for (offset, len, value) in [
            (0x2c, 4, 2),
            (0x80, 8, streams),
            (0x88, 4, 3),
            (0x90, 8, ring(MAIN) | u64::from(RING_LOG2)),
            (0xa0, 8, EVENTS | 8),
            (0x20, 4, 0xd),
        ] {
            self.bus.write(SMMU + offset, len, value).await;
        }
        self.bus.rest().await;
        // Firmware may have left the block off.
        let config = self.bus.read(register("CONFIG")).await;
        self.bus.write(register("CONFIG"), 4, u64::from(config | 1)).await;
        self.becomes(register("STATUS"), 1).await;
        for who in [Who::Host, Who::Guest, Who::Hostile] {
            self.give(who).await;
            self.enable(who).await;
        }
    }

    /// Sets up a VINTF with its queues. Nothing of an owner before may be seen in them.
    async fn give(&mut self, who: Who) {
        let v = who as u64;
        let config = u64::from(who == Who::Host) << 17 | u64::from(vmid(who)) << 1 | 1;
        self.bus.write(register(&format!("VINTF{v}.SID_REPLACE0")), 4, who.stream().into()).await;
        self.bus.write(register(&format!("VINTF{v}.SID_MATCH0")), 4, u64::from(VSID) << 1 | 1).await;
        self.bus.write(register(&format!("VINTF{v}.CONFIG")), 4, config).await;
        for (l, queue) in (0..8).filter(|q| owner(*q) == who).enumerate() {
            let allocation = v << 15 | (l as u64) << 1 | 1;
            self.bus.write(register(&format!("CMDQ_ALLOC{queue}")), 4, allocation).await;
            for name in ["CONS", "PROD", "CONFIG", "STATUS", "GERROR", "GERRORN", "BASE"] {
                let value = self.bus.read(queue_register(queue, name)).await;
                if value != 0 {
                    self.sent
                        .complaints
                        .push(format!("a new owner finds {name} of queue {queue} {value:#x}"));
                }
            }
            let base = ring(queue) | u64::from(RING_LOG2);
            self.bus.write(queue_register(queue, "BASE"), 8, base).await;
        }
    }

    async fn enable(&mut self, who: Who) {
        for queue in (0..8).filter(|q| owner(*q) == who) {
            self.bus.write(queue_register(queue, "CONFIG"), 4, 1).await;
            self.becomes(queue_register(queue, "STATUS"), 1).await;
        }
    }

    /// Waits until bit 0 of a register has this value.
    async fn becomes(&mut self, at: u64, value: u32) {
        for _ in 0..LOOKS {
            if self.bus.read(at).await & 1 == value {
                return;
            }
            self.bus.rest().await;
        }
        self.sent.complaints.push(format!("bit 0 of {at:#x} does not become {value}"));
    }

    /// Takes everything from the hostile guest, as drivers do it.
    async fn take_back(&mut self) {
        for queue in [7, 6, 5] {
            self.bus.write(queue_register(queue, "CONFIG"), 4, 0).await;
            self.becomes(queue_register(queue, "STATUS"), 0).await;
            self.push(MAIN, &[Command::sync()]).await;
            self.wait(MAIN).await;
            for (name, len) in [("PROD", 4), ("CONS", 4), ("BASE", 8), ("CONS_INDX_BASE", 8)] {
                self.bus.write(queue_register(queue, name), len, 0).await;
            }
            let gerror = self.bus.read(queue_register(queue, "GERROR")).await;
            self.bus.write(queue_register(queue, "GERRORN"), 4, gerror.into()).await;
            let l = queue as u64 - 5;
            self.bus.write(register(&format!("CMDQ_ALLOC{queue}")), 4, 2 << 15 | l << 1).await;
            // The guest still has the page: nothing is there any more.
            let slot = CMDQV + spec::cmdqv::vintf_page0(2) + 0x80 * l;
            self.bus.write(slot + 4, 4, 3).await;
            if self.bus.read(slot + 4).await | self.bus.read(queue_register(queue, "PROD")).await != 0 {
                self.sent.complaints.push(format!("queue {queue} is still in its old owner's hands"));
            }
        }
        self.bus.write(register("VINTF2.CONFIG"), 4, 0).await;
        self.becomes(register("VINTF2.STATUS"), 0).await;
        for name in ["VINTF2.SID_MATCH0", "VINTF2.SID_REPLACE0"] {
            self.bus.write(register(name), 4, 0).await;
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Unmap { who, page, nth } => {
                let (at, _) = self.leaves[who as usize][page as usize];
                self.bus.store(at, vec![0; 8]).await;
                // A guest may write any VMID.
                let tlbi =
                    Command::tlbi_nh_va(who.asid(), 0x13 * u16::from(who != Who::Host), page << 12, true);
                self.push(who.queue(nth), &[tlbi, Command::sync()]).await;
            }
            Step::Map { who, page } => {
                let (at, leaf) = self.leaves[who as usize][page as usize];
                self.bus.store(at, leaf.to_le_bytes().to_vec()).await;
            }
            Step::Dma { who, page, write, wait } => {
                let through = self.bus.dma(who.stream(), page << 12, write, wait).await;
                self.sent.refused += usize::from(through == Some(false));
            }
            Step::Flood { who, nth, n } => {
                let commands: Vec<_> = (0..n).map(|n| Command::tlbi_nh_asid(0x100 + n, 0x13)).collect();
                self.push(who.queue(nth), &commands).await;
            }
            Step::InvalidateAtc { who, nth } => {
                let sid = if who == Who::Host { who.stream() } else { VSID };
                self.push(who.queue(nth), &[Command::atc_inv(sid, None, 0, 52), Command::sync()]).await;
            }
            Step::Wait { who, nth } => self.wait(who.queue(nth)).await,
            Step::Main => self.push(MAIN, &[Command::tlbi_nh_asid(0x200, 0x12), Command::sync()]).await,
            Step::Hostile(hostile) => self.attack(hostile).await,
            Step::Evict => {
                self.take_back().await;
                self.give(Who::Hostile).await;
                self.enable(Who::Hostile).await;
            }
        }
    }

    async fn cons(&self, queue: usize) -> u32 {
        self.bus.read(queue_register(queue, "CONS")).await & 0xf_ffff
    }

    async fn push(&mut self, queue: usize, commands: &[Command]) {
        let n = commands.len() as u32;
        for look in 0.. {
            let used = self.prods[queue].wrapping_sub(self.cons(queue).await) & MASK;
            if used + n <= ENTRIES {
                break;
            }
            if look == LOOKS {
                return self.sent.complaints.push(format!("queue {queue} has no space for {n} commands"));
            }
            self.bus.rest().await;
        }
        self.put(queue, commands).await;
        self.sent.commands[queue].extend(commands);
    }

    async fn put(&mut self, queue: usize, commands: &[Command]) {
        for command in commands {
            let slot = ring(queue) + 16 * u64::from(self.prods[queue] & (ENTRIES - 1));
            self.bus.store(slot, command.to_bytes().to_vec()).await;
            self.prods[queue] = (self.prods[queue] + 1) & MASK;
        }
        self.bus.write(queue_register(queue, "PROD"), 4, self.prods[queue].into()).await;
    }

    async fn wait(&mut self, queue: usize) {
        for _ in 0..LOOKS {
            if self.cons(queue).await == self.prods[queue] {
                return;
            }
            self.bus.rest().await;
        }
        let (cons, prod) = (self.cons(queue).await, self.prods[queue]);
        self.sent.complaints.push(format!("CONS of queue {queue} is {cons:#x}, PROD {prod:#x}"));
    }

    async fn attack(&mut self, hostile: Hostile) {
        let page = CMDQV + spec::cmdqv::vintf_page0(2);
        match hostile {
            Hostile::Write { offset, value } => {
                self.bus.write(page + (offset & !3), 4, value.into()).await;
            }
            Hostile::Push { l, commands } => {
                let queue = Who::Hostile.queue(l);
                self.prods[queue] = self.bus.read(queue_register(queue, "PROD")).await & MASK;
                self.put(queue, &commands).await;
            }
            Hostile::Revive { l } => {
                let at = |reg: u64| page + 0x80 * l as u64 + reg;
                self.bus.write(at(8), 4, 0).await;
                for _ in 0..64 {
                    if self.bus.read(at(0xc)).await == 0 {
                        break;
                    }
                    self.bus.rest().await;
                }
                self.bus.write(at(0), 4, 0).await;
                self.bus.write(at(4), 4, 0).await;
                let gerror = self.bus.read(at(0x10)).await;
                self.bus.write(at(0x14), 4, gerror.into()).await;
                self.bus.write(at(8), 4, 1).await;
            }
        }
    }

    /// All that the hostile guest must not be able to change, and that nobody else has a reason to change.
    async fn others(&self) -> Vec<(String, u32)> {
        let mut names: Vec<String> = ["CONFIG", "STATUS", "VINTF_INT_MASK_0"].map(String::from).into();
        for v in 0..4 {
            let of = |name: &str| format!("VINTF{v}.{name}");
            names.extend(["CONFIG", "SID_MATCH0", "SID_MATCH1", "SID_REPLACE0", "SID_REPLACE1"].map(of));
        }
        names.extend([0, 1, 3].map(|v| format!("VINTF{v}.STATUS")));
        for q in 0..8 {
            names.extend([format!("CMDQ_ALLOC{q}"), format!("VCMDQ{q}.BASE")]);
            if owner(q) != Who::Hostile {
                names
                    .extend(["CONFIG", "STATUS", "GERROR", "GERRORN"].map(|name| format!("VCMDQ{q}.{name}")));
            }
        }
        let mut seen = Vec::new();
        for name in names {
            let value = self.bus.read(register(&name)).await;
            seen.push((name, value));
        }
        seen
    }
}
