//! The trapped command queue: the VMM takes the guest's commands, checks, routes and forwards them.

use models::cpu::Cpu;
use spec::smmu::page0::{CMDQ_BASE, CMDQ_CONS, CMDQ_PROD, CR0, IDR1};
use spec::smmu::{Command, Opcode};

use super::devices::Carrier;
use super::routing::{Handling, handling};
use super::{Routing, Vsmmu};
use crate::errno::Errno;
use crate::iommufd::{Id, Invalidate};
use crate::journal::Note;

/// CERROR_ILL.
const ILLEGAL: u64 = 1;
/// GERROR bit of the command queue.
const CMDQ_ERR: u32 = 0;

/// Commands collected per viommu, in order, and the ring index behind each.
#[derive(Debug, Default)]
struct Batch {
    per_carrier: Vec<(Id, Vec<(u32, Command)>)>,
    len: usize,
}

impl Vsmmu {
    /// Consumes the guest's queue until it is empty or a command is bad.
    pub(super) async fn run_queue(&self, cpu: &Cpu) {
        let vm = self.vm();
        let mut batch = Batch::default();
        // What has been consumed but not told: CONS moves when the batch is through.
        let mut pending: Vec<(u32, Command)> = Vec::new();
        while let Some((index, gpa)) = self.next_command(pending.len() as u32) {
            let mut bytes = [0; 16];
            vm.read_memory(cpu, gpa, &mut bytes).await;
            cpu.delay(vm.config.costs.command).await;
            let word =
                |i: usize| u64::from_le_bytes(bytes[8 * i..8 * i + 8].try_into().expect("eight bytes"));
            let command = Command([word(0), word(1)]);
            self.state.lock().count(command.op().name().unwrap_or("unknown opcode"));
            match handling(command) {
                Handling::Stream(sid) => {
                    let targets = self.targets_of_stream(sid);
                    self.collect(cpu, &mut batch, index, command, targets);
                }
                Handling::All => {
                    let targets = self.targets_of_all();
                    self.collect(cpu, &mut batch, index, command, targets);
                }
                Handling::Reinstall(range) => {
                    if let Err(index) = self.flush(cpu, &mut batch).await {
                        return self.stop(cpu, &pending, index).await;
                    }
                    self.reinstall(cpu, range).await;
                }
                Handling::Sync | Handling::Ignore => {}
                Handling::Illegal => {
                    if let Err(index) = self.flush(cpu, &mut batch).await {
                        return self.stop(cpu, &pending, index).await;
                    }
                    return self.stop(cpu, &pending, index).await;
                }
            }
            pending.push((index, command));
            let full = batch.len >= self.config.batch.max(1);
            if full || command.op() == Opcode::SYNC {
                if let Err(index) = self.flush(cpu, &mut batch).await {
                    return self.stop(cpu, &pending, index).await;
                }
                self.consume(cpu, &mut pending);
            }
        }
        match self.flush(cpu, &mut batch).await {
            Ok(()) => self.consume(cpu, &mut pending),
            Err(index) => self.stop(cpu, &pending, index).await,
        }
    }

    /// Ring index and guest address of the command after CONS and `ahead` more.
    fn next_command(&self, ahead: u32) -> Option<(u32, u64)> {
        let state = self.state.lock();
        if !state.page0.get::<CR0>().cmdqen() || state.command_error() {
            return None;
        }
        let base = state.page0.get::<CMDQ_BASE>();
        let log2 = base.log2size().min(state.page0.get::<IDR1>().cmdqs());
        let mask = (2_u64 << log2) - 1;
        let prod = state.page0.get::<CMDQ_PROD>().wr() & mask;
        let cons = (state.page0.get::<CMDQ_CONS>().rd() + u64::from(ahead)) & mask;
        let left = prod.wrapping_sub(cons) & mask;
        if left == 0 || left > 1 << log2 {
            return None;
        }
        let index = cons & (mask >> 1);
        Some((index as u32, base.addr() + 16 * index))
    }

