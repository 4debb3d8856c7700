//! Hostile guests: what software can do that owns a VINTF's register page and the rings behind it, and no more.
//!
//! Everything goes the way that a guest's own driver would take: through the page that was mapped for it, and through its memory.

use std::sync::Arc;

use kernel::access::Access;
use kernel::guest::Guest;
use kernel::vmm::Vcpu;
use models::cpu::Cpu;
use sim::{Rng, Time};
use spec::cmdqv::queue::STATUS;
use spec::cmdqv::{PAGE, QUEUE_STRIDE, QueuePage0, vintf_page0};
use spec::regs::Block as _;
use spec::smmu::{Command, Opcode};

use super::load::Running;
use super::world::World;
use crate::model::Load;
use crate::platform::Attack;

/// Commands of a flood: as many as a driver puts into a batch.
const FLOOD: u64 = 64;
/// How often the attacker looks whether its queue has become quiet, and how long it waits in between.
const LOOKS: u32 = 64;
const PAUSE: Time = Time::ns(100);

/// One thread of an attack, with the queue that is its own.
pub(super) struct Attacker {
    vcpu: Vcpu,
    /// Guest-physical address of the VINTF's register page.
    page: u64,
    /// Logical index of its queue, and how many queues its VINTF has.
    queue: u64,
    queues: u64,
    /// The ring: guest-physical address and log2 of the entries.
    ring: (u64, u8),
    /// StreamIDs and VMIDs that are not its own.
    streams: Vec<u64>,
    rng: Rng,
    /// Offset of the next word of a sweep.
    swept: u64,
}

impl Attacker {
    /// An attacker in the guest of a vSMMU.
    ///
    /// # Errors
    /// The guest has no hardware queue.
    pub(super) fn new(
        world: &World,
        (vcpu, guest): (Vcpu, &Guest),
        vsmmu: u16,
        thread: u64,
        rng: Rng,
    ) -> Result<Self, String> {
        let name = &world.scenario.vsmmus[usize::from(vsmmu)].name;
        let none = || format!("`{name}` gives its guest no hardware queue; a hostile guest needs one");
        let seen = world.vsmmus[usize::from(vsmmu)].as_ref().and_then(|v| v.cmdqv()).ok_or_else(none)?;
        let driver = guest.driver(vsmmu).and_then(|driver| driver.cmdqv()).ok_or_else(none)?;
        let rings: Vec<_> = driver.own_queues().map(|q| (q.ring_base(), q.log2())).collect();
        let queue = thread % rings.len().max(1) as u64;
        let ring = *rings.get(queue as usize).ok_or_else(none)?;
        let streams = world.scenario.endpoints.iter().flat_map(|e| e.streams.iter().map(|s| u64::from(*s)));
        Ok(Self {
            vcpu,
            page: seen.base() + vintf_page0(0),
            queue,
            queues: rings.len() as u64,
            ring,
            streams: streams.collect(),
            rng,
            swept: 0,
        })
    }

    /// Attacks as often as the load says.
    pub(super) async fn run(mut self, cpu: &Cpu, load: &Load, running: &Arc<Running>) {
        let attacks = if load.attacks.is_empty() { Attack::ALL } else { &load.attacks };
        running.counts.lock().begun.get_or_insert(cpu.now());
        let period = load.rate.map(|rate| Time::ps(1_000_000_000_000 / rate.max(1)));
        for _ in 0..load.count {
            let began = cpu.now();
            let attack = attacks[self.rng.below(attacks.len() as u64) as usize];
            self.attack(attack).await;
            running.counts.lock().iterations += 1;
            if let Some(period) = period {
                cpu.sleep((began + period).saturating_sub(cpu.now())).await;
            }
        }
    }

