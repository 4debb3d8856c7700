//! A guest's STE as HWPT_ALLOC takes it: words 0 and 1.

use spec::layout::Layout;
use spec::smmu::{Ste, ste::config};

use crate::command::{SteConfig, VsteSpec};
use crate::declare::Code;
use crate::run::world::World;

/// The two words.
pub(super) fn words(world: &World, spec: &VsteSpec) -> Result<[u64; 2], String> {
    let table = match spec.table {
        Some(table) => Some(super::memory::tables(world, table)?.cd_ipa),
        None => None,
    };
    let mut words = match spec.words.as_slice() {
        [] => fields(spec, table)?,
        &[first, second] => [first, second],
        other => return Err(format!("words 0 and 1 of an STE are two words, not {}", other.len())),
    };
    if spec.or.len() > words.len() {
        return Err(format!("`or` is for two words, not {}", spec.or.len()));
    }
    for (word, more) in words.iter_mut().zip(&spec.or) {
        *word |= more;
    }
    Ok(words)
}

fn fields(spec: &VsteSpec, table: Option<u64>) -> Result<[u64; 2], String> {
    let config = match spec.config {
        Code::Known(SteConfig::Abort) => config::ABORT,
        Code::Known(SteConfig::Bypass) => config::BYPASS,
        Code::Known(SteConfig::S1) => config::S1,
        Code::Known(SteConfig::S2) => config::S2,
        Code::Known(SteConfig::Nested) => config::NESTED,
        Code::Number(n) => n,
    };
    let ste = Ste::default()
        .with_v(spec.v)
        .with_field("config", config)?
        .with_field("s1contextptr", spec.s1contextptr.map(|addr| addr.0).or(table).unwrap_or(0))?
        .with_s1fmt(spec.s1fmt)
        .with_s1cdmax(spec.s1cdmax)
        .with_s1dss(spec.s1dss)
        .with_s1cir(spec.s1cir)
        .with_s1cor(spec.s1cor)
        .with_s1csh(spec.s1csh)
        .with_s1stalld(spec.s1stalld)
        .with_eats(spec.eats);
    Ok([ste.0[0], ste.0[1]])
}