    /// The viommus that a command with a virtual StreamID goes to.
    fn targets_of_stream(&self, sid: u32) -> Vec<usize> {
        let state = self.state.lock();
        match self.config.routing {
            Routing::First => vec![0],
            Routing::Select | Routing::Broadcast => state
                .devices
                .get(&sid)
                .filter(|d| d.vdevice.is_some())
                .map(|d| d.carrier)
                .into_iter()
                .collect(),
        }
    }

    /// The viommus that a command without a StreamID goes to.
    fn targets_of_all(&self) -> Vec<usize> {
        let mut state = self.state.lock();
        let mut targets: Vec<usize> = (0..state.carriers.len()).collect();
        if self.config.routing == Routing::First {
            targets.truncate(1);
        } else if targets.len() > 1 {
            state.broadcasts += 1;
            let nth = state.broadcasts;
            let skip = *self.skip.lock();
            if let Some(skip) = skip.filter(|skip| (skip.nth..skip.nth + skip.times).contains(&nth)) {
                targets.retain(|t| *t != skip.target);
            }
        }
        targets
    }

    fn collect(&self, cpu: &Cpu, batch: &mut Batch, index: u32, command: Command, targets: Vec<usize>) {
        let carriers: Vec<Id> = self.state.lock().carriers.iter().map(|c: &Carrier| c.viommu).collect();
        let (mut to, mut not_to) = (Vec::new(), Vec::new());
        for (i, viommu) in carriers.iter().enumerate() {
            if targets.contains(&i) { to.push(viommu.0) } else { not_to.push(viommu.0) }
        }
        for target in targets {
            let Some(viommu) = carriers.get(target) else { continue };
            self.state.lock().carriers[target].forwarded += 1;
            match batch.per_carrier.iter_mut().find(|(id, _)| id == viommu) {
                Some((_, commands)) => commands.push((index, command)),
                None => batch.per_carrier.push((*viommu, vec![(index, command)])),
            }
        }
        batch.len += 1;
        self.vm()
            .journal
            .push(cpu.now(), Note::Routed { vsmmu: self.config.index, raw: command, to, not_to });
    }

    /// Sends what was collected. `Err` is the ring index of a command that the kernel refused.
    async fn flush(&self, cpu: &Cpu, batch: &mut Batch) -> Result<(), u32> {
        batch.len = 0;
        for (viommu, commands) in std::mem::take(&mut batch.per_carrier) {
            let list = commands.iter().map(|(_, command)| *command).collect();
            self.state.lock().count("invalidate_ioctls");
            let outcome = self.context.hwpt_invalidate(cpu, &Invalidate::new(viommu, list)).await;
            if outcome.result == Err(Errno::EIO) {
                let at = (outcome.entries as usize).min(commands.len() - 1);
                return Err(commands[at].0);
            }
        }
        Ok(())
    }

    /// Moves CONS past what has completed.
    fn consume(&self, cpu: &Cpu, pending: &mut Vec<(u32, Command)>) {
        let mut state = self.state.lock();
        let log2 = state.page0.get::<CMDQ_BASE>().log2size().min(state.page0.get::<IDR1>().cmdqs());
        let cons = state.page0.get::<CMDQ_CONS>();
        state.page0.set(cons.with_rd((cons.rd() + pending.len() as u64) & ((2 << log2) - 1)));
        let vm = self.vm();
        for (index, raw) in pending.drain(..) {
            vm.journal.push(cpu.now(), Note::GuestCommandConsumed { vsmmu: self.config.index, index, raw });
        }
    }

    /// Stops at the command with this ring index: CERROR_ILL.
    async fn stop(&self, cpu: &Cpu, pending: &[(u32, Command)], index: u32) {
        let mut done: Vec<_> = pending.iter().take_while(|(i, _)| *i != index).copied().collect();
        self.consume(cpu, &mut done);
        self.state.lock().set_command_error(ILLEGAL);
        self.state.lock().count("command_errors");
        self.global_error(cpu, CMDQ_ERR).await;
    }
}
