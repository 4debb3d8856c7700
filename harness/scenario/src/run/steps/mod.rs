//! Steps: what the script's actions do. Each returns what was seen, or why it is not what was expected.

mod calls;
mod dma;
mod encode;
mod memory;
mod objects;
mod queues;
mod registers;
mod rfc;
mod vste;
mod windows;

pub(super) use dma::host_dma;
pub(super) use memory::Tables;

use std::sync::Arc;

use kernel::errno::Errno;
use models::cpu::Cpu;

use super::world::World;
use crate::step::{Action, Expected, Step};

/// What was seen, in words; or what is wrong.
pub(super) type Seen = Result<String, String>;

/// Runs one step. Steps that concern the script itself (waits, loads, faults, metrics) are the script's.
pub(super) async fn run(world: &Arc<World>, cpu: &Cpu, step: &Step) -> Seen {
    let seen = perform(world, cpu, step).await;
    // An errno alone explains nothing.
    let Some(why) = world.refusal(step.actor) else { return seen };
    let with_cause = |text: String| format!("{text}: {why}");
    seen.map(with_cause).map_err(with_cause)
}

async fn perform(world: &Arc<World>, cpu: &Cpu, step: &Step) -> Seen {
    match &step.action {
        Action::Memory(a) => memory::memory(world, cpu, step, a).await,
        Action::Table(a) => memory::table(world, cpu, step, a).await,
        Action::TableMap(a) => memory::table_map(world, cpu, step, a).await,
        Action::TableUnmap(a) => memory::table_unmap(world, cpu, step, a).await,
        Action::Retire(a) => memory::retire(world, cpu, step, a).await,
        Action::MemRead(a) => memory::mem_read(world, cpu, step, a).await,
        Action::MemWrite(a) => memory::mem_write(world, cpu, step, a).await,
        Action::Map(a) => dma::map(world, cpu, step, a).await,
        Action::Unmap(a) => dma::unmap(world, cpu, step, a).await,
        Action::Dma(a) => dma::dma(world, cpu, step, a).await,
        Action::RegRead(a) => registers::reg_read(world, cpu, step, a).await,
        Action::RegWrite(a) => registers::reg_write(world, cpu, step, a).await,
        Action::Registers(a) => registers::registers(world, cpu, step, a).await,
        Action::Poll(a) => registers::poll(world, cpu, step, a).await,
        Action::Command(a) => queues::command(world, cpu, step, a).await,
        Action::WaitEvent(a) => queues::wait_event(world, cpu, step, a).await,
        Action::Bind(a) => calls::bind(world, cpu, step, a).await,
        Action::Unbind(a) => calls::unbind(world, cpu, step, a).await,
        Action::IoasAlloc(a) => calls::ioas_alloc(world, cpu, step, a).await,
        Action::IoasMap(a) => calls::ioas_map(world, cpu, step, a).await,
        Action::IoasUnmap(a) => calls::ioas_unmap(world, cpu, step, a).await,
        Action::HwptAlloc(a) => calls::hwpt_alloc(world, cpu, step, a).await,
        Action::HwptInvalidate(a) => calls::hwpt_invalidate(world, cpu, step, a).await,
        Action::Attach(a) => calls::attach(world, cpu, step, a).await,
        Action::Detach(a) => calls::detach(world, cpu, step, a).await,
        Action::Destroy(a) => calls::destroy(world, cpu, step, a).await,
        Action::GetHwInfo(a) => calls::get_hw_info(world, cpu, step, a).await,
        Action::ViommuAlloc(a) => calls::viommu_alloc(world, cpu, step, a).await,
        Action::VdeviceAlloc(a) => calls::vdevice_alloc(world, cpu, step, a).await,
        Action::HwQueueAlloc(a) => calls::hw_queue_alloc(world, cpu, step, a).await,
        Action::VeventqAlloc(a) => calls::veventq_alloc(world, cpu, step, a).await,
        Action::VeventqRead(a) => calls::veventq_read(world, cpu, step, a).await,
        Action::Close(a) => calls::close(world, cpu, step, a).await,
        Action::CloseContext(a) => calls::close_context(world, cpu, step, a).await,
        Action::Mmap(a) => windows::mmap(world, cpu, step, a).await,
        Action::Munmap(a) => windows::munmap(world, cpu, step, a).await,
        Action::Fork(a) => windows::fork(world, cpu, step, a).await,
        Action::Exit(a) => windows::exit(world, cpu, step, a).await,
        Action::RfcViommuAlloc(a) => rfc::viommu_alloc(world, cpu, step, a).await,
        Action::RfcSetDevId(a) => rfc::set_dev_id(world, cpu, step, a).await,
        Action::RfcVqueueAlloc(a) => rfc::vqueue_alloc(world, cpu, step, a).await,
        Action::RfcMmap(a) => rfc::mmap(world, cpu, step, a).await,
        Action::RfcArrays(a) => rfc::arrays(world, cpu, step, a).await,
        _ => Err("not a step of the machine".to_owned()),
    }
}

/// Compares how a call ended with how it was expected to end. `show` says what success returned.
pub(super) fn judge<T>(expect: Expected, result: Result<T, Errno>, show: impl FnOnce(&T) -> String) -> Seen {
    match (expect, result) {
        (Expected::Ok, Ok(value)) => Ok(show(&value)),
        (Expected::Errno(want), Err(errno)) if i32::from(errno.0) == want.number() => {
            Ok(format!("-{errno}, as it must"))
        }
        (Expected::Ok, Err(errno)) => Err(format!("failed with -{errno}")),
        (Expected::Errno(want), Ok(_)) => Err(format!("succeeded, but -{} was expected", want.word())),
        (Expected::Errno(want), Err(errno)) => Err(format!("-{errno}, but -{} was expected", want.word())),
        (Expected::Abort | Expected::Event(_), _) => Err("a call cannot end with an event".to_owned()),
    }
}
