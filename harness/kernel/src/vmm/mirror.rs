//! One guest page in front of several hardware pages of queue indices: the VMM repeats every write on all of them and
//! answers a read with the one value that promises nothing too early.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use models::cpu::Cpu;
use parking_lot::Mutex;
use spec::cmdqv::config::PARAM;
use spec::cmdqv::{LOGICAL, Place, QueuePage0, QueueReg};

use super::space::{Emulated, Region, Resolved};
use super::vm::Vm;
use crate::iommufd::{Context, Id, Mapping};

/// A trapped page of queue indices that stands for the windows of several viommus.
#[derive(Debug)]
pub struct MirrorPage {
    vm: Weak<Vm>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    windows: Vec<Window>,
    /// PROD and GERRORN as the guest last wrote them, by offset.
    written: BTreeMap<u64, u32>,
}

/// A hardware page behind the guest's page.
#[derive(Clone, Debug)]
struct Window {
    mapping: Mapping,
    context: Arc<Context>,
    viommu: Id,
}

/// Only the layout of a queue page matters: one VINTF with every queue that fits it.
const SHAPE: PARAM = PARAM(0).with_num_vcmdq_log2(7);

impl MirrorPage {
    /// Puts a window of `viommu` behind the trapped page at the guest address `gpa`. Makes the page if there is none;
    /// what else was there is replaced.
    pub fn add(vm: &Arc<Vm>, gpa: u64, mapping: Mapping, context: &Arc<Context>, viommu: Id) {
        let window = Window { mapping, context: Arc::clone(context), viommu };
        if let Resolved::Trapped(Emulated::Mirror(page), 0) = vm.resolve(gpa) {
            page.state.lock().windows.push(window);
            return;
        }
        let state = State { windows: vec![window], ..State::default() };
        let made = Arc::new(Self { vm: Arc::downgrade(vm), state: Mutex::new(state) });
        vm.map(gpa, mapping.len, Region::Trapped { by: Emulated::Mirror(made), offset: 0 });
    }

    /// Takes a window away from the page at `gpa`; the page goes with its last window.
    pub fn remove(vm: &Vm, gpa: u64, mapping: &Mapping) {
        let Resolved::Trapped(Emulated::Mirror(page), 0) = vm.resolve(gpa) else { return };
        let empty = {
            let windows = &mut page.state.lock().windows;
            if let Some(at) = windows.iter().position(|w| w.mapping == *mapping) {
                windows.remove(at);
            }
            windows.is_empty()
        };
        if empty {
            vm.unmap(gpa, mapping.len);
        }
    }

    fn vm(&self) -> Arc<Vm> {
        self.vm.upgrade().expect("a VM outlives its devices")
    }

    pub(super) async fn read(&self, cpu: &Cpu, offset: u64, len: u8) -> u64 {
        cpu.delay(self.vm().config.costs.emulate).await;
        let low = u64::from(self.read_word(cpu, offset).await);
        if len == 8 { low | u64::from(self.read_word(cpu, offset + 4).await) << 32 } else { low }
    }

    pub(super) async fn write(&self, cpu: &Cpu, offset: u64, len: u8, value: u64) {
        let vm = self.vm();
        vm.lock.acquire(cpu).await;
        cpu.delay(vm.config.costs.emulate).await;
        self.write_word(cpu, offset, value as u32).await;
        if len == 8 {
            self.write_word(cpu, offset + 4, (value >> 32) as u32).await;
        }
        vm.lock.release(cpu).await;
    }

    async fn write_word(&self, cpu: &Cpu, offset: u64, value: u32) {
        let windows = {
            let mut state = self.state.lock();
            state.written.insert(offset, value);
            state.windows.clone()
        };
        for window in windows {
            cpu.write32(window.mapping.pa + offset, value).await;
        }
    }

    async fn read_word(&self, cpu: &Cpu, offset: u64) -> u32 {
        let windows = self.state.lock().windows.clone();
        let mut values = Vec::with_capacity(windows.len());
        for window in &windows {
            values.push(cpu.read32(window.mapping.pa + offset).await);
        }
        let Place::Logical { l, reg: QueueReg::Page0(reg), .. } = Place::decode(LOGICAL + offset, SHAPE)
        else {
            return values.first().copied().unwrap_or(0);
        };
        let entries = windows.iter().filter_map(|w| w.context.hw_queue_length(w.viommu, l.into())).min();
        let last = |wanted: QueuePage0| {
            let at = offset - offset_of(reg) + offset_of(wanted);
            self.state.lock().written.get(&at).copied().unwrap_or(0)
        };
        join(reg, &values, last, entries.map_or(1 << 19, |bytes| (bytes / 16) as u32))
    }
}

fn offset_of(reg: QueuePage0) -> u64 {
    spec::regs::Block::offset(reg).into()
}

/// One value for those of all instances. `last` is what the guest wrote to a register of the same queue, `entries` the
/// size of the ring.
fn join(reg: QueuePage0, values: &[u32], last: impl Fn(QueuePage0) -> u32, entries: u32) -> u32 {
    let first = values.first().copied().unwrap_or(0);
    match reg {
        // Furthest behind the producer; of several, one that has stopped with an error.
        QueuePage0::CONS => {
            let prod = last(QueuePage0::PROD);
            let mask = 2 * entries.max(1).next_power_of_two() - 1;
            let behind = |cons: &u32| (prod.wrapping_sub(*cons) & mask, cons >> 24);
            values.iter().copied().max_by_key(behind).unwrap_or(first)
        }
        // Enabled when all are.
        QueuePage0::STATUS => values.iter().copied().reduce(|a, b| a & b).unwrap_or(first),
        // An error of any of them.
        QueuePage0::GERROR => {
            let acknowledged = last(QueuePage0::GERRORN);
            acknowledged ^ values.iter().fold(0, |active, value| active | (value ^ acknowledged))
        }
        _ => first,
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn one_value_for_several_instances() {
        use QueuePage0::{CONS, GERROR, PROD, STATUS};
        // (register, values of the instances, PROD or GERRORN as last written, value shown); 256 entries.
        for (reg, values, written, want) in [
            (CONS, vec![2, 0], 2, 0),
            (CONS, vec![0, 2], 2, 0),
            (CONS, vec![2, 2], 2, 2),
            // The producer has wrapped: index 2 with the wrap bit.
            (CONS, vec![0x102, 0xfe], 0x102, 0xfe),
            (CONS, vec![0x1fe, 0x002], 0x002, 0x1fe),
            // Equally far, one has stopped.
            (CONS, vec![0x0100_0001, 1], 2, 0x0100_0001),
            (CONS, vec![1, 0x0100_0001], 2, 0x0100_0001),
            (STATUS, vec![1, 0], 0, 0),
            (STATUS, vec![1, 1], 0, 1),
            (GERROR, vec![0, 1], 0, 1),
            (GERROR, vec![1, 1], 1, 1),
            (GERROR, vec![1, 0], 1, 0),
            (PROD, vec![7, 7], 7, 7),
            (CONS, vec![], 0, 0),
        ] {
            assert_eq!(join(reg, &values, |_| written, 256), want, "{reg:?} {values:x?}");
        }
    }
}
