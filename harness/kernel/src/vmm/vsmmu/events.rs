//! Events on their way into the guest: the VMM reads the kernel's channels and writes the guest's event queue.

use models::cpu::Cpu;
use spec::smmu::page0::{CR0ACK, EVENTQ_BASE, IDR1, IRQ_CTRLACK};
use spec::smmu::page1::{EVENTQ_CONS, EVENTQ_PROD};

use super::Vsmmu;
use crate::iommufd::Vevent;

impl Vsmmu {
    /// The VMM's event thread of this vSMMU; never returns.
    pub async fn serve_events(&self, cpu: Cpu) {
        let mut seen = 0;
        loop {
            let Some(count) = cpu.wait_signal(self.event_signal(), seen, None).await else { continue };
            seen = count;
            self.drain_events(&cpu).await;
        }
    }

    /// Delivers everything that waits in the kernel's channels.
    pub async fn drain_events(&self, cpu: &Cpu) {
        let carriers = self.state.lock().carriers.clone();
        for carrier in carriers {
            for event in self.context.veventq_read(cpu, carrier.events).await.unwrap_or_default() {
                self.deliver(cpu, &event).await;
            }
            let Some(errors) = carrier.errors else { continue };
            for event in self.context.veventq_read(cpu, errors).await.unwrap_or_default() {
                if let (Some(map), Some(cmdqv)) = (event.payload, self.cmdqv()) {
                    cmdqv.report_errors(cpu, [map[0], map[1]]).await;
                }
            }
        }
    }

    /// Writes one record into the guest's queue, or notes the loss in its overflow flag.
    async fn deliver(&self, cpu: &Cpu, event: &Vevent) {
        let vm = self.vm();
        let (gpa, was_empty) = {
            let mut state = self.state.lock();
            if !state.page0.get::<CR0ACK>().eventqen() {
                return;
            }
            let base = state.page0.get::<EVENTQ_BASE>();
            let log2 = base.log2size().min(state.page0.get::<IDR1>().eventqs());
            let mask = (2_u64 << log2) - 1;
            let (prod, cons) = (state.page1.get::<EVENTQ_PROD>(), state.page1.get::<EVENTQ_CONS>());
            let used = prod.wr().wrapping_sub(cons.rd()) & mask;
            if used >= 1 << log2 || event.payload.is_none() {
                if prod.ovflg() == cons.ovackflg() {
                    state.page1.set(prod.with_ovflg(!prod.ovflg()));
                }
                state.count("events_lost");
                return;
            }
            state.count("events");
            (base.addr() + 32 * (prod.wr() & (mask >> 1)), used == 0)
        };
        let bytes: Vec<u8> = event.payload.iter().flatten().flat_map(|word| word.to_le_bytes()).collect();
        vm.write_memory(cpu, gpa, &bytes).await;
        cpu.barrier().await;
        let interrupt = {
            let mut state = self.state.lock();
            let log2 = state.page0.get::<EVENTQ_BASE>().log2size().min(state.page0.get::<IDR1>().eventqs());
            let prod = state.page1.get::<EVENTQ_PROD>();
            state.page1.set(prod.with_wr((prod.wr() + 1) & ((2 << log2) - 1)));
            was_empty && state.page0.get::<IRQ_CTRLACK>().eventq_irqen()
        };
        if interrupt {
            vm.inject(cpu, self.config.eventq_intid).await;
        }
    }
}
