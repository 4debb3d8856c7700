//! Interrupt handlers: the lines are shared, so every bank of every instance is looked at.

use spec::smmuv2::{Attributes, Bank, Global, Place};

use super::NvidiaSmmu;
use crate::access::Access;
use crate::journal::{Actor, Note};

/// A fault of a context bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextFault {
    /// Which instance saw it.
    pub instance: usize,
    /// Which context bank.
    pub bank: u8,
    /// FSR.
    pub status: u32,
    /// FAR: the input address.
    pub iova: u64,
    /// FSYNR0.
    pub syndrome: u32,
    /// The stream.
    pub sid: u32,
}

/// A fault before a context was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalFault {
    /// Which instance saw it.
    pub instance: usize,
    /// sGFSR.
    pub status: u32,
    /// sGFAR: the input address.
    pub iova: u64,
    /// The stream.
    pub sid: u32,
}

impl NvidiaSmmu {
    /// Handles the context-fault interrupt: collects and clears what every bank of every instance shows.
    pub async fn context_faults<A: Access>(&self, cpu: &A) -> Vec<ContextFault> {
        let mut faults = Vec::new();
        for instance in 0..self.registers.instances() {
            for bank in 0..self.banks {
                let place = |reg| Place::Bank { n: bank, reg };
                let status = self.registers.read32_of(cpu, instance, place(Bank::FSR)).await;
                if status == 0 {
                    continue;
                }
                let iova = self.registers.read64_of(cpu, instance, place(Bank::FAR)).await;
                let syndrome = self.registers.read32_of(cpu, instance, place(Bank::FSYNR0)).await;
                let stream = Place::Attributes { n: bank, reg: Attributes::CBFRSYNRA };
                let sid = self.registers.read32_of(cpu, instance, stream).await;
                self.registers.clear(cpu, instance, place(Bank::FSR), status).await;
                faults.push(ContextFault { instance, bank, status, iova, syndrome, sid });
            }
        }
        for fault in &faults {
            let ContextFault { instance, bank, status, iova, syndrome, sid } = fault;
            let line = format!(
                "SMMU {}: context fault: instance {instance}, cb {bank}, fsr {status:#x}, iova {iova:#x}, fsynr {syndrome:#x}, stream {sid:#x}",
                self.index()
            );
            self.journal.push(cpu.now(), Note::Print(line));
        }
        faults
    }

    /// Handles the global-fault interrupt: collects and clears what every instance shows.
    pub async fn global_faults<A: Access>(&self, cpu: &A) -> Vec<GlobalFault> {
        let mut faults = Vec::new();
        for instance in 0..self.registers.instances() {
            let status = self.registers.read32_of(cpu, instance, Place::Global(Global::sGFSR)).await;
            if status == 0 {
                continue;
            }
            let iova = self.registers.read64_of(cpu, instance, Place::Global(Global::sGFAR)).await;
            let sid = self.registers.read32_of(cpu, instance, Place::Global(Global::sGFSYNR1)).await;
            self.registers.clear(cpu, instance, Place::Global(Global::sGFSR), status).await;
            self.journal
                .push(cpu.now(), Note::GlobalError { by: Actor::Host, smmu: self.index(), bits: status });
            faults.push(GlobalFault { instance, status, iova, sid });
        }
        faults
    }
}