    async fn attack(&mut self, attack: Attack) {
        // Most of the time with a queue that works: one that is stuck stops nobody.
        if self.rng.below(8) > 0 {
            self.revive().await;
        }
        match attack {
            Attack::Sweep => {
                let value = self.value();
                self.vcpu.write32(self.page + self.swept, value).await;
                self.vcpu.read32(self.page + self.swept).await;
                self.swept = (self.swept + 4) % PAGE;
            }
            Attack::Scribble => {
                let queue = self.rng.below(self.queues + 1);
                let reg = QueuePage0::ALL[self.rng.below(QueuePage0::ALL.len() as u64) as usize];
                let value = self.value();
                self.vcpu.write32(self.page + QUEUE_STRIDE * queue + u64::from(reg.offset()), value).await;
            }
            Attack::Opcodes => {
                let words = [self.rng.next_u64(), self.rng.next_u64()];
                let known = Command([(words[0] & !0xff) | self.rng.below(0x50), words[1]]);
                let clean = Command::new(known.op()).with_sid(self.stream());
                let any = [Command(words), known, clean][self.rng.below(3) as usize];
                self.push(&[any, Command::sync()]).await;
            }
            Attack::Vmids => {
                let (asid, vmid) = (self.rng.below(4) as u16, self.rng.below(8) as u16);
                let commands = [
                    Command::tlbi_nh_asid(asid, vmid),
                    Command::tlbi_s2_ipa(vmid, self.rng.below(1 << 36) << 12, true),
                    Command::new(Opcode::TLBI_S12_VMALL).with_vmid(vmid.into()),
                    Command::sync(),
                ];
                self.push(&commands).await;
            }
            Attack::Streams => {
                let sid = self.stream();
                self.push(&[Command::atc_inv(sid as u32, None, 0, 52), Command::sync()]).await;
            }
            Attack::Indices => {
                let value = self.value();
                self.write(QueuePage0::PROD, value).await;
            }
            Attack::Acknowledge => {
                // A difference of its own making; or, where there is an error, the same error again and again.
                let gerror = self.read(QueuePage0::GERROR).await;
                let bits = if self.rng.below(2) == 0 { 0 } else { 1 << self.rng.below(3) };
                self.write(QueuePage0::GERRORN, gerror ^ bits).await;
            }
            Attack::Syncs => {
                let cs = self.rng.below(3);
                let commands: Vec<_> = (0..FLOOD).map(|_| Command::sync().with_cs(cs)).collect();
                self.push(&commands).await;
            }
            Attack::Flood => {
                let commands: Vec<_> = (0..FLOOD).map(|n| Command::tlbi_nh_asid(n as u16, 0)).collect();
                self.push(&commands).await;
            }
            Attack::Toggle => {
                self.push(&[Command::tlbi_nh_asid(1, 0); 8]).await;
                self.write(QueuePage0::CONFIG, 0).await;
                self.write(QueuePage0::CONFIG, 1).await;
            }
        }
        self.vcpu.barrier().await;
    }

    /// Puts commands behind PROD, once what was there before is consumed or its queue is stuck.
    async fn push(&mut self, commands: &[Command]) {
        let (base, log2) = self.ring;
        let mask = (2_u32 << log2) - 1;
        let prod = self.read(QueuePage0::PROD).await & mask;
        for _ in 0..LOOKS {
            let used = prod.wrapping_sub(self.read(QueuePage0::CONS).await) & mask;
            if used as usize + commands.len() <= 1 << log2 {
                break;
            }
            self.vcpu.sleep(PAUSE).await;
        }
        for (n, command) in (0..).zip(commands) {
            let slot = u64::from(prod.wrapping_add(n) & (mask >> 1));
            self.vcpu.store(base + slot * Command::BYTES as u64, &command.to_bytes()).await;
        }
        self.vcpu.barrier().await;
        self.write(QueuePage0::PROD, prod.wrapping_add(commands.len() as u32) & mask).await;
    }

    /// Lets a queue begin anew if it has an error or is off: what it held is lost.
    async fn revive(&mut self) {
        let gerror = self.read(QueuePage0::GERROR).await;
        let good = gerror == self.read(QueuePage0::GERRORN).await;
        let on = |status: u32| STATUS(status.into()).cmdq_enabled();
        if good && on(self.read(QueuePage0::STATUS).await) {
            return;
        }
        self.write(QueuePage0::CONFIG, 0).await;
        for _ in 0..LOOKS {
            if !on(self.read(QueuePage0::STATUS).await) {
                break;
            }
            self.vcpu.sleep(PAUSE).await;
        }
        for reg in [QueuePage0::CONS, QueuePage0::PROD] {
            self.write(reg, 0).await;
        }
        let gerror = self.read(QueuePage0::GERROR).await;
        self.write(QueuePage0::GERRORN, gerror).await;
        self.write(QueuePage0::CONFIG, 1).await;
    }

    fn at(&self, reg: QueuePage0) -> u64 {
        self.page + QUEUE_STRIDE * self.queue + u64::from(reg.offset())
    }
    async fn read(&self, reg: QueuePage0) -> u32 {
        self.vcpu.read32(self.at(reg)).await
    }
    async fn write(&self, reg: QueuePage0, value: u32) {
        self.vcpu.write32(self.at(reg), value).await;
    }

    /// A value: nothing, everything, one bit, a small number, or any.
    fn value(&mut self) -> u32 {
        match self.rng.below(5) {
            0 => 0,
            1 => u32::MAX,
            2 => 1 << self.rng.below(32),
            3 => self.rng.below(1 << 10) as u32,
            _ => self.rng.next_u64() as u32,
        }
    }
    /// A StreamID of the machine, or any.
    fn stream(&mut self) -> u64 {
        match self.rng.below(3) {
            0 => self.rng.next_u64() & 0xffff_ffff,
            _ => self.streams[self.rng.below(self.streams.len() as u64) as usize],
        }
    }
}
