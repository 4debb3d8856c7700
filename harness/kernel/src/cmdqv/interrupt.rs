//! Errors of queues: the kernel's own are repaired, those of virtual machines are passed on and left alone.

use std::sync::Arc;

use sim::Time;
use spec::cmdqv::{Config as Global, Place, QueuePage0};

use super::lvcmdq::page0;
use super::{Cmdqv, OWN};
use crate::access::Access;
use crate::journal::Note;
use crate::smmu::Taken;

/// Hears about errors in a virtual machine's queues.
pub trait VintfErrorSink: Send + Sync {
    /// Some queue of the VINTF has an error: the 128-bit map of its logical queues, low word first. The map may be
    /// empty: the guest may have acknowledged first.
    fn vintf_error(&self, now: Time, map: [u64; 2]) -> Taken;
}

impl Cmdqv {
    /// Who hears about errors of a VINTF.
    pub fn set_error_sink(&self, v: u8, sink: Option<Arc<dyn VintfErrorSink>>) {
        let mut sinks = self.sinks.lock();
        match sink {
            Some(sink) => sinks.insert(v, sink),
            None => sinks.remove(&v),
        };
    }

    /// What the interrupt handler does.
    pub async fn handle_error<A: Access>(&self, cpu: &A) {
        let high = self.read(cpu, Place::Config(Global::VINTF_ERR_MAP_1)).await;
        let low = self.read(cpu, Place::Config(Global::VINTF_ERR_MAP_0)).await;
        for reg in
            [Global::CMDQ_ERR_MAP_3, Global::CMDQ_ERR_MAP_2, Global::CMDQ_ERR_MAP_1, Global::CMDQ_ERR_MAP_0]
        {
            self.read(cpu, Place::Config(reg)).await;
        }
        let vintfs = u64::from(high) << 32 | u64::from(low);
        for v in (0..self.param.vintfs() as u8).filter(|v| vintfs >> v & 1 != 0) {
            let mut map = [0; 2];
            for (word, map) in [0, 2].into_iter().zip(&mut map) {
                *map = cpu.read64(self.at(Place::LvcmdqErrMap { v, word })).await;
            }
            if v == OWN {
                self.repair_own(cpu, map).await;
            } else {
                self.pass_on(cpu, v, map).await;
            }
        }
    }

    async fn repair_own<A: Access>(&self, cpu: &A, map: [u64; 2]) {
        for (l, own) in self.own.iter().enumerate() {
            if map[l / 64] >> (l % 64) & 1 == 0 {
                continue;
            }
            let gerror = self.read(cpu, page0(OWN, l as u8, QueuePage0::GERROR)).await;
            own.queue.skip_error(cpu).await;
            self.write(cpu, page0(OWN, l as u8, QueuePage0::GERRORN), gerror).await;
        }
    }

    async fn pass_on<A: Access>(&self, cpu: &A, v: u8, map: [u64; 2]) {
        let sink = self.sinks.lock().get(&v).cloned();
        match sink.map_or(Taken::No, |sink| sink.vintf_error(cpu.now(), map)) {
            Taken::No => {
                let text = format!("CMDQV {}: VINTF {v} has errors {map:x?} and nobody to tell", self.smmu);
                self.journal.push(cpu.now(), Note::Print(text));
            }
            Taken::Yes => {}
            Taken::Wake(signal) => cpu.signal(signal).await,
        }
    }
}
